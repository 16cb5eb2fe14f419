package hub

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func mustPattern(t interface{ Fatal(...any) }, text string) protocol.Pattern {
	p, err := protocol.ParsePattern(text)
	if err != nil {
		t.Fatal(text, err)
	}
	return p
}

// found are the patterns of the subscriptions that the index finds, counted.
func found(x *index, name string) map[string]int {
	out := make(map[string]int)
	for _, subs := range x.match(name, time.Time{}) {
		for _, sub := range subs {
			out[sub.pattern.String()]++
		}
	}
	return out
}

// TestIndexAgainstPatterns holds the index against asking every pattern for itself, while subscriptions come and go.
func TestIndexAgainstPatterns(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "b", "*", "**"})
	text := rapid.Custom(func(t *rapid.T) string {
		sep := rapid.SampledFrom([]string{"/", "."}).Draw(t, "separator")
		return strings.Join(rapid.SliceOfN(segment, 1, 6).Draw(t, "segments"), sep)
	})
	name := rapid.Custom(func(t *rapid.T) string {
		sep := rapid.SampledFrom([]string{"/", "."}).Draw(t, "separator")
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 6).Draw(t, "segments"), sep)
	})
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex()
		var live []*subscription
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				sub := &subscription{pattern: mustPattern(t, text.Draw(t, "pattern"))}
				if x.add(sub) {
					live = append(live, sub)
				}
			},
			"remove": func(t *rapid.T) {
				if len(live) == 0 {
					t.Skip("nothing to remove")
				}
				i := rapid.IntRange(0, len(live)-1).Draw(t, "which")
				x.remove(live[i])
				live = append(live[:i], live[i+1:]...)
			},
			"": func(t *rapid.T) {
				n := name.Draw(t, "name")
				want := make(map[string]int)
				for _, sub := range live {
					if sub.pattern.Match(n) {
						want[sub.pattern.String()]++
					}
				}
				if got := found(&x, n); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("%s: got %v, want %v", n, got, want)
				}
				if len(live) == 0 && (len(x.exact) > 0 || !x.slash.empty() || !x.dot.empty()) {
					t.Fatal("an index without subscriptions holds something")
				}
			},
		})
	})
}

// FuzzIndex holds the index against Pattern.Match over any text that is a valid pattern and name.
func FuzzIndex(f *testing.F) {
	f.Add("a/**", "a")
	f.Add("**.b.*", "a.b.c")
	f.Add("*", "x")
	f.Add("**/**/a", "a/a/a")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p, err := protocol.ParsePattern(pattern)
		if err != nil || protocol.CheckName(name) != nil {
			return
		}
		x := newIndex()
		sub := &subscription{pattern: p}
		x.add(sub)
		want := 0
		if p.Match(name) {
			want = 1
		}
		if got := found(&x, name)[pattern]; got != want {
			t.Fatalf("%q in %q: %d times, want %d", name, pattern, got, want)
		}
		x.remove(sub)
		if len(found(&x, name)) > 0 {
			t.Fatal("found after its removal")
		}
	})
}

// TestMatchAllocatesNothing keeps the look-up off the garbage collector.
func TestMatchAllocatesNothing(t *testing.T) {
	x := newIndex()
	for i := range 100 {
		x.add(&subscription{pattern: mustPattern(t, fmt.Sprintf("a/%d/**", i))})
	}
	x.add(&subscription{pattern: mustPattern(t, "a/*/c")})
	x.match("a/7/c", time.Time{})
	if n := testing.AllocsPerRun(100, func() { x.match("a/7/c", time.Time{}) }); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkMatchAmong100000(b *testing.B) {
	x := newIndex()
	for i := range 100_000 {
		x.add(&subscription{pattern: mustPattern(b, fmt.Sprintf("tenant%d/*/orders/**", i))})
	}
	b.ReportAllocs()
	for b.Loop() {
		x.match("tenant77/eu/orders/5", time.Time{})
	}
}

func BenchmarkIndexAddRemove(b *testing.B) {
	x := newIndex()
	for i := range 100_000 {
		x.add(&subscription{pattern: mustPattern(b, fmt.Sprintf("tenant%d/*/orders/**", i))})
	}
	sub := &subscription{pattern: mustPattern(b, "other/*/orders/**")}
	b.ReportAllocs()
	for b.Loop() {
		x.add(sub)
		x.remove(sub)
	}
}
