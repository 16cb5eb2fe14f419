package postgres

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// textEncoder turns the database's text of values into JSON.
type textEncoder struct {
	quoted  bool // 64-bit integers and decimals become strings
	scratch []byte
}

// appendText appends the database's text of a value as JSON.
func (r *textEncoder) appendText(dst, raw []byte, as encoding) []byte {
	switch as {
	case encFloat4, encFloat8:
		bits := 64
		if as == encFloat4 {
			bits = 32
		}
		if f, err := strconv.ParseFloat(string(raw), bits); err == nil {
			return stream.AppendFloat(dst, f, bits)
		}
	case encNumber, encInt64, encNumeric:
		if n := len(raw); n == 0 || raw[n-1] > '9' { // NaN, Infinity
			return append(dst, "null"...)
		}
		if r.quoted && (as == encInt64 || as == encNumeric) {
			dst = append(dst, '"')
			dst = append(dst, raw...)
			return append(dst, '"')
		}
		return append(dst, raw...)
	case encBool:
		return strconv.AppendBool(dst, string(raw) == "t")
	case encVerbatim:
		dst = append(dst, '"')
		dst = append(dst, raw...)
		return append(dst, '"')
	case encJSON:
		return stream.AppendJSON(dst, raw)
	case encTimestamptz, encTimestamp, encDate:
		return appendTime(dst, raw, as)
	case encBytea:
		data := make([]byte, max(0, len(raw)-2)/2)
		if n, err := hex.Decode(data, raw[min(2, len(raw)):]); err == nil {
			return stream.AppendBinary(dst, data[:n])
		}
	}
	return stream.AppendText(dst, raw)
}

// appendTime appends a date or time in ISO style as RFC 3339. What that cannot say, before the year 1 and after 9999, stays the
// database's text.
func appendTime(dst, raw []byte, as encoding) []byte {
	const dateLength = len("2006-01-02")
	switch {
	case bytes.HasSuffix(raw, []byte("infinity")):
		return append(dst, "null"...)
	case len(raw) < dateLength || raw[4] != '-' || raw[7] != '-' || raw[len(raw)-1] == 'C':
		return stream.AppendText(dst, raw)
	case as == encDate:
		dst = append(dst, '"')
		dst = append(dst, raw...)
		return append(dst, '"')
	case len(raw) < dateLength+2:
		return stream.AppendText(dst, raw)
	}
	clock := raw[dateLength+1:]
	if as == encTimestamptz {
		utc := bytes.HasSuffix(clock, []byte("+00"))
		if !utc {
			return appendZoned(dst, raw)
		}
		clock = clock[:len(clock)-3]
	}
	dst = append(dst, '"')
	dst = append(dst, raw[:dateLength]...)
	dst = append(dst, 'T')
	dst = append(dst, clock...)
	return append(dst, 'Z', '"')
}

// appendZoned appends a time of another zone than UTC, which a setting of the site's asked for, in UTC all the same.
func appendZoned(dst, raw []byte) []byte {
	for _, layout := range []string{"2006-01-02 15:04:05.999999-07", "2006-01-02 15:04:05.999999-07:00", "2006-01-02 15:04:05.999999-07:00:00"} {
		if t, err := time.Parse(layout, string(raw)); err == nil {
			dst = append(dst, '"')
			dst = t.UTC().AppendFormat(dst, time.RFC3339Nano)
			return append(dst, '"')
		}
	}
	return stream.AppendText(dst, raw)
}

// appendArray appends the text of an array, such as {1,NULL,"a b"}, as a JSON array. Its bounds are not told.
func (r *textEncoder) appendArray(dst, raw []byte, t *typeInfo) []byte {
	start := len(dst)
	text := raw
	if len(text) > 0 && text[0] == '[' { // bounds: [0:1]={…}
		text = text[bytes.IndexByte(text, '=')+1:]
	}
	if len(text) < 2 || text[0] != '{' {
		return stream.AppendText(dst, raw)
	}
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '{':
			dst = append(dst, '[')
			i++
		case '}':
			dst = append(dst, ']')
			i++
		case t.divider:
			dst = append(dst, ',')
			i++
		case '"':
			r.scratch = r.scratch[:0]
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
				if i < len(text) {
					r.scratch = append(r.scratch, text[i])
				}
			}
			i++
			dst = r.appendElement(dst, r.scratch, t)
		default:
			end := i
			for end < len(text) && text[end] != t.divider && text[end] != '}' {
				end++
			}
			if element := text[i:end]; string(element) == "NULL" {
				dst = append(dst, "null"...)
			} else {
				dst = r.appendElement(dst, element, t)
			}
			i = end
		}
	}
	if len(dst) == start {
		return append(dst, "null"...)
	}
	return dst
}

// appendElement appends an element of an array, which may be an array itself where a domain stands between the two.
func (r *textEncoder) appendElement(dst, raw []byte, t *typeInfo) []byte {
	if t.inner != nil {
		return r.appendArray(dst, bytes.Clone(raw), t.inner) // raw may be the scratch
	}
	return r.appendText(dst, raw, t.value)
}
