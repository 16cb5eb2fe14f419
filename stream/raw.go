package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// maxRawParams is how many parameters a client's own statement may have: they are looked up one by one.
const maxRawParams = 100

// RawSource is a Source that can also run statements which clients write themselves. Whoever may send one may read all that the
// source can: its login's rights, or its file, are the whole protection.
type RawSource interface {
	Source
	// CheckRaw tells why the source, as it is configured, cannot be opened to clients' own statements; nil where it can. Its error
	// is for the operator. It asks nothing of the database and works before the source is provisioned.
	CheckRaw() error
	// AllowRaw opens the provisioned source to clients' own statements. It is called when the configuration is loaded, and warns in
	// the log of rights that such a source should not have.
	AllowRaw(ctx context.Context) error
	// PrepareRaw is Prepare for a client's own statement. What only the database can tell may be left to Query. What is wrong with
	// the text is a *TextError; of all other errors the client gets no more than a reference.
	PrepareRaw(ctx context.Context, sql string, params []Param) (Statement, error)
}

// TextError is what is wrong with a statement's text, in words for whoever wrote it: the operator, or a client, who gets it with the
// Code. The Message quotes nothing of the text but the names of parameters.
type TextError struct {
	Code    protocol.Code // QUERY_FAILED or INVALID_PARAMS
	Message string
}

func (e *TextError) Error() string { return e.Message }

// BadText is the error of a text that is not one statement that may run.
func BadText(format string, args ...any) error {
	return &TextError{protocol.QueryFailed, fmt.Sprintf(format, args...)}
}

// BadParam is the error of a text whose parameters are not those that it is given, or are not what they are used as.
func BadParam(format string, args ...any) error {
	return &TextError{protocol.InvalidParams, fmt.Sprintf(format, args...)}
}

// NewRawQuery is the query of a statement that a client wrote itself, for one run. name is for the log and for operators. raw is the
// client's params, a JSON object or empty: what they are is also what types the statement's parameters have. It is prepared by the
// stream's own goroutine, so that nobody else waits for the database. The error is a *protocol.Error, INVALID_PARAMS.
func NewRawQuery(name string, source RawSource, text string, raw []byte) (*Query, error) {
	params, err := rawParams(raw)
	if err != nil {
		return nil, err
	}
	return &Query{Name: name, Statement: unprepared{source, text, params}, Params: params, RawText: text}, nil
}

type unprepared struct {
	source RawSource
	text   string
	params []Param
}

func (u unprepared) Query(ctx context.Context, run Run) (Rows, error) {
	statement, err := u.source.PrepareRaw(ctx, u.text, u.params)
	if err != nil {
		return nil, fmt.Errorf("preparing: %w", err)
	}
	return statement.Query(ctx, run)
}

// rawParams declares the parameters that a client gives values for.
func rawParams(raw []byte) ([]Param, error) {
	notObject := protocol.Errorf(protocol.InvalidParams, `"params" must be a JSON object`)
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	if dec.PeekKind() != '{' {
		return nil, notObject
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, notObject
	}
	var params []Param
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, notObject
		}
		p := Param{Name: token.String()}
		value, err := dec.ReadValue()
		if err != nil {
			return nil, notObject
		}
		if !identifier.MatchString(p.Name) {
			return nil, protocol.Errorf(protocol.InvalidParams, "parameter %q: a name has at most 63 letters, digits and underscores", clip(p.Name))
		}
		if p.Type = rawType(value); p.Type == "" {
			return nil, protocol.Errorf(protocol.InvalidParams, "parameter %q must be a string, a number, true or false", p.Name)
		}
		if len(params) == maxRawParams {
			return nil, protocol.Errorf(protocol.InvalidParams, "at most %d parameters", maxRawParams)
		}
		params = append(params, p) // one that stands twice is refused by Bind
	}
	return params, nil
}

// rawType is the type that a value has by itself, empty where it has none. A number without fraction and exponent is an integer, so
// that one which does not fit into 64 bits is refused and not rounded.
func rawType(value jsontext.Value) ParamType {
	switch value.Kind() {
	case '"':
		return TypeText
	case 't', 'f':
		return TypeBoolean
	case '0':
		if bytes.ContainsAny(value, ".eE") {
			return TypeNumber
		}
		return TypeInteger
	}
	return ""
}

// gistOf is what an error says without what it may quote of a statement and its values; empty where the error is not a database's
// answer to the statement.
func gistOf(err error) string {
	var answer interface{ Gist() string }
	if errors.As(err, &answer) {
		return answer.Gist()
	}
	return ""
}

// logRaw logs why the database refused a client's own statement, which is no fault of the site's. The database's words may quote the
// client's: they are for DEBUG only.
func (s *stream) logRaw(end *ending, gist string) {
	s.log().Info("a client's own statement failed", zap.String("reference", end.ref), zap.String("error", gist))
	s.log().Debug("a client's own statement failed", zap.String("reference", end.ref), zap.Error(end.cause))
}
