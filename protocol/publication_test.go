package protocol

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDecodePublications(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for body, want := range map[string]string{
		`{"channel":"a","data":1}`:                                   "a 1",
		" {\"channel\":\"a\",\n\"data\":{\"b\":\n[1,\r\n2]}}\n":      `a {"b":[1,2]}`,
		`{"channel":"a","data":null,"key":"k","more":[1]}`:           "a null k",
		`{"channel":"a","data":` + nested(31) + `}`:                  "a " + nested(31),
		`[{"channel":"a","data":` + nested(31) + `}]`:                "a " + nested(31),
		` [ {"channel":"a","data":1} , {"channel":"b","data":"x"}] `: `a 1|b "x"`,
		`[{"channel":"a","data":1},{"channel":"b"},7]`:               "a 1|INVALID_MESSAGE|INVALID_MESSAGE",
		`[{"channel":"a","channel":"b","data":1}]`:                   "INVALID_MESSAGE",
		`[{"channel":"a","data":1,"key":""}]`:                        "INVALID_MESSAGE",
		`{"channel":"a","data":` + nested(32) + `}`:                  "!INVALID_MESSAGE",
		`[{"channel":"a","data":` + nested(32) + `}]`:                "!INVALID_MESSAGE",
		``:                              "!INVALID_MESSAGE",
		`[]`:                            "!INVALID_MESSAGE",
		`"a"`:                           "!INVALID_MESSAGE",
		`{"channel":"a"}`:               "!INVALID_MESSAGE",
		`{"channel":["a"],"data":1}`:    "!INVALID_MESSAGE",
		`{"channel":"a","data":1}{}`:    "!INVALID_MESSAGE",
		`[{"channel":"a","data":1}]{}`:  "!INVALID_MESSAGE",
		`[{"channel":"a","data":1}`:     "!INVALID_MESSAGE",
		`[{"channel":"a","data":1},]`:   "!INVALID_MESSAGE",
		`[{"channel":"a","data":1} {}]`: "!INVALID_MESSAGE",
		`[{"channel":"a","data":1},{"channel":"b]`:                "!INVALID_MESSAGE",
		"{\"channel\":\"a\",\"data\":\"\xff\"}":                   "!INVALID_MESSAGE",
		`[` + strings.Repeat(`{},`, 3) + `{}]`:                    "!LIMIT_EXCEEDED",
		`[` + strings.Repeat(`{},`, 2) + `{}]`:                    "INVALID_MESSAGE|INVALID_MESSAGE|INVALID_MESSAGE",
		`{"channel":"` + strings.Repeat("x", 300) + `","data":1}`: strings.Repeat("x", 300) + " 1",
	} {
		list, batch, err := DecodePublications([]byte(body), 3)
		var got string
		switch {
		case err != nil:
			got = "!" + string(err.Code)
		default:
			var parts []string
			for _, p := range list {
				part := strings.TrimSpace(p.Channel + " " + string(p.Data) + " " + p.Key)
				if p.Err != nil {
					part = string(p.Err.Code)
				}
				parts = append(parts, part)
			}
			got = strings.Join(parts, "|")
		}
		if got != want {
			t.Errorf("%.100q: got %.200s, want %.200s", body, got, want)
		}
		if batch != strings.HasPrefix(strings.TrimSpace(body), "[") {
			t.Errorf("%.100q: batch is %t", body, batch)
		}
	}
}

// What is accepted fits on a line and is read the same again.
func FuzzDecodePublications(f *testing.F) {
	for _, seed := range []string{
		`{"channel":"a","data":1,"key":"k"}`, `[{"channel":"a","data":{"b":[1,"\n"]}},{"channel":"b/c","data":null}]`, `[[[[`, "{\"channel\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, _, err := DecodePublications(bytes.Clone(body), 10)
		if err != nil {
			return
		}
		if len(list) == 0 || len(list) > 10 {
			t.Fatalf("%d publications", len(list))
		}
		for _, p := range list {
			if p.Err != nil {
				continue
			}
			if bytes.ContainsAny(p.Data, "\r\n") || !utf8.Valid(p.Data) {
				t.Fatalf("data %q", p.Data)
			}
			one := append(append(AppendString([]byte(`{"channel":`), p.Channel), `,"data":`...), p.Data...)
			again, _, err := DecodePublications(append(one, '}'), 1)
			if err != nil || again[0].Channel != p.Channel || !bytes.Equal(again[0].Data, p.Data) {
				t.Fatalf("%q is read as %q %v", one, again, err)
			}
		}
	})
}
