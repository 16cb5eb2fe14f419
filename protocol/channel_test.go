package protocol

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// segments gives n copies of segment with the separator between them.
func segments(n int, segment, sep string) string {
	return strings.TrimSuffix(strings.Repeat(segment+sep, n), sep)
}

func TestParsePattern(t *testing.T) {
	tests := []struct {
		name, text string
		err        error
		separator  byte
		segments   int
		wild       bool
	}{
		{name: "one segment", text: "a", segments: 1},
		{name: "slash", text: "sensors/kitchen/temp", separator: '/', segments: 3},
		{name: "dot", text: "sensor.temp", separator: '.', segments: 2},
		{name: "a slash makes dots text", text: "a.b/c.d", separator: '/', segments: 2},
		{name: "dots in segments under a slash", text: ".a/..b/...", separator: '/', segments: 3},
		{name: "a dot segment under a slash", text: "./a", err: errChannelDots},
		{name: "two dots as a segment under a slash", text: "a/../b", err: errChannelDots},
		{name: "two dots at the end", text: "a/..", err: errChannelDots},
		{name: "beyond ASCII", text: "küche/温度", separator: '/', segments: 2},
		{name: "other punctuation", text: "a:b-c_d~{e}\\\"", segments: 1},
		{name: "reserved", text: "$sys/connections", separator: '/', segments: 2},
		{name: "zero width joiner", text: "a\u200db", segments: 1},
		{name: "zero width non-joiner", text: "می\u200cخواهم", segments: 1},
		{name: "zero width space", text: "a\u200bb", err: errChannelText},
		{name: "word joiner", text: "a\u2060b", err: errChannelText},
		{name: "byte order mark", text: "\ufeffa", err: errChannelText},
		{name: "right-to-left override", text: "a\u202eb", err: errChannelText},
		{name: "right-to-left mark", text: "a\u200f", err: errChannelText},
		{name: "isolate", text: "\u2066a\u2069", err: errChannelText},

		{name: "star", text: "*", segments: 1, wild: true},
		{name: "double star", text: "**", segments: 1, wild: true},
		{name: "star first", text: "*/a", separator: '/', segments: 2, wild: true},
		{name: "star between", text: "a.*.b", separator: '.', segments: 3, wild: true},
		{name: "double star between", text: "a/**/b", separator: '/', segments: 3, wild: true},
		{name: "several of both", text: "**/*/a/**/*", separator: '/', segments: 5, wild: true},
		{name: "double stars side by side", text: "**.**", separator: '.', segments: 2, wild: true},

		{name: "empty", text: "", err: errChannelLength},
		{name: "255 bytes", text: strings.Repeat("a", 255), segments: 1},
		{name: "256 bytes", text: strings.Repeat("a", 256), err: errChannelLength},
		{name: "bytes count, not characters", text: strings.Repeat("ü", 128), err: errChannelLength},
		{name: "254 bytes of two-byte characters", text: strings.Repeat("ü", 127), segments: 1},
		{name: "16 segments", text: segments(16, "a", "/"), separator: '/', segments: 16},
		{name: "17 segments", text: segments(17, "a", "/"), err: errChannelSegments},
		{name: "16 dot segments", text: segments(16, "a", "."), separator: '.', segments: 16},
		{name: "17 dot segments", text: segments(17, "a", "."), err: errChannelSegments},
		{name: "many dots under a slash", text: segments(17, "a", ".") + "/b", separator: '/', segments: 2},
		{name: "16 wild segments", text: segments(16, "**", "/"), separator: '/', segments: 16, wild: true},
		{name: "17 wild segments", text: segments(17, "*", "."), err: errChannelSegments},

		{name: "slash alone", text: "/", err: errChannelSegment},
		{name: "dot alone", text: ".", err: errChannelSegment},
		{name: "leading slash", text: "/a", err: errChannelSegment},
		{name: "trailing slash", text: "a/", err: errChannelSegment},
		{name: "double slash", text: "a//b", err: errChannelSegment},
		{name: "leading dot", text: ".a", err: errChannelSegment},
		{name: "trailing dot", text: "a.", err: errChannelSegment},
		{name: "double dot", text: "a..b", err: errChannelSegment},
		{name: "empty segment of a pattern", text: "*//**", err: errChannelSegment},

		{name: "space", text: "a b", err: errChannelText},
		{name: "tab", text: "a\tb", err: errChannelText},
		{name: "newline", text: "a\n", err: errChannelText},
		{name: "NUL", text: "a\x00b", err: errChannelText},
		{name: "DEL", text: "a\x7f", err: errChannelText},
		{name: "C1 control", text: "a\u0080", err: errChannelText},
		{name: "next line", text: "a\u0085", err: errChannelText},
		{name: "no-break space", text: "a\u00a0b", err: errChannelText},
		{name: "ogham space", text: "a\u1680b", err: errChannelText},
		{name: "em space", text: "a\u2003b", err: errChannelText},
		{name: "line separator", text: "a\u2028b", err: errChannelText},
		{name: "paragraph separator", text: "a\u2029b", err: errChannelText},
		{name: "narrow no-break space", text: "a\u202fb", err: errChannelText},
		{name: "ideographic space", text: "\u3000", err: errChannelText},
		{name: "not UTF-8", text: "a\xff", err: errChannelText},
		{name: "half a character", text: "a\xc3", err: errChannelText},
		{name: "encoded surrogate", text: "\xed\xa0\x80", err: errChannelText},

		{name: "star behind text", text: "temp*", err: errChannelPartStar},
		{name: "star before text", text: "a/*b", err: errChannelPartStar},
		{name: "star within text", text: "a*b/c", err: errChannelPartStar},
		{name: "three stars", text: "a/***", err: errChannelPartStar},
		{name: "part star beside a whole one", text: "*/a*", err: errChannelPartStar},
		{name: "dots do not part segments under a slash", text: "a.*/b", err: errChannelPartStar},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParsePattern(tt.text)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if wantName := tt.err == nil && !tt.wild; (CheckName(tt.text) == nil) != wantName {
				t.Errorf("CheckName gives %v", CheckName(tt.text))
			}
			if tt.err != nil {
				return
			}
			if p.String() != tt.text || p.Separator() != tt.separator || len(p.Segments()) != tt.segments || p.IsPattern() != tt.wild {
				t.Errorf("%q: separator %q, segments %q, pattern %v", p, p.Separator(), p.Segments(), p.IsPattern())
			}
		})
	}
}

func TestCheckNameRefusesPatterns(t *testing.T) {
	for _, text := range []string{"*", "**", "a/*", "**.a"} {
		if err := CheckName(text); !errors.Is(err, errChannelIsPattern) {
			t.Errorf("%q: %v, want %v", text, err, errChannelIsPattern)
		}
	}
}

func TestIsReserved(t *testing.T) {
	for name, want := range map[string]bool{
		"$": true, "$sys": true, "$sys/a": true, "$sys.a": true, "a/$sys": false, "a$": false, "sys": false,
	} {
		if IsReserved(name) != want {
			t.Errorf("%q: reserved is not %v", name, want)
		}
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a/b", "a.b", false},
		{"a/b", "a/b/c", false},
		{"*", "a", true},
		{"*", "a/b", false},
		{"*", "a.b", false},
		{"**", "a", true},
		{"**", "a/b/c", true},
		{"**", "a.b.c", true},
		{"**", segments(16, "a", "/"), true},
		{"sensors/*", "sensors/a", true},
		{"sensors/*", "sensors.a", false},
		{"sensors/*", "sensors", false},
		{"sensors/*", "sensors/a/b", false},
		{"sensors/*", "sensors/a.b", true},
		{"a/**", "a", true},
		{"a.**", "a", true},
		{"a/**", "a/b", true},
		{"a/**", "a/b/c/d", true},
		{"a/**", "a.b", false},
		{"a/**", "ab", false},
		{"**/a", "a", true},
		{"**.a", "a", true},
		{"**/a", "b/c/a", true},
		{"**/a", "b/a/c", false},
		{"**/*", "a", true},
		{"**/*/*", "a", false},
		{"a/**/b", "a/b", true},
		{"a/**/b", "a/x/y/b", true},
		{"a/**/b", "a/b/b", true},
		{"a/**/b", "a", false},
		{"a/**/b", "b/a/b", false},
		{"**/a/**/b/**", "x/a/b", true},
		{"**/a/**/b/**", "b/a", false},
		{"*/**/*", "a", false},
		{"*/**/*", "a/b", true},
		{"a.b/**", "a.b/c", true},
		{"a.b/**", "a.b", false}, // that name has two segments
	}
	for _, tt := range tests {
		p, err := ParsePattern(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Match(tt.name); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.name, got)
		}
		if got := naiveMatch(tt.pattern, tt.name); got != tt.want {
			t.Errorf("the oracle says that %q matches %q: %v", tt.pattern, tt.name, got)
		}
	}
}

func TestZeroPatternMatchesNothing(t *testing.T) {
	var zero Pattern
	for _, text := range []string{"a", "a/b", "*", "**", "a.**"} {
		p := mustParse(t, text)
		if zero.Match(text) || zero.Contains(p, NewWork(MaxWork)) {
			t.Errorf("the zero pattern holds %q", text)
		}
	}
}

// naiveSplit is the channel's segments, by the words of the protocol.
func naiveSplit(text string) (segments []string, separator string) {
	for _, sep := range []string{"/", "."} {
		if strings.Contains(text, sep) {
			return strings.Split(text, sep), sep
		}
	}
	return []string{text}, ""
}

// naiveMatch tries everything that ** may stand for.
func naiveMatch(pattern, name string) bool {
	p, patternSep := naiveSplit(pattern)
	n, nameSep := naiveSplit(name)
	return (patternSep == "" || nameSep == "" || patternSep == nameSep) && naiveSegments(p, n)
}

func naiveSegments(p, n []string) bool {
	switch {
	case len(p) == 0:
		return len(n) == 0
	case p[0] == "**":
		for skip := range len(n) + 1 {
			if naiveSegments(p[1:], n[skip:]) {
				return true
			}
		}
		return false
	}
	return len(n) > 0 && (p[0] == "*" || p[0] == n[0]) && naiveSegments(p[1:], n[1:])
}

// naiveValid is the protocol's rule for names and patterns.
func naiveValid(text string) bool {
	if len(text) < 1 || len(text) > 255 || !utf8.ValidString(text) {
		return false
	}
	hidden := "\u200b\u2060\ufeff\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
	if strings.ContainsAny(text, hidden) || strings.ContainsFunc(text, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.White_Space) }) {
		return false
	}
	parts, _ := naiveSplit(text)
	return len(parts) <= 16 && !slices.ContainsFunc(parts, func(s string) bool {
		return s == "" || s == "." || s == ".." || strings.Contains(s, "*") && s != "*" && s != "**"
	})
}

// drawChannel draws a name or pattern of up to most of the segments given.
func drawChannel(t *rapid.T, label string, most int, alphabet ...string) string {
	sep := rapid.SampledFrom([]string{"/", "."}).Draw(t, label+" separator")
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(alphabet), 1, most).Draw(t, label), sep)
}

func mustParse(t interface{ Fatalf(string, ...any) }, text string) Pattern {
	p, err := ParsePattern(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return p
}

func TestMatchAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := drawChannel(t, "pattern", 6, "a", "b", "*", "**", "**")
		name := drawChannel(t, "name", 7, "a", "b", "a", "c")
		if got, want := mustParse(t, pattern).Match(name), naiveMatch(pattern, name); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
	})
}

func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"a/**/b", "a/x/b"}, {"*", "a"}, {"**.a", "a"}, {"a.b/*", "a.b/c"}, {"temp*", "temp"}, {"\xff", "\x00"}, {"**/*", "/"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p, err := ParsePattern(pattern)
		if (err == nil) != naiveValid(pattern) {
			t.Fatalf("%q: %v", pattern, err)
		}
		isName := naiveValid(name) && !strings.Contains(name, "*")
		if (CheckName(name) == nil) != isName {
			t.Fatalf("%q: %v", name, CheckName(name))
		}
		if err != nil || !isName || tooHard(pattern) {
			return
		}
		if got, want := p.Match(name), naiveMatch(pattern, name); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, name, got, want)
		}
	})
}

// tooHard spares the oracle what takes it exponential time.
func tooHard(pattern string) bool { return strings.Count(pattern, "**") > 5 }

// TestMatchIsNotExponential would not end if matching tried the ways to share 16 segments among many **.
func TestMatchIsNotExponential(t *testing.T) {
	name := segments(16, "a", "/")
	for _, pattern := range []string{
		segments(15, "**", "/") + "/b",
		segments(16, "**", "/"),
		segments(7, "**/a", "/") + "/**/b",
		segments(7, "**/*", "/") + "/b/**",
	} {
		p := mustParse(t, pattern)
		for range 1000 {
			if got, want := p.Match(name), !strings.Contains(pattern, "b"); got != want {
				t.Fatalf("%q matches %q: %v", pattern, name, got)
			}
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	p := mustParse(t, "sensors/**/temp/*")
	if n := testing.AllocsPerRun(100, func() { p.Match("sensors/kitchen/north/temp/celsius") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// allOf is every channel of 1 to most segments over the alphabet, with either separator.
func allOf(most int, alphabet ...string) []string {
	var out []string
	for _, sep := range []string{"/", "."} {
		level := []string{""}
		for n := range most {
			var next []string
			for _, begun := range level {
				for _, s := range alphabet {
					next = append(next, strings.TrimPrefix(begun+sep+s, sep))
				}
			}
			if n > 0 || sep == "/" { // one segment is the same with either
				out = append(out, next...)
			}
			level = next
		}
	}
	return out
}

// witness is a name that q matches and p does not; empty where none is among names.
func witness(p, q Pattern, names []string) string {
	for _, name := range names {
		if q.Match(name) && !p.Match(name) {
			return name
		}
	}
	return ""
}

// TestContainsExhaustively holds every pair of small patterns against all small names. A pair that differs does so within
// five segments: three for what either asks for, and the slack that ** takes.
func TestContainsExhaustively(t *testing.T) {
	names := allOf(5, "a", "b", "c")
	var patterns []Pattern
	for _, text := range allOf(3, "a", "b", "*", "**") {
		patterns = append(patterns, mustParse(t, text))
	}
	matches := make([][]bool, len(patterns))
	for i, p := range patterns {
		for _, name := range names {
			matches[i] = append(matches[i], naiveMatch(p.String(), name))
		}
	}
	for i, p := range patterns {
		for j, q := range patterns {
			want := true
			for n := range names {
				want = want && (matches[i][n] || !matches[j][n])
			}
			if got := p.Contains(q, NewWork(MaxWork)); got != want {
				t.Errorf("%q contains %q: %v", p, q, got)
			}
		}
	}
}

func TestContainsAgainstOracle(t *testing.T) {
	names := allOf(7, "a", "b", "c")
	rapid.Check(t, func(t *rapid.T) {
		p := mustParse(t, drawChannel(t, "p", 5, "a", "b", "*", "**", "**"))
		q := mustParse(t, drawChannel(t, "q", 4, "a", "b", "*", "**"))
		if got, name := p.Contains(q, NewWork(MaxWork)), witness(p, q, names); got != (name == "") {
			t.Fatalf("%q contains %q: %v, but %q", p, q, got, name)
		}
	})
}

// TestContainsOnlyWhatItHolds draws from what the exhaustive test leaves out: segments with dots. Here Contains may say no where
// it could say yes (it takes a.b/** to match the name a.b), but never yes where it must say no.
func TestContainsOnlyWhatItHolds(t *testing.T) {
	names := append(allOf(4, "a", "c", "a.b"), allOf(3, "a", "b", "c")...)
	rapid.Check(t, func(t *rapid.T) {
		p := mustParse(t, strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "a.b", "*", "**"}), 1, 4).Draw(t, "p"), "/"))
		q := mustParse(t, drawChannel(t, "q", 4, "a", "*", "**"))
		if name := witness(p, q, names); p.Contains(q, NewWork(MaxWork)) && name != "" {
			t.Fatalf("%q contains %q, but %q", p, q, name)
		}
	})
}

func TestContains(t *testing.T) {
	// The subsets that this pattern can stand in are 2^14: more than the search goes through.
	hard := "**/a/" + segments(14, "*", "/")
	tests := []struct {
		p, q string
		want bool
	}{
		{"**", "**", true},
		{"**", "*", true},
		{"**", "a.**", true},
		{"**", "a/**", true},
		{"**/**", "**", false}, // the latter also matches names with dots
		{"**/*", "*", true},
		{"a/**", "a", true},
		{"a/**", "a.**", false},
		{"a/**", "a/*/b/**", true},
		{"a/*/**", "a/**", false},
		{"a/**/*", "a/*/**", true},
		{"a/*/**", "a/**/*", true},
		{"sensors/**", "sensors/*", true},
		{"users/me/**", "users/*/**", false},
		{segments(16, "*", "/"), segments(15, "*", "/") + "/a", true},
		{segments(16, "*", "/"), segments(15, "*", "/"), false},
		{hard, hard, true},
		{segments(16, "**", "/"), segments(16, "*", "/"), true},
	}
	for _, tt := range tests {
		if got := mustParse(t, tt.p).Contains(mustParse(t, tt.q), NewWork(MaxWork)); got != tt.want {
			t.Errorf("%q contains %q: %v", tt.p, tt.q, got)
		}
	}
}

func TestContainsItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := mustParse(t, drawChannel(t, "p", 16, "a", "b", "*", "*", "**"))
		if !p.Contains(p, NewWork(MaxWork)) {
			t.Fatalf("%q does not contain itself", p)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, pattern := range []string{"sensors/kitchen/temp", "sensors/*/temp", "sensors/**", "**/a/**/temp"} {
		p := mustParse(b, pattern)
		b.Run(strings.ReplaceAll(pattern, "/", "."), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Match("sensors/kitchen/temp")
			}
		})
	}
}
