package hub_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/memory"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// far is a broker in memory that behaves as if a network lay before it.
type far struct {
	*memory.Broker
	host hub.Host

	mu     sync.Mutex
	ready  bool
	held   chan struct{} // where it is not nil, Recover waits for it
	asked  chan struct{} // Recover was called
	broken int           // how many calls of Recover fail
	refuse bool          // Want fails
	wanted map[string]int
}

func newFar() *far {
	return &far{Broker: memory.New(0), ready: true, asked: make(chan struct{}, 100), wanted: make(map[string]int)}
}

func (f *far) Attach(host hub.Host)       { f.host = host }
func (f *far) Retain(hub.Keep)            {}
func (f *far) Open(context.Context) error { return nil }

func (f *far) Ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ready
}

func (f *far) Want(_ context.Context, patterns []protocol.Pattern) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse {
		return errors.New("no route")
	}
	for _, p := range patterns {
		f.wanted[p.String()]++
	}
	return nil
}

func (f *far) Unwant(patterns []protocol.Pattern) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range patterns {
		if f.wanted[p.String()]--; f.wanted[p.String()] == 0 {
			delete(f.wanted, p.String())
		}
	}
}

func (f *far) wants() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprint(f.wanted)
}

func (f *far) Recover(ctx context.Context, q hub.Recovery, at func(hub.Recovered)) error {
	f.mu.Lock()
	held, broken := f.held, f.broken > 0
	if broken {
		f.broken--
	}
	f.mu.Unlock()
	f.asked <- struct{}{}
	if broken {
		return errors.New("out of reach")
	}
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f.Broker.Recover(ctx, q, at)
}

// TestFarHistoryHoldsNobodyUp: while one connection waits for history that is far away, all others of its shard get what they are due.
func TestFarHistoryHoldsNobodyUp(t *testing.T) {
	f := newFar()
	h := newHubOver(t, f, settings(rule(t, "slow", 1000, flow.Class{MaxMessages: 2, MaxBytes: 1 << 20, Policy: flow.Block}),
		rule(t, "**", 1000, flow.Class{MaxMessages: 1000, MaxBytes: 1 << 20})), zap.NewNop())
	p, c := pipe(t, h, &receiver{})
	subscribe(t, h, c, nil, 0, "slow")
	p.expect("subscription_confirmed")
	held := make(chan struct{})
	f.mu.Lock()
	f.held, f.broken = held, 2 // and at first the history cannot be read at all
	f.mu.Unlock()
	const n = 20
	for i := range n {
		publish(t, h, "slow", fmt.Sprint(i)) // of a pipe nothing is taken before it is read: the connection is blocked
	}
	read := make(chan []string)
	go func() { read <- p.messages(n) }()
	for range 3 {
		<-f.asked
	}
	for range 2 * len(h.Connections()) { // whatever shard it is, it works
		other, d := tcp(t, h, &receiver{})
		subscribe(t, h, d, nil, 0, "quick")
		other.expect("subscription_confirmed")
		publish(t, h, "quick", `1`)
		other.expect("channel_message")
		other.leave(d)
	}
	close(held)
	for i, text := range <-read {
		if text != fmt.Sprintf("slow:%d", i) {
			t.Fatalf("got %s at %d", text, i)
		}
	}
	p.leave(c)
	ended(t, h)
}

// TestClosingWhileHistoryIsFar: a hub ends also where an answer never comes.
func TestClosingWhileHistoryIsFar(t *testing.T) {
	f := newFar()
	h := newHubOver(t, f, settings(rule(t, "**", 1000, flow.Class{MaxMessages: 2, MaxBytes: 1 << 20, Policy: flow.Block})), zap.NewNop())
	p, c := tcp(t, h, &receiver{})
	subscribe(t, h, c, nil, 0, "c")
	p.expect("subscription_confirmed")
	f.mu.Lock()
	f.held = make(chan struct{})
	f.mu.Unlock()
	p.Close()
	<-c.Ended()
	ended(t, h)
}

// TestLossesBetweenNodes: what the broker tells of losses comes to those whom they concern, at its place.
func TestLossesBetweenNodes(t *testing.T) {
	f := newFar()
	class := flow.Class{MaxMessages: 100, MaxBytes: 1 << 20}
	h := newHubOver(t, f, settings(rule(t, "k/*", 10, class), rule(t, "**", 0, class)), zap.NewNop())
	p, c := tcp(t, h, &receiver{})
	subscribe(t, h, c, nil, 0, "k/1", "k/*", "loose", "x/*")
	for range 4 {
		p.expect("subscription_confirmed")
	}
	publish(t, h, "k/1", `1`)
	f.host.Missing("k/1")
	f.host.Missing("other")
	publish(t, h, "k/1", `2`)
	f.host.MissingUnkept()
	publish(t, h, "k/1", `3`)
	p.expect("channel_message")
	if m := p.expect("gap"); m["channel"] != "k/1" || m["reason"] != "broker" || m["recoverable"] != true || m["dropped"] != nil {
		t.Error(m)
	}
	p.expect("channel_message")
	names := map[any]bool{}
	for range 2 {
		m := p.expect("gap")
		names[m["channel"]] = true
		if m["reason"] != "broker" || m["recoverable"] != false {
			t.Error(m)
		}
	}
	if !names["loose"] || !names["x/*"] {
		t.Errorf("told of %v", names)
	}
	p.expect("channel_message")
	if got := h.Stats().Gaps["broker"]; got != 3 {
		t.Errorf("%d gaps are counted", got)
	}
	p.leave(c)
	ended(t, h)
}

// TestNewEpoch: when the order begins anew, clients are sent away, and who comes then is told the new epoch.
func TestNewEpoch(t *testing.T) {
	f := newFar()
	h := newHubOver(t, f, settings(rule(t, "**", 10, flow.Class{MaxMessages: 100, MaxBytes: 1 << 20})), zap.NewNop())
	p, c := tcp(t, h, &receiver{})
	subscribe(t, h, c, nil, 0, "c")
	p.expect("subscription_confirmed")
	f.host.Renewed(protocol.Position{Epoch: "another", Offset: 7})
	if code := p.closedWith(); code != 1001 {
		t.Errorf("closed with %d", code)
	}
	<-c.Ended()
	again, d := tcp(t, h, &receiver{})
	subscribe(t, h, d, nil, 0, "c")
	if m := again.expect("subscription_confirmed"); m["epoch"] != "another" || str(m["offset"]) != "7" {
		t.Error(m)
	}
	again.leave(d)
	ended(t, h)
}

// TestNobodyComesBeforeTheBrokerIsReady.
func TestNobodyComesBeforeTheBrokerIsReady(t *testing.T) {
	f := newFar()
	f.ready = false
	h := newHubOver(t, f, settings(), zap.NewNop())
	if _, why := h.Reserve("a", ""); why != hub.NotReady {
		t.Errorf("reserving: %v", why)
	}
	f.ready = true
	slot, why := h.Reserve("a", "")
	if why != hub.Admitted {
		t.Fatalf("reserving: %v", why)
	}
	slot.Release()
	ended(t, h)
}

// TestWantsFollowSubscriptions: the broker is asked for what is subscribed to, once for each subscription, until it ends.
func TestWantsFollowSubscriptions(t *testing.T) {
	f := newFar()
	s := settings()
	s.MaxSubscriptions = 3
	h := newHubOver(t, f, s, zap.NewNop())
	p, c := tcp(t, h, &receiver{})
	subscribe(t, h, c, nil, 0, "a", "b/*", "a", "c", "d")
	for range 4 {
		p.expect("subscription_confirmed")
	}
	p.expect("error")
	if got := f.wants(); got != "map[a:1 b/*:1 c:1]" {
		t.Errorf("wanted is %s", got)
	}
	c.Unsubscribe("", []string{"a", "never"})
	p.expect("unsubscription_confirmed")
	p.expect("unsubscription_confirmed")
	f.mu.Lock()
	f.refuse = true
	f.mu.Unlock()
	subscribe(t, h, c, nil, 0, "e")
	if m := p.expect("error"); m["code"] != "INTERNAL" || m["retry_after_ms"] == nil {
		t.Error(m)
	}
	if got := f.wants(); got != "map[b/*:1 c:1]" {
		t.Errorf("wanted is %s", got)
	}
	p.Close()
	<-c.Ended()
	ended(t, h)
	if got := f.wants(); got != "map[]" {
		t.Errorf("wanted is still %s", got)
	}
}
