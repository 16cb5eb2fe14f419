package neuroquantumws

import (
	"slices"
	"testing"
)

// TestTextParts: what a request puts in the place of one of Caddy's placeholders is never read as a placeholder for the client.
func TestTextParts(t *testing.T) {
	for text, want := range map[string][]segment{
		"":                        {{text: ""}},
		"plain":                   {{text: "plain"}},
		"{user}":                  {{text: ""}, {placeholder: "user"}, {text: ""}},
		"a{user}b{claim.x}":       {{text: "a"}, {placeholder: "user"}, {text: "b"}, {placeholder: "claim.x"}, {text: ""}},
		"{http.request.host}":     {{text: "{http.request.host}"}},
		"{a}{user}{b":             {{text: "{a}"}, {placeholder: "user"}, {text: "{b"}},
		"{claim.}{{user}}":        {{text: "{claim.}{"}, {placeholder: "user"}, {text: "}"}},
		"{http.vars.a}-{claim.t}": {{text: "{http.vars.a}-"}, {placeholder: "claim.t"}, {text: ""}},
	} {
		if got := parseText(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q", text, got)
		}
	}
}
