package hub_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/broker/memory"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// short is a queue that no replay of these tests fits into, so that it goes by way of catching up.
var short = flow.Class{MaxMessages: 3, MaxBytes: 1 << 20}

// messages reads n channel messages and gives them as channel:data.
func (p *peer) messages(n int) []string {
	p.t.Helper()
	out := make([]string, n)
	for i := range out {
		m := p.expect("channel_message")
		out[i] = fmt.Sprintf("%v:%v", m["channel"], m["data"])
	}
	return out
}

func matches(t *testing.T, list []string, channel string) bool {
	return slices.ContainsFunc(patterns(t, list...), func(p protocol.Pattern) bool { return p.Match(channel) })
}

// TestReplayOnAConnectionThatListens: a subscribe with `since` replays what it asks for, and nothing more through the subscriptions
// that the connection already had, although catching up goes over all of them.
func TestReplayOnAConnectionThatListens(t *testing.T) {
	tests := []struct {
		name  string
		live  []string
		since [][]string // one subscribe after the other
	}{
		{"another channel", []string{"b/1"}, [][]string{{"a/1"}}},
		{"a part of a pattern", []string{"a/*"}, [][]string{{"a/1"}}},
		{"a pattern around a name", []string{"a/1"}, [][]string{{"a/*"}}},
		{"beside everything", []string{"**", "b/1"}, [][]string{{"a/2", "*/2"}}},
		{"one after the other", nil, [][]string{{"a/1"}, {"b/*"}, {"a/2"}}},
		{"the same again", []string{"b/1"}, [][]string{{"a/1"}, {"a/1"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHub(t, unhurried(settings(rule(t, "**", 1000, short))))
			p, c := tcp(t, h, &receiver{})
			var subscribed []string
			type sent struct{ channel, text string }
			var history []sent
			// Everything that comes live is read before the next is published, so that no queue is ever full by it.
			publishAll := func() {
				for _, channel := range []string{"a/1", "a/2", "b/1"} {
					m := sent{channel, fmt.Sprintf("%s:%d", channel, len(history))}
					publish(t, h, channel, fmt.Sprint(len(history)))
					history = append(history, m)
					if !matches(t, subscribed, channel) {
						continue
					}
					if got := p.messages(1); got[0] != m.text {
						t.Fatalf("%d subscriptions: got %v, want the live %v", len(subscribed), got, m.text)
					}
				}
			}
			subscribe(t, h, c, nil, 0, test.live...)
			for range test.live {
				p.expect("subscription_confirmed")
			}
			subscribed = test.live
			for range 8 {
				publishAll()
			}
			for _, since := range test.since {
				subscribe(t, h, c, &protocol.Position{Epoch: h.Position().Epoch}, 0, since...)
				var want []string
				for _, m := range history {
					if matches(t, since, m.channel) {
						want = append(want, m.text)
					}
				}
				for range since {
					if m := p.expect("subscription_confirmed"); m["recovered"] != true {
						t.Fatal(m)
					}
				}
				if got := p.messages(len(want)); !slices.Equal(got, want) {
					t.Fatalf("%v: got %v, want %v", since, got, want)
				}
				subscribed = append(slices.Clone(subscribed), since...)
				publishAll()
			}
			p.leave(c)
			ended(t, h)
		})
	}
}

// TestReplayWhileCatchingUp: what an earlier replay has not brought yet still comes when another subscribe asks for more, and what
// it has brought does not come again.
func TestReplayWhileCatchingUp(t *testing.T) {
	const each = 20
	h := newHub(t, settings(rule(t, "**", 1000, short)))
	for n := range each {
		for _, channel := range []string{"a", "b", "c"} {
			publish(t, h, channel, fmt.Sprint(n))
		}
	}
	p, c := pipe(t, h, &receiver{}) // of a pipe nothing is taken before it is read: the connection stays where it is
	// From one place behind where the replay stands, and from two before it.
	next := map[string]int{"a": 0, "b": each / 2, "c": 0}
	for _, channel := range []string{"a", "b", "c"} {
		subscribe(t, h, c, &protocol.Position{Epoch: h.Position().Epoch, Offset: uint64(3 * next[channel])}, 0, channel)
	}
	for channel := range next {
		publish(t, h, channel, fmt.Sprint(each))
	}
	for got := 0; got < 2*(each+1)+each/2+1; {
		m := p.next()
		if m["type"] == "subscription_confirmed" {
			continue
		}
		channel := m["channel"].(string)
		if m["type"] != "channel_message" || str(m["data"]) != fmt.Sprint(next[channel]) {
			t.Fatalf("got %v, want %d", m, next[channel])
		}
		next[channel]++
		got++
	}
	p.leave(c)
	ended(t, h)
}

// TestCatchUpInParts: more is due than is fetched at once, and the queue would take it all.
func TestCatchUpInParts(t *testing.T) {
	const before, after = 1700, 300
	roomy := flow.Class{MaxMessages: 1 << 20, MaxBytes: 1 << 30}
	h := newHub(t, unhurried(settings(rule(t, "short", 10, flow.Class{MaxMessages: 1, MaxBytes: 1 << 20}), rule(t, "long", 10_000, roomy))))
	// The first messages do not fit: that is what makes the rest come by catching up.
	for range 3 {
		publish(t, h, "short", `0`)
	}
	for range before {
		publish(t, h, "long", `0`)
	}
	p, c := tcp(t, h, &receiver{})
	subscribe(t, h, c, &protocol.Position{Epoch: h.Position().Epoch}, 0, "long", "short")
	for range 2 {
		p.expect("subscription_confirmed")
	}
	var live sync.WaitGroup
	live.Go(func() {
		for range after {
			publish(t, h, "long", `0`)
		}
	})
	for offset := 1; offset <= 3+before+after; offset++ {
		if m := p.expect("channel_message"); m["offset"] != float64(offset) {
			t.Fatalf("got %v, want offset %d", m, offset)
		}
	}
	live.Wait()
	publish(t, h, "long", `"last"`)
	if m := p.expect("channel_message"); m["data"] != "last" {
		t.Fatalf("got %v, want the last", m)
	}
	p.leave(c)
	ended(t, h)
}

// hooked is a broker that does something before a part of a catch-up is fetched, and tells of the fetches of subscribes.
type hooked struct {
	*memory.Broker
	catchUp   func() // on the shard's goroutine
	recovered chan struct{}
}

func (b *hooked) Recover(ctx context.Context, q hub.Recovery, at func(hub.Recovered)) error {
	if q.Limit == 0 {
		defer func() { b.recovered <- struct{}{} }()
	} else if b.catchUp != nil {
		b.catchUp()
	}
	return b.Broker.Recover(ctx, q, at)
}

// TestSubscribeWhileAPartIsFetched: a subscription that is made while the history of the others is on its way misses nothing, and
// nothing comes twice.
func TestSubscribeWhileAPartIsFetched(t *testing.T) {
	tests := []struct {
		name  string
		since uint64 // of the subscription to "new", the first two messages of which come before all others
		want  []string
	}{
		{"from now", 7, []string{"old:0", "old:1", "old:2", "old:3", "old:4", "new:2", "old:5"}},
		{"from the beginning", 0, []string{"old:0", "old:1", "old:2", "new:0", "new:1", "old:3", "old:4", "new:2", "old:5"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			broker := &hooked{Broker: memory.New(0), recovered: make(chan struct{}, 8)}
			class := short
			class.Policy = flow.Block // the last message may find the queue full
			h := newHubOver(t, broker, settings(rule(t, "**", 100, class)), zap.NewNop())
			p, c := tcp(t, h, &receiver{})
			since := &protocol.Position{Epoch: h.Position().Epoch, Offset: test.since}
			subscribed := make(chan struct{})
			broker.catchUp = func() {
				broker.catchUp = nil
				<-broker.recovered // of the first subscribe
				go func() {
					defer close(subscribed)
					subscribe(t, h, c, since, 0, "new")
				}()
				// Now its command waits in the shard's mailbox, and the message comes behind it, but before what is fetched.
				<-broker.recovered
				publish(t, h, "new", `2`)
			}
			for n := range 2 {
				publish(t, h, "new", fmt.Sprint(n))
			}
			for n := range 5 {
				publish(t, h, "old", fmt.Sprint(n))
			}
			subscribe(t, h, c, &protocol.Position{Epoch: since.Epoch}, 0, "old")
			<-subscribed
			publish(t, h, "old", `5`)
			var got []string
			for len(got) == 0 || got[len(got)-1] != "old:5" {
				if m := p.next(); m["type"] == "channel_message" {
					got = append(got, fmt.Sprintf("%v:%v", m["channel"], m["data"]))
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			p.leave(c)
			ended(t, h)
		})
	}
}

// TestTrimmedIsToldOnce: that history is missing is told before the replay, once however many parts the replay comes in.
func TestTrimmedIsToldOnce(t *testing.T) {
	h := newHub(t, unhurried(settings(rule(t, "kept", 100, short), rule(t, "trimmed", 2, short))))
	for n := range 10 {
		publish(t, h, "kept", fmt.Sprint(n))
	}
	for n := range 5 {
		publish(t, h, "trimmed", fmt.Sprint(n))
	}
	p, c := tcp(t, h, &receiver{})
	for range 2 { // each subscribe is told anew
		subscribe(t, h, c, &protocol.Position{Epoch: h.Position().Epoch}, 0, "kept", "trimmed")
		for _, recovered := range []bool{true, false} {
			if m := p.expect("subscription_confirmed"); m["recovered"] != recovered {
				t.Fatal(m)
			}
		}
		if m := p.expect("gap"); m["channel"] != "trimmed" || m["reason"] != "history_trimmed" {
			t.Fatal(m)
		}
		if got := p.messages(12); got[9] != "kept:9" || got[11] != "trimmed:4" {
			t.Fatalf("got %v", got)
		}
	}
	p.leave(c)
	ended(t, h)
}

// TestCatchUpPastWhatIsForbidden: parts of the history of which a client may have nothing are passed by, and what is behind them
// comes. What it may not have it does not get from the history either.
func TestCatchUpPastWhatIsForbidden(t *testing.T) {
	secret := rule(t, "secret/*", 10_000, short)
	secret.Allow = access.Rules{}
	hidden := rule(t, "hidden/*", 1, short) // what is trimmed of it is not told of
	hidden.Allow = access.Rules{}
	h := newHub(t, unhurried(settings(secret, hidden, rule(t, "**", 100, short))))
	for range 3 {
		publish(t, h, "hidden/a", `0`)
	}
	for n := range 6 {
		publish(t, h, "open", fmt.Sprint(n))
	}
	for range 2000 { // several parts
		publish(t, h, "secret/a", `0`)
	}
	publish(t, h, "open", `6`)
	p, c := tcp(t, h, &receiver{})
	subscribe(t, h, c, &protocol.Position{Epoch: h.Position().Epoch}, 0, "**")
	p.expect("subscription_confirmed")
	p.messages(7)
	publish(t, h, "secret/a", `0`)
	publish(t, h, "open", `"live"`)
	if got := p.messages(1); got[0] != "open:live" {
		t.Errorf("got %v", got)
	}
	p.leave(c)
	ended(t, h)
}

// TestTrimmedIsOnlyToldToWhomItIsMissing: catching up goes over the histories of all subscriptions, also of those that have it all.
func TestTrimmedIsOnlyToldToWhomItIsMissing(t *testing.T) {
	h := newHub(t, settings(rule(t, "kept", 100, short), rule(t, "trimmed", 2, short), rule(t, "live", 0, short)))
	p, c := pipe(t, h, &receiver{})
	go subscribe(t, h, c, nil, 0, "trimmed", "live")
	p.expect("subscription_confirmed")
	p.expect("subscription_confirmed")
	for n := range 10 {
		publish(t, h, "kept", fmt.Sprint(n))
	}
	for n := range 5 {
		publish(t, h, "trimmed", fmt.Sprint(n))
		p.messages(1)
	}
	subscribe(t, h, c, &protocol.Position{Epoch: h.Position().Epoch}, 0, "kept")
	// Without history there is nothing to wait for: it comes before the end of the replay.
	publish(t, h, "live", `0`)
	p.expect("subscription_confirmed")
	got := p.messages(11)
	if i := slices.Index(got, "live:0"); i < 0 || i == 10 {
		t.Errorf("got %v", got)
	}
	p.leave(c)
	ended(t, h)
}

// TestTrimmedWhileCatchingUp: what a client was still to get from the history, and what is no longer there once its queue has
// drained, is told of at its place.
func TestTrimmedWhileCatchingUp(t *testing.T) {
	const kept, published = 20, 50
	h := newHub(t, settings(rule(t, "c", kept, short)))
	for n := range kept {
		publish(t, h, "c", fmt.Sprint(n))
	}
	p, c := pipe(t, h, &receiver{})
	subscribe(t, h, c, &protocol.Position{Epoch: h.Position().Epoch}, 0, "c")
	for n := kept; n < published; n++ {
		publish(t, h, "c", fmt.Sprint(n))
	}
	if m := p.expect("subscription_confirmed"); m["recovered"] != true || m["replayed"] != float64(kept) {
		t.Fatal(m) // as it was then
	}
	gaps := 0
	for next := 0; next < published; next++ {
		m := p.next()
		if m["type"] == "gap" {
			if m["reason"] != "history_trimmed" || m["dropped"] != nil {
				t.Fatalf("before message %d: %v", next, m)
			}
			gaps++
			m = p.next()
			if number, _ := m["data"].(float64); int(number) <= next || int(number) > published-kept {
				t.Fatalf("behind the gap before message %d: %v", next, m)
			}
			next = int(m["data"].(float64)) // where the history began when the part was fetched
		}
		if m["type"] != "channel_message" || str(m["data"]) != fmt.Sprint(next) {
			t.Fatalf("got %v, want %d", m, next)
		}
	}
	if gaps == 0 {
		t.Error("no gap")
	}
	p.leave(c)
	ended(t, h)
}
