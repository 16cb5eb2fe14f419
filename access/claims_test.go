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
