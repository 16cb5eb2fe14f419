package stream

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Value is an argument of a query: the value of one Param, of the Go type that goes with its Type. Only the field that the Type
// names is set.
type Value struct {
	Type      ParamType
	Text      string    // text; uuid: 36 characters, lower case
	Integer   int64     // integer
	Number    float64   // number: never NaN or infinite
	Boolean   bool      // boolean
	Timestamp time.Time // timestamp: in UTC
}

// String is the value as text, for the key of a cache: equal values of one Type have equal texts, different ones different texts.
func (v Value) String() string {
	switch v.Type {
	case TypeInteger:
		return strconv.FormatInt(v.Integer, 10)
	case TypeNumber:
		return strconv.FormatFloat(v.Number, 'g', -1, 64)
	case TypeBoolean:
		return strconv.FormatBool(v.Boolean)
	case TypeTimestamp:
		return v.Timestamp.Format(time.RFC3339Nano)
	default:
		return v.Text
	}
}

// The functions below are for the AppendValue of a Source: what one kind of value looks like in a row.

// AppendText appends a text as a JSON string on one line; what is not UTF-8 becomes U+FFFD.
func AppendText[T ~[]byte | ~string](dst []byte, text T) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			// The error tells of invalid UTF-8 only, which has been replaced by then.
			dst, _ = jsontext.AppendQuote(dst, text)
			return dst
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}

// AppendFloat appends a number of the given size, 32 or 64 bits, in the fewest digits that give it back; NaN and the infinities,
// which JSON does not have, become null.
func AppendFloat(dst []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	// As in ECMAScript: an exponent only where the digits would be many.
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

// AppendBinary appends bytes as a JSON string of base64 (standard alphabet, padded).
func AppendBinary(dst, data []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(dst, '"')
}

// AppendJSON appends a JSON text that a database holds as it is, on one line; one that is not valid JSON in UTF-8 becomes a JSON
// string.
func AppendJSON(dst, text []byte) []byte {
	v := jsontext.Value(text)
	if !v.IsValid(jsontext.AllowDuplicateNames(true)) {
		return AppendText(dst, text)
	}
	for _, c := range text {
		if c == '\n' || c == '\r' {
			line := v.Clone()
			if line.Compact(jsontext.AllowDuplicateNames(true), jsontext.PreserveRawStrings(true)) != nil {
				return AppendText(dst, text)
			}
			return append(dst, line...)
		}
	}
	return append(dst, text...)
}
