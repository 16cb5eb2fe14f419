package protocol

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// used is how many steps it takes to find out whether p contains q.
func used(p, q Pattern) int {
	work := NewWork(1 << 30)
	p.Contains(q, work)
	return 1<<30 - work.Left()
}

// TestUsualBlocksTakeLittleWork: what a client may subscribe to takes few steps to hold against blocks as they are written.
func TestUsualBlocksTakeLittleWork(t *testing.T) {
	blocks := []string{"**", "a/**", "a/b/**", "a/*/**", "*/a/**", "a/*/b", "*", "b.**", "a/*/b/*/**"}
	rapid.Check(t, func(t *rapid.T) {
		q := mustParse(t, drawChannel(t, "q", MaxChannelSegments, "a", "b", "c", "*", "**"))
		if q.CheckWildcards() != nil {
			t.Skip("refused")
		}
		for _, block := range blocks {
			if n := used(mustParse(t, block), q); n > 60 {
				t.Fatalf("%d steps to hold %q against %q", n, q, block)
			}
		}
	})
}

// TestWorkIsShared: steps that one search has taken are missing in the next, which then contains nothing.
func TestWorkIsShared(t *testing.T) {
	p, q := mustParse(t, "**/a/"+segments(14, "*", "/")), mustParse(t, "**/a/*/**/a/*/**/a/*/**/a/b/a")
	if q.CheckWildcards() != nil {
		t.Fatal("the pattern must be one that a client may use")
	}
	if n := used(p, q); n < 100 {
		t.Fatalf("%d steps: this is no hard case", n)
	}
	work := NewWork(300)
	searches := 0
	for !work.Exhausted() {
		if p.Contains(q, work); searches > 100 {
			t.Fatal("searches cost nothing")
		}
		searches++
	}
	if searches < 2 || work.Left() != 0 {
		t.Errorf("%d searches, %d steps left", searches, work.Left())
	}
	easy := mustParse(t, "x/*")
	if mustParse(t, "x/**").Contains(easy, work) {
		t.Error("contained without work left")
	}
	if !mustParse(t, "x/**").Contains(mustParse(t, "x/y"), work) || !easy.Contains(easy, work) {
		t.Error("a name, or the pattern itself, needs no work")
	}
}

// TestBlocksThatCannotFitTakeNoWork: a block that begins otherwise is not searched.
func TestBlocksThatCannotFitTakeNoWork(t *testing.T) {
	for _, block := range []string{"b/**", "b/*/c", "a.**", "*.b", "x"} {
		if n := used(mustParse(t, block), mustParse(t, "a/**/b/**")); n > 1 {
			t.Errorf("%s: %d steps", block, n)
		}
	}
}

func TestWildcardsOfClients(t *testing.T) {
	for text, ok := range map[string]bool{
		segments(8, "*", "/"): true, segments(9, "*", "/"): false, segments(4, "**", "/"): true, segments(5, "**", "/"): false,
		segments(4, "**/*/a", "/"): true, segments(4, "**/*/a", "/") + "/*": false, segments(16, "a", "/"): true, "a": true,
	} {
		if err := mustParse(t, text).CheckWildcards(); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// canonical is the canonical form as a pattern.
func canonical(t interface{ Fatalf(string, ...any) }, p Pattern) Pattern {
	q := p
	q.segments = p.Canonical()
	q.text = strings.Join(q.segments, string(p.sep))
	q.number()
	return q
}

// TestCanonicalExhaustively holds every pair of small patterns against all small names: patterns with one separator match the same names
// exactly where they have the same canonical form.
func TestCanonicalExhaustively(t *testing.T) {
	byForm, byNames := make(map[string]string), make(map[string]string)
	names := allOf(5, "a", "b", "c")
	for _, text := range allOf(4, "a", "b", "*", "**") {
		p := mustParse(t, text)
		if p.Separator() != '/' {
			continue
		}
		matched := make([]byte, len(names))
		for i, name := range names {
			matched[i] = '-'
			if naiveMatch(text, name) {
				matched[i] = 'x'
			}
		}
		form := strings.Join(p.Canonical(), "/")
		if len(p.Canonical()) > len(p.Segments()) {
			t.Errorf("%s became longer: %s", text, form)
		}
		if before, seen := byForm[form]; seen && before != string(matched) {
			t.Errorf("%s and others of the form %s match different names", text, form)
		}
		if before, seen := byNames[string(matched)]; seen && before != form {
			t.Errorf("%s has the form %s, others that match the same names %s", text, form, before)
		}
		byForm[form], byNames[string(matched)] = string(matched), form
	}
}

func TestCanonicalMatchesTheSame(t *testing.T) {
	names := allOf(7, "a", "b")
	rapid.Check(t, func(t *rapid.T) {
		p := mustParse(t, drawChannel(t, "p", 8, "a", "b", "*", "**", "**"))
		c := canonical(t, p)
		for _, name := range names {
			if p.Match(name) != c.Match(name) {
				t.Fatalf("%q is %q, but for %q", p, c, name)
			}
		}
		if again := canonical(t, c); strings.Join(again.segments, "/") != strings.Join(c.segments, "/") {
			t.Fatalf("%q has another canonical form: %q", c, again)
		}
	})
}
