package httpapi

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// errUnfit is why a value cannot be written into a statement: for NUL there is no way, and whether a backslash stands for itself
// differs between databases, where one of the two readings lets what follows out of the string.
var errUnfit = errors.New("must hold no backslash and no U+0000 here")

// appendLiteral appends a value as an SQL literal.
func appendLiteral(dst []byte, v stream.Value) ([]byte, error) {
	switch v.Type {
	case stream.TypeInteger:
		return strconv.AppendInt(dst, v.Integer, 10), nil
	case stream.TypeNumber:
		return strconv.AppendFloat(dst, v.Number, 'f', -1, 64), nil // without an exponent, which not every database reads
	case stream.TypeBoolean:
		if v.Boolean {
			return append(dst, "TRUE"...), nil
		}
		return append(dst, "FALSE"...), nil
	case stream.TypeTimestamp:
		return append(v.Timestamp.AppendFormat(append(dst, '\''), time.RFC3339Nano), '\''), nil
	case stream.TypeText, stream.TypeUUID:
		if strings.ContainsAny(v.Text, "\x00\\") || !utf8.ValidString(v.Text) {
			return dst, errUnfit
		}
		dst = append(dst, '\'')
		dst = append(dst, strings.ReplaceAll(v.Text, "'", "''")...)
		return append(dst, '\''), nil
	default:
		return dst, fmt.Errorf("has no known type %q", v.Type)
	}
}

// sqlTemplate is a statement with @names, cut at them.
type sqlTemplate struct {
	literals []string // one more than names
	names    []string
}

// parseSQL finds the @names outside of strings, quoted identifiers and comments.
func parseSQL(text string) (sqlTemplate, error) {
	var t sqlTemplate
	if strings.IndexByte(text, 0) >= 0 {
		return t, stream.BadText("the statement holds a NUL character")
	}
	from := 0
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\'' || c == '"' || c == '`':
			n := strings.IndexByte(text[i+1:], c)
			if n < 0 {
				return t, stream.BadText("the statement ends within quotes")
			}
			if n > 0 && text[i+n] == '\\' {
				return t, stream.BadText("a backslash before a quote, which databases read differently")
			}
			i += n + 2
		case strings.HasPrefix(text[i:], "--"):
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				n = len(text) - i
			}
			i += n
		case strings.HasPrefix(text[i:], "/*"):
			n := strings.Index(text[i+2:], "*/")
			if n < 0 || strings.Contains(text[i+2:i+2+n], "/*") {
				return t, stream.BadText("a comment that does not end, or holds another")
			}
			i += n + 4
		case c == '@':
			n := nameLength(text[i+1:])
			if n == 0 || i > 0 && (isNameByte(text[i-1]) || text[i-1] == '@') {
				return t, stream.BadParam("parameters are written @name")
			}
			t.literals = append(t.literals, text[from:i])
			t.names = append(t.names, text[i+1:i+1+n])
			i += 1 + n
			from = i
		default:
			i++
		}
	}
	t.literals = append(t.literals, text[from:])
	return t, nil
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

func nameLength(text string) int {
	n := 0
	for n < len(text) && isNameByte(text[n]) {
		n++
	}
	return n
}

// render writes the values into the statement. Spaces keep them apart from what stands around them: -@n must not become a comment.
func (t *sqlTemplate) render(params []stream.Param, args []stream.Value) (string, error) {
	var dst []byte
	for i, name := range t.names {
		dst = append(append(dst, t.literals[i]...), ' ')
		at := slices.IndexFunc(params, func(p stream.Param) bool { return p.Name == name })
		var err error
		if dst, err = appendLiteral(dst, args[at]); err != nil {
			return "", unfit(name, err)
		}
		dst = append(dst, ' ')
	}
	return string(append(dst, t.literals[len(t.names)]...)), nil
}
