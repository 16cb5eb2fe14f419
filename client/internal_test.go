package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-7": 0, "soon": 0, "99999999": maxRetryAfter, "99999999999999999999": 0,
		"Thu, 01 Jan 1970 00:00:00 GMT":                              0,
		time.Now().Add(24 * time.Hour).UTC().Format(http.TimeFormat): maxRetryAfter,
	} {
		if got := retryAfter(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestExpiryOf(t *testing.T) {
	for token, want := range map[string]int64{
		"": 0, "opaque": 0, "a.b.c": 0, "e30.e30.sig": 0,
		"e30.eyJleHAiOjE3MDAwMDAwMDB9.sig":  1700000000,
		"e30.eyJleHAiOjE3MDAwMDAwMDAuNX0.s": 1700000000,
		"e30.eyJleHAiOiIxNzAwMDAwMDAwIn0.s": 0,
		"e30.eyJleHAiOi0xfQ.s":              0,
		"e30.eyJleHAiOjFlMzAwfQ.s":          0,
	} {
		if got := expiryOf(token); want == 0 != got.IsZero() || want != 0 && got.Unix() != want {
			t.Errorf("%q: %v, want %d", token, got, want)
		}
	}
}

func TestCreditID(t *testing.T) {
	id, _ := json.Marshal(creditID("c1289616-c22c-4548-bc33-b4bdc9c00046", 8))
	if len(id)-2 > protocol.MaxIDCharacters {
		t.Errorf("%s is too long", id)
	}
	m := &message{ID: id}
	if stream, n, ok := m.refusedCredit(); !ok || n != 8 || stream != "c1289616-c22c-4548-bc33-b4bdc9c00046" {
		t.Errorf("got %s, %d, %v", stream, n, ok)
	}
	for _, other := range []string{`7`, `""`, `"credit"`, `"credit -1 x"`, `null`} {
		m := &message{ID: json.RawMessage(other)}
		if _, _, ok := m.refusedCredit(); ok {
			t.Errorf("%s is no credit", other)
		}
	}
}

// Every subscription stands in one part, in the order in which they were, and no part is too large.
func TestChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxBytes := rapid.SampledFrom([]int{0, 2048, 65536}).Draw(t, "max")
		var subs []*Subscription
		for i := range rapid.IntRange(1, 60).Draw(t, "subscriptions") {
			var names []string
			for j := range rapid.IntRange(1, 20).Draw(t, "channels") {
				names = append(names, strings.Repeat("x", rapid.IntRange(1, 20).Draw(t, "length"))+fmt.Sprintf("/%d/%d", i, j))
			}
			sub, err := new(Client).newSubscription(names, nil)
			if err != nil {
				t.Fatal(err)
			}
			subs = append(subs, sub)
		}
		parts := chunks(subs, maxBytes)
		if !slices.Equal(slices.Concat(parts...), subs) {
			t.Fatal("it is not the same")
		}
		for _, part := range parts {
			r := request{Type: "subscribe", ID: uint64(1 << 53), Since: &Position{Epoch: strings.Repeat("e", 36), Offset: 1 << 53}, Presence: true}
			for _, sub := range part {
				r.Channels = append(r.Channels, sub.Channels()...)
			}
			text, _ := r.encode()
			if len(r.Channels) > protocol.MaxChannels || maxBytes > 0 && len(text) > maxBytes && len(part) > 1 {
				t.Fatalf("%d names, %d bytes", len(r.Channels), len(text))
			}
		}
	})
}

// The changes of a Live lead its taker to the copy, whenever they are taken, and name no row twice.
func TestChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		copied, pending := newKeyed(1<<20), newChanges()
		taken := make(map[string]string)
		take := func(n int) {
			for range n {
				change, ok := pending.pop(copied.rows)
				if !ok {
					return
				}
				key := string(change.Key)
				if _, there := taken[key]; there != (change.Op != Insert) {
					t.Fatalf("%s of %s, where it is %v that there is one", change.Op, key, there)
				}
				if change.Op == Delete {
					delete(taken, key)
				} else {
					taken[key] = change.Row.String()
				}
			}
		}
		key := rapid.StringMatching(`[0-9]`)
		row := rapid.Custom(func(t *rapid.T) Row { return Row(rapid.StringMatching(`[a-c]`).Draw(t, "row")) })
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k := key.Draw(t, "key")
				pending.note(k, copied.rows)
				copied.put(k, row.Draw(t, "row"))
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "key")
				pending.note(k, copied.rows)
				copied.put(k, nil)
			},
			"replace": func(t *rapid.T) {
				fresh := newKeyed(1 << 20)
				fresh.ordered = true
				for range rapid.IntRange(0, 8).Draw(t, "rows") {
					fresh.put(key.Draw(t, "key"), row.Draw(t, "row"))
				}
				pending.replace(copied.rows, &fresh)
				copied = fresh
			},
			"take": func(t *rapid.T) { take(rapid.IntRange(1, 5).Draw(t, "changes")) },
			"": func(t *rapid.T) {
				size := 0
				for k, r := range copied.rows {
					size += len(k) + len(r)
				}
				if size != copied.bytes || len(pending.had) != len(pending.order) || len(pending.order) > 10 {
					t.Fatalf("%d bytes counted, %d there; %d keys, %d in order", copied.bytes, size, len(pending.had), len(pending.order))
				}
			},
		})
		take(100)
		if len(taken) != len(copied.rows) {
			t.Fatalf("%d rows, %d in the copy", len(taken), len(copied.rows))
		}
		for k, r := range copied.rows {
			if taken[k] != r.String() {
				t.Fatalf("%s is %s, in the copy %s", k, taken[k], r)
			}
		}
	})
}

// What a buffer gives adds up to what went in: each event is there, or counted by a gap at its place.
func TestBuffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := buffer{limit: rapid.IntRange(1, 5).Draw(t, "limit"), byteLimit: 100}
		in, out := uint64(0), uint64(0)
		take := func() bool {
			event, ok := b.pop()
			switch e := event.(type) {
			case *Message:
				if out++; e.Offset != out {
					t.Fatalf("%d comes where %d is due", e.Offset, out)
				}
			case *Gap:
				if e.After != out || e.Before != out+uint64(e.Dropped)+1 || e.Dropped < 1 {
					t.Fatalf("got %+v behind %d", e, out)
				}
				out += uint64(e.Dropped)
			}
			return ok
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				in++
				b.push(&Message{Offset: in}, rapid.IntRange(0, 150).Draw(t, "size"))
			},
			"pop": func(*rapid.T) { take() },
			"": func(t *rapid.T) {
				if len(b.waiting) > b.limit || b.bytes > b.byteLimit && len(b.waiting) > 1 {
					t.Fatalf("%d events, %d bytes", len(b.waiting), b.bytes)
				}
			},
		})
		for take() {
		}
		if in != out {
			t.Fatalf("%d went in, %d came out", in, out)
		}
	})
}
