package stream

import (
	"cmp"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// What a value of each type must be. The errors end a sentence that begins with the parameter's name, and are shown to clients.
var (
	errText      = errors.New("must be a string without U+0000")
	errInteger   = errors.New("must be an integer of 64 bits, without fraction or exponent")
	errNumber    = errors.New("must be a finite number")
	errBoolean   = errors.New("must be true or false")
	errTimestamp = errors.New("must be an RFC 3339 timestamp with years from 0000 to 9999")
	errUUID      = errors.New("must be a UUID of 36 characters")
	errType      = errors.New("has no known type")
)

func typeError(t ParamType) error {
	switch t {
	case TypeText:
		return errText
	case TypeInteger:
		return errInteger
	case TypeNumber:
		return errNumber
	case TypeBoolean:
		return errBoolean
	case TypeTimestamp:
		return errTimestamp
	case TypeUUID:
		return errUUID
	default:
		return errType
	}
}

// fromJSON makes the value from what a client gave. The types are strict: "5" is not an integer, nor is 5.0.
func (p *Param) fromJSON(raw jsontext.Value) (Value, error) {
	var want jsontext.Kind
	text := string(raw)
	switch kind := raw.Kind(); p.Type {
	case TypeInteger, TypeNumber:
		want = '0'
	case TypeBoolean:
		if want = 't'; kind == 'f' {
			want = 'f'
		}
	default:
		if want = '"'; kind == '"' {
			unquoted, err := jsontext.AppendUnquote(nil, raw)
			if err != nil {
				return Value{}, typeError(p.Type)
			}
			text = string(unquoted)
		}
	}
	if raw.Kind() != want {
		return Value{}, typeError(p.Type)
	}
	return p.parse(text)
}

// parse makes the value from its text and holds it against the parameter's limits.
func (p *Param) parse(text string) (Value, error) {
	v, err := parse(p.Type, text)
	if err != nil {
		return Value{}, err
	}
	return v, p.check(v)
}

// parse makes a value of type t from its text: a JSON number, true or false, or a string without its quotes.
func parse(t ParamType, text string) (Value, error) {
	v := Value{Type: t}
	ok := false
	switch t {
	case TypeText:
		v.Text, ok = text, strings.IndexByte(text, 0) < 0
	case TypeInteger:
		n, err := strconv.ParseInt(text, 10, 64)
		v.Integer, ok = n, err == nil && isNumber(text)
	case TypeNumber:
		f, err := strconv.ParseFloat(text, 64)
		v.Number, ok = f+0, err == nil && isNumber(text) && !math.IsInf(f, 0)
	case TypeBoolean:
		v.Boolean, ok = text == "true", text == "true" || text == "false"
	case TypeTimestamp:
		// UnmarshalText is stricter than time.Parse: it takes RFC 3339 and nothing near it.
		err := v.Timestamp.UnmarshalText([]byte(text))
		v.Timestamp = v.Timestamp.UTC()
		year := v.Timestamp.Year()
		ok = err == nil && year >= 0 && year <= 9999
	case TypeUUID:
		id, err := uuid.Parse(text)
		v.Text, ok = id.String(), err == nil && len(text) == 36
	}
	if !ok {
		return Value{}, typeError(t)
	}
	return v, nil
}

// isNumber reports whether text is a number as JSON writes it, which is narrower than what strconv takes.
func isNumber(text string) bool {
	v := jsontext.Value(text)
	return v.Kind() == '0' && v.IsValid() && strings.TrimSpace(text) == text
}

// compareTo orders v and a literal of its type that has been validated. Texts and UUIDs are only equal or not.
func compareTo(v Value, l Literal) int {
	w, err := parse(v.Type, string(l))
	if err != nil {
		return 1
	}
	switch v.Type {
	case TypeInteger:
		return cmp.Compare(v.Integer, w.Integer)
	case TypeNumber:
		return cmp.Compare(v.Number, w.Number)
	case TypeTimestamp:
		return v.Timestamp.Compare(w.Timestamp)
	default:
		return strings.Compare(v.Text, w.Text)
	}
}

func compareLiterals(t ParamType, a, b Literal) int {
	v, err := parse(t, string(a))
	if err != nil {
		return 1
	}
	return compareTo(v, b)
}
