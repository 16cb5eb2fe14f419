package schematest

import (
	"encoding/json"
	"testing"
)

func TestCheck(t *testing.T) {
	var d Document
	if err := json.Unmarshal([]byte(`{"shared":{"word":{"type":"string","minLength":2,"maxLength":3}},
		"rule":{"type":"object","required":["a"],"additionalProperties":false,"properties":{
			"a":{"$ref":"#/shared/word"},"n":{"type":["integer","null"],"minimum":1,"maximum":9},"e":{"enum":["x",1]},"c":{"const":true},
			"l":{"type":"array","minItems":1,"maxItems":2,"items":{"type":"number"}},"t":{"format":"date-time"},"u":{"format":"uuid"},
			"o":{"oneOf":[{"type":"string"},{"type":"integer"},{"type":"number"}]},"m":{"additionalProperties":{"type":"boolean"}}}}}`), &d); err != nil {
		t.Fatal(err)
	}
	rule := d.Resolve("#/rule").(map[string]any)
	for text, fits := range map[string]bool{
		`{"a":"äö"}`: true, `{"a":"äöüß"}`: false, `{"a":"x"}`: false, `{}`: false, `[]`: false, `{"a":1}`: false, `{"a":"xx","more":1}`: false,
		`{"a":"xx","n":null}`: true, `{"a":"xx","n":1}`: true, `{"a":"xx","n":1.5}`: false, `{"a":"xx","n":0}`: false, `{"a":"xx","n":10}`: false,
		`{"a":"xx","e":"x"}`: true, `{"a":"xx","e":1}`: true, `{"a":"xx","e":"y"}`: false, `{"a":"xx","c":false}`: false, `{"a":"xx","c":true}`: true,
		`{"a":"xx","l":[1,2.5]}`: true, `{"a":"xx","l":[]}`: false, `{"a":"xx","l":[1,2,3]}`: false, `{"a":"xx","l":["1"]}`: false,
		`{"a":"xx","t":"2026-01-31T22:30:00Z"}`: true, `{"a":"xx","t":"2026-01-31T22:30:00+01:00"}`: false, `{"a":"xx","t":"now"}`: false,
		`{"a":"xx","u":"c1289616-c22c-4548-bc33-b4bdc9c00046"}`: true, `{"a":"xx","u":"c1289616"}`: false,
		`{"a":"xx","o":"s"}`: true, `{"a":"xx","o":1.5}`: true, `{"a":"xx","o":1}`: false, `{"a":"xx","o":[]}`: false,
		`{"a":"xx","m":{"b":true}}`: true, `{"a":"xx","m":{"b":1}}`: false,
	} {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		if wrong := d.Check("$", rule, value); (wrong == "") != fits {
			t.Errorf("%s: %q", text, wrong)
		}
	}
}
