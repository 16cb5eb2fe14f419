package protocol

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestIsSegment(t *testing.T) {
	for _, test := range []struct {
		text             string
		slash, dot, none bool
	}{
		{"ann", true, true, true},
		{"ann@example.com", true, false, false},
		{"küche", true, true, true},
		{"{user}", true, true, true},
		{"$ann", true, true, true},
		{"", false, false, false},
		{"a/b", false, false, false},
		{"*", false, false, false},
		{"**", false, false, false},
		{"a*", false, false, false},
		{"a b", false, false, false},
		{"a\u00a0b", false, false, false},
		{"a\u2028", false, false, false},
		{"a\x00", false, false, false},
		{"a\n", false, false, false},
		{"a\u0085", false, false, false},
		{"\xff", false, false, false},
	} {
		for separator, want := range map[byte]bool{'/': test.slash, '.': test.dot, 0: test.none} {
			if got := IsSegment(test.text, separator); got != want {
				t.Errorf("%q with %q: %v", test.text, separator, got)
			}
		}
	}
}

// TestFillingAgainstOracle: filling a pattern is writing the values into its text.
func TestFillingAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := mustParse(t, drawChannel(t, "pattern", 5, "a", "b", "*", "**"))
		var f Filling
		parts := append([]string(nil), p.Segments()...)
		for i := range parts {
			if parts[i] != "*" {
				continue
			}
			value := rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "value")
			if f[i] = value; value != "" {
				parts[i] = value
			}
		}
		separator := ""
		if p.Separator() != 0 {
			separator = string(p.Separator())
		}
		text := strings.Join(parts, separator)
		filled := p.Filled(&f)
		if filled.String() != text || filled.IsPattern() != mustParse(t, text).IsPattern() {
			t.Fatalf("%s becomes %s, want %s", p, filled, text)
		}
		name := drawChannel(t, "name", 6, "a", "b", "c")
		want := naiveMatch(text, name)
		if got := p.MatchFilled(&f, name); got != want {
			t.Errorf("%s matches %s: %v", text, name, got)
		}
		if got := filled.Match(name); got != want {
			t.Errorf("%s, filled, matches %s: %v", text, name, got)
		}
	})
}

func TestMatchFilledAllocatesNothing(t *testing.T) {
	p := mustParse(t, "users/*/**")
	if n := testing.AllocsPerRun(100, func() {
		var f Filling
		f[1] = "ann"
		if !p.MatchFilled(&f, "users/ann/inbox/7") || p.MatchFilled(&f, "users/bob/inbox/7") {
			t.Fatal("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
