package httpapi

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// envelope are the rows of the dialect neuroquantum:
//
//	{"success":true,"data":{"success":true,"rows":[{…},…],"columns":["id",…],"error":null,…},"error":null,"metadata":{…}}
//
// Members may come in any order.
type envelope struct {
	*answer
	in        level
	succeeded bool
	failure   *apiError
	names     []string // nil until they are told
}

// level is the object or array that the decoder is in.
type level uint8

const (
	nowhere level = iota
	inEnvelope
	inData
	inRows
)

var errNoEnvelope = errors.New(`the answer has no "success":true`)

func (e *envelope) columns() []string { return e.names }

func (e *envelope) next() (jsontext.Value, error) {
	for {
		switch e.in {
		case nowhere:
			if err := e.token('{'); err != nil {
				return nil, err
			}
			e.in = inEnvelope
		case inRows:
			row, err := e.element(func() error { e.in = inData; return nil })
			if err != nil || row != nil {
				return row, err
			}
		default:
			if err := e.member(); err != nil {
				return nil, err
			}
		}
	}
}

// member reads a member of the envelope or of its data, or their end.
func (e *envelope) member() error {
	e.expect()
	t, err := e.dec.ReadToken()
	if err != nil {
		return unexpected(err)
	}
	if t.Kind() == '}' {
		if e.in == inData {
			e.in = inEnvelope
			return nil
		}
		return e.finish()
	}
	name := t.String()
	e.expect()
	kind := e.dec.PeekKind()
	switch {
	case name == "data" && e.in == inEnvelope && kind == '{':
		e.in = inData
		return e.token('{')
	case name == "rows" && e.in == inData && kind == '[':
		if e.failure != nil {
			return e.failure
		}
		e.in = inRows
		return e.token('[')
	}
	v, err := e.value()
	if err != nil {
		return unexpected(err)
	}
	return e.take(name, v)
}

// take looks at a member that is neither the data nor the rows.
func (e *envelope) take(name string, v jsontext.Value) error {
	kind := v.Kind()
	switch name {
	case "success":
		if kind != 't' && e.failure == nil {
			e.failure = &apiError{Status: e.status}
		}
		e.succeeded = e.succeeded || e.in == inEnvelope && kind == 't'
	case "error":
		if kind != 'n' {
			e.failure = newAPIError(e.status, v)
		}
	case "data", "rows":
		if kind != 'n' {
			return fmt.Errorf("%q of the answer is %s", name, kind)
		}
	case "columns":
		if e.in != inData || kind == 'n' {
			return nil
		}
		names, err := textsOf(v)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			e.names = names
		}
	}
	return nil
}

// finish checks the envelope at its end.
func (e *envelope) finish() error {
	if e.failure != nil {
		return e.failure
	}
	if !e.succeeded {
		return errNoEnvelope
	}
	return e.end()
}

var errColumns = errors.New(`"columns" of the answer are not different texts`)

func textsOf(v jsontext.Value) ([]string, error) {
	if v.Kind() != '[' {
		return nil, errColumns
	}
	names := []string{}
	seen := make(map[string]bool)
	for m := (members{text: v}); m.next(); {
		name, err := jsontext.AppendUnquote(nil, m.value)
		if err != nil || seen[string(name)] {
			return nil, errColumns
		}
		seen[string(name)] = true
		names = append(names, string(name))
	}
	return names, nil
}
