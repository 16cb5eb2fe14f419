package stream

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// ParamType is the type of a query's parameter.
type ParamType string

// The parameter types, and what a client gives for each.
const (
	TypeText      ParamType = "text"      // a JSON string without U+0000
	TypeInteger   ParamType = "integer"   // a JSON number without fraction or exponent, of 64 bits
	TypeNumber    ParamType = "number"    // a JSON number that a float64 can hold
	TypeBoolean   ParamType = "boolean"   // true or false
	TypeTimestamp ParamType = "timestamp" // a JSON string, RFC 3339
	TypeUUID      ParamType = "uuid"      // a JSON string, 36 characters
)

// Param is a parameter of a configured query.
type Param struct {
	// Name is an identifier of at most 63 characters; the statement uses it as @name.
	Name string `json:"name"`
	// Type is one of text, integer, number, boolean, timestamp and uuid.
	Type ParamType `json:"type"`
	// MaxLength is the most characters that a text may have. Default: 0, no limit but that of the message.
	MaxLength int `json:"max_length,omitempty"`
	// Enum lists the values that are allowed. Default: all. Not for boolean.
	Enum []Literal `json:"enum,omitempty"`
	// Min and Max are the least and the greatest value allowed, for integer, number and timestamp. Default: no bound.
	Min *Literal `json:"min,omitempty"`
	Max *Literal `json:"max,omitempty"`
	// Default is the value where the client gives none. Default: the client must give one.
	Default *Literal `json:"default,omitempty"`
	// Bind is a placeholder whose value the server gives in place of the client, which then cannot set the parameter. Default:
	// none, the client sets it.
	Bind string `json:"bind,omitempty"`
}

// Literal is a value in a configuration, as text: 5, true, 2026-01-31T00:00:00Z. In JSON it may be a string, number or boolean.
type Literal string

// UnmarshalJSON takes a JSON string, number or boolean.
func (l *Literal) UnmarshalJSON(data []byte) error {
	v := jsontext.Value(bytes.TrimSpace(data))
	switch v.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, v)
		*l = Literal(text)
		return err
	case '0', 't', 'f':
		*l = Literal(v)
		return nil
	}
	return errors.New("must be a string, a number or a boolean")
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// Validate checks the parameter's configuration; its error is for the operator and names the parameter.
func (p *Param) Validate() error {
	if !identifier.MatchString(p.Name) {
		return fmt.Errorf("parameter %q: the name must be an identifier of at most 63 letters, digits and underscores", p.Name)
	}
	if err := p.validate(); err != nil {
		return fmt.Errorf("parameter %q: %w", p.Name, err)
	}
	return nil
}

func (p *Param) validate() error {
	switch p.Type {
	case TypeText, TypeInteger, TypeNumber, TypeBoolean, TypeTimestamp, TypeUUID:
	default:
		return fmt.Errorf("unknown type %q: must be text, integer, number, boolean, timestamp or uuid", p.Type)
	}
	if p.MaxLength < 0 || p.MaxLength > 0 && p.Type != TypeText {
		return errors.New("max_length must be positive and is for text only")
	}
	if len(p.Enum) > 0 && p.Type == TypeBoolean {
		return errors.New("enum is not for boolean")
	}
	if (p.Min != nil || p.Max != nil) && !p.ordered() {
		return errors.New("min and max are for integer, number and timestamp only")
	}
	for _, bound := range []struct {
		name string
		text *Literal
	}{{"min", p.Min}, {"max", p.Max}} {
		if bound.text == nil {
			continue
		}
		if _, err := parse(p.Type, string(*bound.text)); err != nil {
			return fmt.Errorf("%s %w", bound.name, err)
		}
	}
	if p.Min != nil && p.Max != nil && compareLiterals(p.Type, *p.Min, *p.Max) > 0 {
		return errors.New("min is greater than max")
	}
	for _, text := range p.Enum {
		if err := p.validateLiteral("enum", text); err != nil {
			return err
		}
	}
	if p.Default != nil {
		return p.validateLiteral("default", *p.Default)
	}
	return nil
}

// validateLiteral checks a value of the configuration as if a client had given it.
func (p *Param) validateLiteral(what string, text Literal) error {
	v, err := parse(p.Type, string(text))
	if err == nil {
		err = p.check(v)
	}
	if err != nil {
		return fmt.Errorf("%s %q %w", what, string(text), err)
	}
	return nil
}

func (p *Param) ordered() bool {
	return p.Type == TypeInteger || p.Type == TypeNumber || p.Type == TypeTimestamp
}

// check holds a value of the right type against the parameter's limits. Its error ends a sentence that begins with the parameter
// and may be shown to a client.
func (p *Param) check(v Value) error {
	if p.MaxLength > 0 && utf8.RuneCountInString(v.Text) > p.MaxLength {
		return fmt.Errorf("must have at most %d characters", p.MaxLength)
	}
	if p.Min != nil && compareTo(v, *p.Min) < 0 {
		return fmt.Errorf("must be at least %s", *p.Min)
	}
	if p.Max != nil && compareTo(v, *p.Max) > 0 {
		return fmt.Errorf("must be at most %s", *p.Max)
	}
	if len(p.Enum) > 0 && !slices.ContainsFunc(p.Enum, func(l Literal) bool { return compareTo(v, l) == 0 }) {
		return errors.New("is not one of the allowed values")
	}
	return nil
}

// ValidateParams checks each parameter and that no two bear one name; its error is for the operator.
func ValidateParams(params []Param) error {
	for i := range params {
		if err := params[i].Validate(); err != nil {
			return err
		}
		if slices.ContainsFunc(params[:i], func(p Param) bool { return p.Name == params[i].Name }) {
			return fmt.Errorf("parameter %q: declared twice", params[i].Name)
		}
	}
	return nil
}

// Bind makes the arguments of a query, in the order of params, from the JSON object of a client's request; an empty raw or null is
// an empty object. bound holds the values of the parameters with Bind, by name. An error is a *protocol.Error: INVALID_PARAMS
// naming the parameter, or FORBIDDEN where the server has no fitting value for a parameter that it sets itself. The params must have been
// validated.
func Bind(params []Param, raw []byte, bound map[string]string) ([]Value, error) {
	given, err := readParams(params, raw)
	if err != nil {
		return nil, err
	}
	values := make([]Value, len(params))
	for i := range params {
		p := &params[i]
		var err error
		switch {
		case p.Bind != "" && bound[p.Name] != "":
			if values[i], err = p.parse(bound[p.Name]); err != nil {
				return nil, protocol.Errorf(protocol.Forbidden, "this query is not for you")
			}
		case given[i] != nil:
			values[i], err = p.fromJSON(given[i])
		case p.Default != nil:
			values[i], err = parse(p.Type, string(*p.Default))
		case p.Bind != "":
			return nil, protocol.Errorf(protocol.Forbidden, "this query is not for you")
		default:
			err = errors.New("is missing")
		}
		if err != nil {
			return nil, protocol.Errorf(protocol.InvalidParams, "parameter %q %s", p.Name, err)
		}
	}
	return values, nil
}

// readParams splits the object into the raw values of params, nil where one is not given.
func readParams(params []Param, raw []byte) ([]jsontext.Value, error) {
	given := make([]jsontext.Value, len(params))
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return given, nil
	}
	notObject := protocol.Errorf(protocol.InvalidParams, `"params" must be a JSON object`)
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	if dec.PeekKind() != '{' {
		return nil, notObject
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, notObject
	}
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, notObject
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, notObject
		}
		i := slices.IndexFunc(params, func(p Param) bool { return p.Name == name && p.Bind == "" })
		if i < 0 {
			return nil, protocol.Errorf(protocol.InvalidParams, "parameter %q is not known", clip(name))
		}
		if given[i] != nil {
			return nil, protocol.Errorf(protocol.InvalidParams, "parameter %q is given twice", name)
		}
		given[i] = value.Clone()
	}
	if _, err := dec.ReadToken(); err != nil || len(bytes.TrimSpace(raw[dec.InputOffset():])) > 0 {
		return nil, notObject
	}
	return given, nil
}

// clip keeps what a client sent short enough to be quoted back to it.
func clip(name string) string {
	const longest = 64
	n := 0
	for i := range name {
		if n++; n > longest {
			return name[:i] + "…"
		}
	}
	return name
}
