package access

import (
	"encoding/json"
	"testing"
)

func TestClaimText(t *testing.T) {
	for _, test := range []struct {
		claim any
		want  string
	}{
		{"a text", "a text"}, {true, "true"}, {nil, ""}, {[]any{"a"}, ""},
		{json.Number("42"), "42"}, {json.Number("42.0"), "42"}, {json.Number("4.2e1"), "42"}, {json.Number("420E-1"), "42"},
		{json.Number("-0"), "0"}, {json.Number("-0.0"), "0"}, {json.Number("0.10"), "0.1"}, {json.Number("9007199254740993"), "9007199254740993"},
		{json.Number("9007199254740993.0"), "9007199254740993"}, {json.Number("1e3"), "1000"}, {json.Number("1e999999999"), ""},
	} {
		if got := ClaimText(test.claim); got != test.want {
			t.Errorf("%v: got %q, want %q", test.claim, got, test.want)
		}
	}
}

func TestValidUser(t *testing.T) {
	for name, want := range map[string]bool{
		"ann": true, "ann@example.com": true, "Ann Lee": true, "a/b": true, "...": true, "a/.b": true, "\u0645\u06cc\u200c\u062e": true, "👩\u200d🚀": true,
		"": false, "a\n": false, "a\xff": false, "a\u202eb": false, "a\u200bb": false, "\ufeffa": false, "a\u2060": false, ".": false, "..": false,
		"a/../b": false, "./a": false, "a/..": false,
	} {
		if ValidUser(name) != want {
			t.Errorf("%q: got %v", name, !want)
		}
	}
}
