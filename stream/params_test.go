package stream

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func TestBindTypes(t *testing.T) {
	const id = "0190a5a4-7b5c-7cc3-9d5e-0b7f6c6d2f11"
	at := time.Date(2026, 1, 31, 22, 30, 0, 500_000_000, time.UTC)
	tests := []struct {
		param Param
		raw   string
		want  Value // zero: refused
	}{
		{Param{Type: TypeText}, `"a\u00e9\n"`, Value{Text: "aé\n"}},
		{Param{Type: TypeText}, `""`, Value{Text: ""}},
		{Param{Type: TypeText}, `"a\u0000"`, Value{}},
		{Param{Type: TypeText}, `5`, Value{}},
		{Param{Type: TypeText}, `null`, Value{}},
		{Param{Type: TypeText}, `["a"]`, Value{}},
		{Param{Type: TypeText, MaxLength: 3}, `"äöü"`, Value{Text: "äöü"}},
		{Param{Type: TypeText, MaxLength: 3}, `"abcd"`, Value{}},
		{Param{Type: TypeText, Enum: []Literal{"a", "b"}}, `"b"`, Value{Text: "b"}},
		{Param{Type: TypeText, Enum: []Literal{"a", "b"}}, `"c"`, Value{}},

		{Param{Type: TypeInteger}, `-0`, Value{Integer: 0}},
		{Param{Type: TypeInteger}, `9223372036854775807`, Value{Integer: math.MaxInt64}},
		{Param{Type: TypeInteger}, `-9223372036854775808`, Value{Integer: math.MinInt64}},
		{Param{Type: TypeInteger}, `9223372036854775808`, Value{}},
		{Param{Type: TypeInteger}, `1.0`, Value{}},
		{Param{Type: TypeInteger}, `1e3`, Value{}},
		{Param{Type: TypeInteger}, `"1"`, Value{}},
		{Param{Type: TypeInteger}, `true`, Value{}},
		{Param{Type: TypeInteger, Min: ptr(Literal("1")), Max: ptr(Literal("3"))}, `3`, Value{Integer: 3}},
		{Param{Type: TypeInteger, Min: ptr(Literal("1"))}, `0`, Value{}},
		{Param{Type: TypeInteger, Max: ptr(Literal("3"))}, `4`, Value{}},
		{Param{Type: TypeInteger, Enum: []Literal{"10", "20"}}, `20`, Value{Integer: 20}},
		{Param{Type: TypeInteger, Enum: []Literal{"10", "20"}}, `15`, Value{}},

		{Param{Type: TypeNumber}, `1`, Value{Number: 1}},
		{Param{Type: TypeNumber}, `-2.5e3`, Value{Number: -2500}},
		{Param{Type: TypeNumber}, `1e999`, Value{}},
		{Param{Type: TypeNumber}, `"1"`, Value{}},
		{Param{Type: TypeNumber, Max: ptr(Literal("0.5"))}, `0.50001`, Value{}},

		{Param{Type: TypeBoolean}, `true`, Value{Boolean: true}},
		{Param{Type: TypeBoolean}, `false`, Value{Boolean: false}},
		{Param{Type: TypeBoolean}, `1`, Value{}},
		{Param{Type: TypeBoolean}, `"true"`, Value{}},

		{Param{Type: TypeTimestamp}, `"2026-01-31T23:30:00.5+01:00"`, Value{Timestamp: at}},
		{Param{Type: TypeTimestamp}, `"2026-01-31T22:30:00.5Z"`, Value{Timestamp: at}},
		{Param{Type: TypeTimestamp}, `"2026-01-31 22:30:00Z"`, Value{}},
		{Param{Type: TypeTimestamp}, `"2026-02-31T00:00:00Z"`, Value{}},
		{Param{Type: TypeTimestamp}, `"2026-01-31T00:00:00"`, Value{}},
		{Param{Type: TypeTimestamp}, `"9999-12-31T23:59:59-01:00"`, Value{}},
		{Param{Type: TypeTimestamp}, `1769812200`, Value{}},
		{Param{Type: TypeTimestamp, Min: ptr(Literal("2026-02-01T00:00:00Z"))}, `"2026-01-31T22:30:00Z"`, Value{}},

		{Param{Type: TypeUUID}, `"` + id + `"`, Value{Text: id}},
		{Param{Type: TypeUUID}, `"` + strings.ToUpper(id) + `"`, Value{Text: id}},
		{Param{Type: TypeUUID}, `"{` + id + `}"`, Value{}},
		{Param{Type: TypeUUID}, `"urn:uuid:` + id + `"`, Value{}},
		{Param{Type: TypeUUID}, `"` + strings.ReplaceAll(id, "-", "") + `"`, Value{}},
		{Param{Type: TypeUUID}, `"x"`, Value{}},
	}
	for _, test := range tests {
		test.param.Name = "p"
		if err := test.param.Validate(); err != nil {
			t.Fatal(err)
		}
		got, err := Bind([]Param{test.param}, []byte(`{"p":`+test.raw+`}`), nil)
		if test.want == (Value{}) && !slices.Contains([]string{`""`, `-0`, `false`}, test.raw) {
			wantRefusal(t, err, protocol.InvalidParams, `"p"`)
			continue
		}
		test.want.Type = test.param.Type
		if err != nil || got[0] != test.want {
			t.Errorf("%s %s: got %+v, %v", test.param.Type, test.raw, got, err)
		}
	}
}

// wantRefusal checks that err is a refusal of this code whose message holds text.
func wantRefusal(t *testing.T, err error, code protocol.Code, text string) {
	t.Helper()
	e, ok := protocol.AsError(err)
	if !ok || e.Code != code || !strings.Contains(e.Message, text) {
		t.Errorf("got %v, want %s with %s", err, code, text)
	}
}

func TestBindObject(t *testing.T) {
	params := []Param{
		{Name: "a", Type: TypeInteger},
		{Name: "b", Type: TypeText, Default: ptr(Literal("x"))},
		{Name: "me", Type: TypeText, Bind: "{user}"},
	}
	bound := map[string]string{"me": "ann"}
	got, err := Bind(params, []byte(` {"a": 5 } `), bound)
	if err != nil || len(got) != 3 || got[0].Integer != 5 || got[1].Text != "x" || got[2].Text != "ann" {
		t.Fatalf("got %+v, %v", got, err)
	}
	for raw, text := range map[string]string{
		``:                      `"a"`, // missing
		`null`:                  `"a"`,
		`{}`:                    `"a"`,
		`{"a":null}`:            `"a"`,
		`{"a":1,"a":2}`:         `"a" is given twice`,
		`{"a":1,"c":2}`:         `"c" is not known`,
		`{"a":1,"me":"bob"}`:    `"me" is not known`,
		`{"a":1,"b":null}`:      `"b"`,
		`[1]`:                   `JSON object`,
		`{"a":1`:                `JSON object`,
		`{"a":1} {}`:            `JSON object`,
		`{"a":}`:                `JSON object`,
		`"a"`:                   `JSON object`,
		`{"A":1}`:               `"A" is not known`,
		`{"` + long + `":1}`:    long[:64] + "…",
		`{"a":"select secret"}`: `"a" must be an integer`,
	} {
		_, err := Bind(params, []byte(raw), bound)
		wantRefusal(t, err, protocol.InvalidParams, text)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the value is told back: %v", raw, err)
		}
	}
	_, err = Bind(params, []byte(`{"a":1}`), nil)
	wantRefusal(t, err, protocol.Forbidden, "")
	params[2].Type = TypeInteger
	_, err = Bind(params, []byte(`{"a":1}`), bound)
	wantRefusal(t, err, protocol.Forbidden, "")
	params[2].Default = ptr(Literal("7"))
	if got, err = Bind(params, []byte(`{"a":1}`), nil); err != nil || got[2].Integer != 7 {
		t.Errorf("got %+v, %v", got, err)
	}
}

var long = strings.Repeat("n", 1000)

func TestParamValidate(t *testing.T) {
	valid := []Param{
		{Name: "a", Type: TypeText, MaxLength: 2, Enum: []Literal{"x", "yy"}, Default: ptr(Literal("x"))},
		{Name: "_B9", Type: TypeInteger, Min: ptr(Literal("-5")), Max: ptr(Literal("5")), Default: ptr(Literal("0"))},
		{Name: "c", Type: TypeNumber, Min: ptr(Literal("-0.5")), Enum: []Literal{"0.25"}},
		{Name: "d", Type: TypeBoolean, Default: ptr(Literal("false"))},
		{Name: "e", Type: TypeTimestamp, Max: ptr(Literal("2030-01-01T00:00:00Z"))},
		{Name: "f", Type: TypeUUID, Enum: []Literal{"0190a5a4-7b5c-7cc3-9d5e-0b7f6c6d2f11"}},
	}
	if err := ValidateParams(valid); err != nil {
		t.Error(err)
	}
	if err := ValidateParams([]Param{valid[0], valid[0]}); err == nil {
		t.Error("a parameter declared twice passes")
	}
	for _, p := range []Param{
		{Name: "", Type: TypeText},
		{Name: "9a", Type: TypeText},
		{Name: "a-b", Type: TypeText},
		{Name: "a\n", Type: TypeText},
		{Name: strings.Repeat("a", 64), Type: TypeText},
		{Name: "a"},
		{Name: "a", Type: "string"},
		{Name: "a", Type: TypeText, MaxLength: -1},
		{Name: "a", Type: TypeInteger, MaxLength: 5},
		{Name: "a", Type: TypeText, Min: ptr(Literal("a"))},
		{Name: "a", Type: TypeUUID, Max: ptr(Literal("a"))},
		{Name: "a", Type: TypeBoolean, Enum: []Literal{"true"}},
		{Name: "a", Type: TypeInteger, Min: ptr(Literal("1.5"))},
		{Name: "a", Type: TypeInteger, Min: ptr(Literal("+1"))},
		{Name: "a", Type: TypeInteger, Min: ptr(Literal(" 1"))},
		{Name: "a", Type: TypeNumber, Max: ptr(Literal("inf"))},
		{Name: "a", Type: TypeNumber, Max: ptr(Literal("0x10"))},
		{Name: "a", Type: TypeInteger, Min: ptr(Literal("2")), Max: ptr(Literal("1"))},
		{Name: "a", Type: TypeInteger, Enum: []Literal{"1", "x"}},
		{Name: "a", Type: TypeInteger, Enum: []Literal{"1"}, Default: ptr(Literal("2"))},
		{Name: "a", Type: TypeInteger, Max: ptr(Literal("1")), Default: ptr(Literal("2"))},
		{Name: "a", Type: TypeText, MaxLength: 1, Default: ptr(Literal("ab"))},
		{Name: "a", Type: TypeTimestamp, Default: ptr(Literal("today"))},
		{Name: "a", Type: TypeUUID, Default: ptr(Literal("1"))},
		{Name: "a", Type: TypeBoolean, Default: ptr(Literal("yes"))},
	} {
		if err := p.Validate(); err == nil {
			t.Errorf("%+v passes", p)
		} else if !strings.Contains(err.Error(), "parameter") {
			t.Errorf("%+v: %v does not name it", p, err)
		}
	}
}

func TestParamJSON(t *testing.T) {
	var p Param
	config := `{"name":"n","type":"integer","min":1,"max":"9","default":5,"enum":[1,"5",9]}`
	if err := json.Unmarshal([]byte(config), &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	if *p.Min != "1" || *p.Max != "9" || *p.Default != "5" || len(p.Enum) != 3 {
		t.Errorf("got %+v", p)
	}
	for _, config := range []string{`{"default":{}}`, `{"default":[1]}`, `{"enum":[null]}`} {
		if err := json.Unmarshal([]byte(config), &p); err == nil {
			t.Errorf("%s passes", config)
		}
	}
}

func FuzzBind(f *testing.F) {
	for _, raw := range []string{
		``, `null`, `{}`, `{"t":"a","i":1,"n":1.5,"b":true,"at":"2026-01-31T00:00:00Z","u":"0190a5a4-7b5c-7cc3-9d5e-0b7f6c6d2f11"}`,
		`{"t":"\ud800"}`, `{"i":1e9}`, `{"n":1e400}`, `{"t":"a","t":"b"}`, `{"x":[[[[`, `{"\u0074":"a"}`,
	} {
		f.Add([]byte(raw))
	}
	d := func(text string) *Literal { return ptr(Literal(text)) }
	params := []Param{
		{Name: "t", Type: TypeText, MaxLength: 10, Default: d("-")},
		{Name: "i", Type: TypeInteger, Min: d("-10"), Max: d("10"), Default: d("0")},
		{Name: "n", Type: TypeNumber, Default: d("0")},
		{Name: "b", Type: TypeBoolean, Default: d("false")},
		{Name: "at", Type: TypeTimestamp, Default: d("2026-01-31T00:00:00Z")},
		{Name: "u", Type: TypeUUID, Default: d("0190a5a4-7b5c-7cc3-9d5e-0b7f6c6d2f11")},
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		values, err := Bind(params, raw, nil)
		if err != nil {
			if e, ok := protocol.AsError(err); !ok || e.Code != protocol.InvalidParams {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		for i, v := range values {
			if v.Type != params[i].Type {
				t.Fatalf("%q: %+v is no %s", raw, v, params[i].Type)
			}
			again, err := params[i].parse(v.String())
			if err != nil || again != v {
				t.Fatalf("%q: %+v reads back as %+v, %v", raw, v, again, err)
			}
		}
		if n := values[1].Integer; n < -10 || n > 10 {
			t.Fatalf("%q: %d", raw, n)
		}
		if n := values[2].Number; math.IsNaN(n) || math.IsInf(n, 0) {
			t.Fatalf("%q: %v", raw, n)
		}
		if raw := strings.TrimSpace(string(raw)); raw != "" && !json.Valid([]byte(raw)) {
			t.Fatalf("%q is not JSON, but passes", raw)
		}
	})
}
