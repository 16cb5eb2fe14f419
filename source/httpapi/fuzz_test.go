package httpapi

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// readLiteral is a tiny reader of SQL literals, as a database has one. backslashes are escapes for some databases and not for others.
func readLiteral(text string, backslashes bool) (value, rest string, ok bool) {
	text = strings.TrimLeft(text, " ")
	if !strings.HasPrefix(text, "'") {
		end := strings.IndexAny(text, " ,)")
		if end < 0 {
			end = len(text)
		}
		return text[:end], text[end:], end > 0
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == 0:
			return "", "", false
		case text[i] == '\\' && backslashes && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case text[i] == '\'' && strings.HasPrefix(text[i+1:], "'"):
			i++
			b.WriteByte('\'')
		case text[i] == '\'':
			return b.String(), text[i+1:], true
		default:
			b.WriteByte(text[i])
		}
	}
	return "", "", false
}

// Whatever a value is, a database reads it and nothing behind it from the literal, however it takes backslashes.
func FuzzLiteral(f *testing.F) {
	for _, seed := range []string{"", "'", "''", "a'b", `\`, `\'`, "' or 1=1 --", "\x00", "ä\n", "-5", "$$"} {
		f.Add(seed, int64(len(seed)), float64(len(seed))/3, len(seed)%2 == 0)
	}
	statement, err := parseSQL("a = @v, b")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string, i int64, n float64, b bool) {
		for _, v := range []stream.Value{
			text(s), {Type: stream.TypeInteger, Integer: i}, {Type: stream.TypeNumber, Number: n}, {Type: stream.TypeBoolean, Boolean: b},
		} {
			if v.Type == stream.TypeNumber && (n != n || n-n != 0) {
				continue // no parameter is
			}
			sql, err := statement.render([]stream.Param{{Name: "v", Type: v.Type}}, []stream.Value{v})
			if err != nil {
				if v.Type != stream.TypeText {
					t.Errorf("%v is refused: %v", v, err)
				}
				continue
			}
			behind, ok := strings.CutPrefix(sql, "a = ")
			for _, backslashes := range []bool{false, true} {
				value, rest, read := readLiteral(behind, backslashes)
				if !ok || !read || strings.TrimLeft(rest, " ") != ", b" {
					t.Fatalf("%q is written %q", v.String(), sql)
				}
				switch v.Type {
				case stream.TypeText, stream.TypeInteger:
					ok = value == v.String()
				case stream.TypeNumber:
					again, err := strconv.ParseFloat(value, 64)
					ok = err == nil && again == n && !strings.ContainsAny(value, "eE")
				case stream.TypeBoolean:
					ok = strings.EqualFold(value, v.String())
				}
				if !ok {
					t.Fatalf("%q is read as %q", v.String(), value)
				}
			}
		}
	})
}

// Whatever a value is, it stays in its place of an address and of a body.
func FuzzTemplates(f *testing.F) {
	for _, seed := range []string{"", "/", "..", "a&b=c", "#", "?", "%2e", `"`, `\`, "\n", "{param.v}", "ä"} {
		f.Add(seed)
	}
	address, err := urlTemplate("http://host/a/{param.v}/b?c={param.v}&d=e")
	if err != nil {
		f.Fatal(err)
	}
	body, err := bodyTemplate(`{"a":"<{param.v}>","b":{param.v}}`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "")
		params, args := params("v"), []stream.Value{text(s)}
		if rendered, err := address.render(params, args); err == nil {
			u, err := url.Parse(rendered)
			if err != nil || u.Host != "host" || u.Path != "/a/"+s+"/b" || strings.Count(u.EscapedPath(), "/") != 3 || u.Fragment != "" {
				t.Fatalf("%q gives %s, %v", s, rendered, err)
			}
			if q := u.Query(); len(q) != 2 || q.Get("c") != s || q.Get("d") != "e" {
				t.Fatalf("%q gives %s", s, rendered)
			}
		} else if s != "" && !strings.ContainsAny(s, `/\.%`) {
			t.Fatal(err)
		}
		rendered, err := body.render(params, args)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		if err := json.Unmarshal([]byte(rendered), &got); err != nil || len(got) != 2 || got["a"] != "<"+s+">" || got["b"] != s {
			t.Fatalf("%q gives %s, %v", s, rendered, err)
		}
	})
}

// Whatever an API answers, the decoders neither crash nor call it whole where it is not JSON.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{"{}", `{"a":1}{"b":[{}]}`, `[{"a":"\""}]`, data(`"rows":[{"a":1}],"columns":["a"]`), `[[1],[2]]`, `{"success":true}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, dialect := range []Dialect{NDJSON, JSONArray, NeuroQuantum} {
			r := &rows{ctx: t.Context(), decoder: newDecoder(dialect, newAnswer(strings.NewReader(body), 1<<16, 200))}
			if r.findColumns(dialect == NeuroQuantum) != nil {
				continue
			}
			for r.Next() {
				for i := range r.Columns() {
					if v := r.AppendValue(nil, i); !json.Valid(v) {
						t.Fatalf("%s %q: the value %q", dialect, body, v)
					}
				}
			}
			if r.Err() == nil && dialect != NDJSON && !json.Valid([]byte(body)) {
				t.Fatalf("%s %q passes", dialect, body)
			}
		}
	})
}
