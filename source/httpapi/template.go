package httpapi

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/jsonplace"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// place is where a parameter stands, which says how its value is encoded.
type place uint8

const (
	inPath     place = iota // within a segment
	inSegments              // any number of segments: {param.NAME...}
	inQuery
	inString // within a JSON string
	asValue  // in the place of a JSON value
)

// template is text with {param.NAME} and, in a path, {param.NAME...}.
type template struct {
	literals []string // one more than names
	names    []string
	places   []place
}

var placeholder = regexp.MustCompile(`\{([A-Za-z_][^{}"\s]*)\}`)

func parseTemplate(text string, placeOf func(before string) (place, error)) (template, error) {
	var t template
	from := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		name, ok := strings.CutPrefix(text[m[2]:m[3]], "param.")
		if !ok {
			return t, fmt.Errorf("the placeholder %s is not known here", text[m[0]:m[1]])
		}
		p, err := placeOf(text[:m[0]])
		if err != nil {
			return t, err
		}
		if plain, ok := strings.CutSuffix(name, "..."); ok {
			if p != inPath {
				return t, fmt.Errorf("%s may stand in a path only", text[m[0]:m[1]])
			}
			name, p = plain, inSegments
		}
		t.literals = append(t.literals, text[from:m[0]])
		t.names, t.places = append(t.names, name), append(t.places, p)
		from = m[1]
	}
	t.literals = append(t.literals, text[from:])
	return t, nil
}

func (t *template) render(params []stream.Param, args []stream.Value) (string, error) {
	var dst []byte
	for i, name := range t.names {
		dst = append(dst, t.literals[i]...)
		at := slices.IndexFunc(params, func(p stream.Param) bool { return p.Name == name })
		value := args[at]
		switch t.places[i] {
		case inPath, inSegments:
			if value.String() == "" {
				return "", unfit(name, errors.New("must not be empty here"))
			}
			if err := checkPathValue(value.String(), t.places[i] == inSegments); err != nil {
				return "", unfit(name, err)
			}
			dst = appendSegments(dst, value.String())
		case inQuery:
			dst = append(dst, url.QueryEscape(value.String())...)
		case inString:
			quoted := stream.AppendText(nil, value.String())
			dst = append(dst, quoted[1:len(quoted)-1]...)
		case asValue:
			dst = appendValue(dst, value)
		}
	}
	return string(append(dst, t.literals[len(t.names)]...)), nil
}

// unfit tells the client that a value cannot be used, and the operator nothing: it is no fault of the server's.
func unfit(name string, why error) error {
	return protocol.Errorf(protocol.InvalidParams, "parameter %q %v", name, why)
}

// appendValue appends a value as JSON.
func appendValue(dst []byte, v stream.Value) []byte {
	switch v.Type {
	case stream.TypeNumber:
		return stream.AppendFloat(dst, v.Number, 64)
	case stream.TypeInteger, stream.TypeBoolean:
		return append(dst, v.String()...)
	default:
		return stream.AppendText(dst, v.String())
	}
}

// parseURL checks an address without parameters.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Opaque != "":
		return nil, fmt.Errorf("%q is no http or https address", text)
	case u.User != nil:
		return nil, errors.New("a password does not belong into the address: use header")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, errors.New("an address to ask has no fragment")
	}
	return u, nil
}

// urlTemplate parses the address of a query. Only its path and its query take parameters.
func urlTemplate(text string) (template, error) {
	scheme := strings.Index(text, "://")
	t, err := parseTemplate(text, func(before string) (place, error) {
		switch {
		case scheme < 0 || len(before) < scheme+3 || !strings.ContainsAny(before[scheme+3:], "/?"):
			return 0, errors.New("parameters may stand in the path and the query only")
		case strings.Contains(before, "?"):
			return inQuery, nil
		}
		return inPath, nil
	})
	if err != nil {
		return t, err
	}
	if strings.ContainsAny(strings.Join(t.literals, ""), "{} ") {
		return t, errors.New("braces and spaces must be percent-encoded")
	}
	u, err := parseURL(strings.Join(t.literals, "x"))
	if err == nil {
		err = checkPath(u)
	}
	return t, err
}

// bodyTemplate parses a JSON body.
func bodyTemplate(text string) (template, error) {
	t, err := parseTemplate(text, func(before string) (place, error) {
		if jsonplace.EndsInString(before) {
			return inString, nil
		}
		return asValue, nil
	})
	if err != nil {
		return t, err
	}
	if !jsontext.Value(strings.Join(t.literals, "0")).IsValid() {
		return t, errors.New("the body is no JSON")
	}
	return t, nil
}
