package hub

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// worstName is the longest name, of segments that differ, so that as many different patterns as possible match parts of it.
func worstName() []string {
	segments := make([]string, protocol.MaxChannelSegments)
	for i := range segments {
		segments[i] = string(rune('a' + i))
	}
	return segments
}

// matchingPatterns are the beginnings of patterns of the trie that a name's beginning matches, each followed by a segment that the name
// does not have, so that none matches the name.
func matchingPatterns(name []string) (out []string) {
	seen := make(map[string]bool)
	var grow func(pattern []string, at, stars, deep int)
	grow = func(pattern []string, at, stars, deep int) {
		text := strings.Join(append(pattern, "zz"), "/")
		if len(pattern) > 0 && !seen[text] {
			seen[text] = true
			out = append(out, text)
			if deep < 2 && pattern[len(pattern)-1] != "**" {
				out = append(out, strings.Join(append(pattern, "**"), "/"))
			}
		}
		if len(pattern) == protocol.MaxChannelSegments-1 {
			return
		}
		if at < len(name) {
			grow(append(pattern[:len(pattern):len(pattern)], name[at]), at+1, stars, deep)
			if stars < maxTrieStars && deep == 0 {
				grow(append(pattern[:len(pattern):len(pattern)], "*"), at+1, stars+1, deep)
			}
		}
		if deep < maxTrieDeep && stars == 0 {
			for to := at; to <= len(name); to++ {
				grow(append(pattern[:len(pattern):len(pattern)], "**"), to, stars, deep+1)
			}
		}
	}
	grow(nil, 0, 0, 0)
	return out
}

// mostVisits is how many nodes and patterns a look-up may come to among patterns that do not match. Each is a few tens of nanoseconds.
const mostVisits = 2000

// fill adds patterns to an index, as many as it takes.
func fill(t *testing.T, x *index, patterns []string) (accepted, refused int) {
	t.Helper()
	for _, text := range patterns {
		p, err := protocol.ParsePattern(text)
		switch {
		case err != nil:
			t.Fatal(text, err)
		case p.CheckWildcards() != nil:
		case x.add(&subscription{pattern: p}):
			accepted++
		default:
			refused++
		}
	}
	return accepted, refused
}

// visits is how many nodes and patterns a look-up comes to.
func visits(x *index, name string) uint64 {
	before := x.visited
	x.match(name, time.Time{})
	return x.visited - before
}

// TestLookupIsBounded fills an index with what costs a look-up the most, and counts where it comes to.
func TestLookupIsBounded(t *testing.T) {
	name := worstName()
	random := rand.New(rand.NewPCG(1, 2))
	draw := func(alphabet ...string) (out []string) {
		for range 100_000 {
			segments := make([]string, 14)
			for i := range segments {
				segments[i] = alphabet[random.IntN(len(alphabet))]
			}
			out = append(out, "a/"+strings.Join(segments, "/"))
		}
		return out
	}
	same := strings.Repeat("a/", 15) + "a"
	for _, test := range []struct {
		title, name string
		patterns    []string
	}{
		{"all that begin like the name", strings.Join(name, "/"), matchingPatterns(name)},
		{"one segment and wildcards", same, draw("a", "a", "*", "**")},
		{"one segment and few wildcards", same, draw("a", "a", "a", "a", "a", "a", "a", "a", "*", "**")},
		{"segments of the name", strings.Join(name, "/"), draw(append(name, "*", "*", "*", "**", "**")...)},
	} {
		t.Run(test.title, func(t *testing.T) {
			x := newIndex()
			accepted, refused := fill(t, &x, test.patterns)
			if n := visits(&x, test.name); n > mostVisits || accepted == 0 {
				t.Errorf("%d visits among %d patterns, %d refused", n, accepted, refused)
			}
		})
	}
}

// TestPatternsOfOthersCostNothing: patterns with a segment of their own are all accepted, and not visited for other names.
func TestPatternsOfOthersCostNothing(t *testing.T) {
	x := newIndex()
	var patterns []string
	for i := range 100_000 {
		patterns = append(patterns, fmt.Sprintf("f/*/**/a/*/*/own%d", i))
	}
	if _, refused := fill(t, &x, patterns); refused > 0 {
		t.Errorf("%d patterns were refused", refused)
	}
	if n := visits(&x, strings.Repeat("f/a/", 7)+"f"); n > mostVisits {
		t.Errorf("%d visits", n)
	}
}

// TestFullAnchors: what is refused can be had again once there is room, and the room is that of different patterns.
func TestFullAnchors(t *testing.T) {
	x := newIndex()
	var subs []*subscription
	for i := range maxAnchored {
		sub := &subscription{pattern: mustPattern(t, strings.Repeat("*/", i%8+1)+"a"+strings.Repeat("/*", i/8+2))}
		if !x.add(sub) {
			t.Fatalf("%s is refused as number %d", sub.pattern, i)
		}
		subs = append(subs, sub)
	}
	more := &subscription{pattern: mustPattern(t, "**/a/**/a/*")}
	if x.add(more) {
		t.Fatal("one too many was taken")
	}
	if !x.add(&subscription{pattern: subs[3].pattern}) || !x.add(&subscription{pattern: mustPattern(t, "**/a/**/b/*")}) {
		t.Error("a pattern that is there, or one with another segment, is refused")
	}
	x.remove(subs[0])
	if !x.add(more) {
		t.Error("refused though there is room")
	}
}
