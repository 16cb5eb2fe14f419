package hub_test

import (
	"sync/atomic"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
)

// staffOnly are settings with staff/** for a role and all else for anyone, and the same with staff/** for anyone.
func staffOnly(t *testing.T) (narrow, wide *hub.Settings) {
	t.Helper()
	class := flow.Class{MaxMessages: 100, MaxBytes: 1 << 20}
	staff := rule(t, "staff/**", 0, class)
	staff.Allow.Subscribe = access.Terms{"role:staff"}
	return settings(staff, rule(t, "**", 0, class)), settings(rule(t, "staff/**", 0, class), rule(t, "**", 0, class))
}

// sameShard makes two connections that one shard owns.
func sameShard(t *testing.T, h *hub.Hub) (p, q *peer, c, d *hub.Conn) {
	t.Helper()
	p, c = tcp(t, h, &receiver{})
	for q, d = tcp(t, h, &receiver{}); !c.SameShard(d); q, d = tcp(t, h, &receiver{}) {
		q.leave(d)
	}
	return p, q, c, d
}

// TestDecidingLeavesTheShardFree: while it is decided what a client may do, after a token and after a reload, other connections of its
// shard get their messages. The test does not end if deciding runs on the shard.
func TestDecidingLeavesTheShardFree(t *testing.T) {
	narrow, wide := staffOnly(t)
	for _, test := range []struct {
		title string
		begin func(h *hub.Hub, c *hub.Conn)
	}{
		{"token", func(_ *hub.Hub, c *hub.Conn) { c.Identify(&access.Identity{User: "ann"}) }},
		{"reload", func(h *hub.Hub, _ *hub.Conn) { h.Configure(narrow) }},
	} {
		t.Run(test.title, func(t *testing.T) {
			h := newHub(t, wide)
			deciding, decided := make(chan struct{}), make(chan struct{})
			h.OnDecide(func() {
				deciding <- struct{}{}
				<-decided
			})
			p, q, c, d := sameShard(t, h)
			subscribe(t, h, c, nil, 0, "a", "staff/a")
			p.expect("subscription_confirmed")
			p.expect("subscription_confirmed")
			began := make(chan struct{})
			go func() {
				test.begin(h, c)
				close(began)
			}()
			wait.For(t, "rights are decided", deciding)
			subscribe(t, h, d, nil, 0, "b")
			q.expect("subscription_confirmed")
			publish(t, h, "a", "1")
			publish(t, h, "b", "2")
			if m := q.expect("channel_message"); m["channel"] != "b" {
				t.Errorf("got %v", m)
			}
			if m := p.expect("channel_message"); m["channel"] != "a" { // it is itself not held up either
				t.Errorf("got %v", m)
			}
			close(decided)
			go func() { // those of the others
				for range deciding {
				}
			}()
			<-began
			if test.title == "reload" {
				if m := p.expect("error"); m["channel"] != "staff/a" || m["code"] != "FORBIDDEN" {
					t.Errorf("got %v", m)
				}
			}
			p.leave(c)
			q.leave(d)
			ended(t, h)
			close(deciding)
		})
	}
}

// TestReloadWaitsForTheRequestAtHand: what a request that is being handled asks for by the old rules is held against the new ones after it.
func TestReloadWaitsForTheRequestAtHand(t *testing.T) {
	narrow, wide := staffOnly(t)
	h := newHub(t, wide)
	handling, handle := make(chan struct{}), make(chan struct{})
	p, c := tcp(t, h, &receiver{receive: func(c *hub.Conn, _ []byte) {
		ask := hub.Subscribe{Patterns: patterns(t, "staff/a"), Rules: wide.Rules[:1]}
		close(handling)
		<-handle
		c.Subscribe(t.Context(), ask)
	}})
	other, d := tcp(t, h, &receiver{})
	subscribe(t, h, d, nil, 0, "staff/b")
	other.expect("subscription_confirmed")
	p.text("subscribe")
	wait.For(t, "the request is handled", handling)
	h.Configure(narrow)
	if m := other.expect("error"); m["channel"] != "staff/b" {
		t.Errorf("got %v", m)
	}
	close(handle)
	p.expect("subscription_confirmed")
	if m := p.expect("error"); m["channel"] != "staff/a" || m["code"] != "FORBIDDEN" {
		t.Errorf("got %v", m)
	}
	p.leave(c)
	other.leave(d)
	ended(t, h)
}

// TestLastReloadCounts: however many reloads come one upon the other, what is left is what the last one allows, for parked connections as
// well.
func TestLastReloadCounts(t *testing.T) {
	narrow, wide := staffOnly(t)
	h := newHub(t, wide)
	var decisions atomic.Int64
	h.OnDecide(func() { decisions.Add(1) })
	const n = 20
	var peers []*peer
	var conns []*hub.Conn
	for range n {
		p, c := tcp(t, h, &receiver{})
		subscribe(t, h, c, nil, 0, "staff/a", "b")
		p.expect("subscription_confirmed")
		p.expect("subscription_confirmed")
		peers, conns = append(peers, p), append(conns, c)
	}
	for range 20 {
		h.Configure(wide)
		h.Configure(narrow)
	}
	for _, p := range peers {
		if m := p.expect("error"); m["channel"] != "staff/a" {
			t.Errorf("got %v", m)
		}
	}
	publish(t, h, "staff/a", "1")
	publish(t, h, "b", "2")
	for _, p := range peers {
		if m := p.expect("channel_message"); m["channel"] != "b" {
			t.Errorf("got %v", m)
		}
	}
	for i, p := range peers {
		p.leave(conns[i])
	}
	ended(t, h)
	if decisions.Load() == 0 {
		t.Error("nothing was decided")
	}
}

// TestReloadPutsNewRulesInSubscriptions: after a reload the rule of a subscription is the message's again, so that delivery asks nothing.
func TestReloadPutsNewRulesInSubscriptions(t *testing.T) {
	_, wide := staffOnly(t)
	_, again := staffOnly(t)
	h := newHub(t, wide)
	p, c := tcp(t, h, &receiver{})
	subscribe(t, h, c, nil, 0, "staff/*", "b", "**")
	h.Configure(again)
	check := wait.Check(t, "subscriptions have the new rules")
	for rules := c.Rules(); rules["staff/*"] != again.Rules[0] || rules["b"] != again.Rules[1] || rules["**"] != again.Rules[1]; rules = c.Rules() {
		check()
	}
	p.leave(c)
	ended(t, h)
}
