package hub_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func str(v any) string { return fmt.Sprint(v) }

// expect reads the next message and checks its type.
func (p *peer) expect(typ string) map[string]any {
	p.t.Helper()
	m := p.next()
	if m["type"] != typ {
		p.t.Fatalf("got %v, want %s", m, typ)
	}
	return m
}

func TestOneDeliveryHoweverManySubscriptions(t *testing.T) {
	h := newHub(t, unhurried(settings()))
	p, c := tcp(t, h, &receiver{})
	subscribe(t, h, c, nil, 0, "a/b", "a/*", "a/**", "**", "*/b")
	for range 5 {
		p.expect("subscription_confirmed")
	}
	publish(t, h, "a/b", `1`)
	publish(t, h, "a/c", `2`)
	publish(t, h, "z", `3`)
	for _, want := range []string{"a/b", "a/c", "z"} {
		if m := p.expect("channel_message"); m["channel"] != want {
			t.Fatalf("got %v, want %s", m, want)
		}
	}
	c.Unsubscribe("7", []string{"**", "a/b", "never"})
	for range 3 {
		if m := p.expect("unsubscription_confirmed"); str(m["id"]) != "7" {
			t.Fatal(m)
		}
	}
	if got := c.Stats().Subscriptions; got != 3 {
		t.Errorf("%d subscriptions are left", got)
	}
	publish(t, h, "z", `4`)
	publish(t, h, "a/b", `5`)
	if m := p.expect("channel_message"); str(m["data"]) != "5" {
		t.Fatalf("got %v", m)
	}
	p.Close()
	<-c.Ended()
	if n := len(h.Channels(func(string) bool { return true })); n != 0 {
		t.Errorf("%d channels are left", n)
	}
	ended(t, h)
}

func TestSubscriptionsAreLimited(t *testing.T) {
	for _, limit := range []int{0, 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			s := settings()
			s.MaxSubscriptions = limit
			h := newHub(t, unhurried(s))
			p, c := tcp(t, h, &receiver{})
			subscribe(t, h, c, nil, 0, "a", "b", "a", "c", "d")
			for range 4 {
				p.expect("subscription_confirmed") // what is there already is no more
			}
			if limit == 0 {
				p.expect("subscription_confirmed")
			} else if m := p.expect("error"); m["code"] != "LIMIT_EXCEEDED" || m["channel"] != "d" {
				t.Error(m)
			}
			for _, channel := range []string{"d", "c"} {
				publish(t, h, channel, `0`)
			}
			if m := p.expect("channel_message"); limit == 0 != (m["channel"] == "d") {
				t.Error(m)
			}
			p.leave(c)
			ended(t, h)
		})
	}
}

func TestDuplicatesAreCounted(t *testing.T) {
	h := newHub(t, settings())
	for range 3 {
		if _, err := h.Publish(t.Context(), hub.Publication{Channel: "c", Data: []byte(`0`), Key: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.Stats(); got.Published != 3 || got.Duplicates != 2 {
		t.Errorf("%d published, %d of them duplicates", got.Published, got.Duplicates)
	}
	ended(t, h)
}

// TestOrder: with several publishers every subscriber gets all messages, in one order.
func TestOrder(t *testing.T) {
	const publishers, each, subscribers = 4, 500, 6
	h := newHub(t, unhurried(settings(rule(t, "**", 100_000, flow.Class{MaxMessages: 1 << 20, MaxBytes: 1 << 30}))))
	peers := make([]*peer, subscribers)
	for i := range peers {
		p, c := tcp(t, h, &receiver{})
		subscribe(t, h, c, nil, 0, "c/*")
		p.expect("subscription_confirmed")
		peers[i] = p
	}
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			for n := range each {
				publish(t, h, fmt.Sprintf("c/%d", i), fmt.Sprint(n))
			}
		})
	}
	for _, p := range peers {
		wg.Go(func() {
			last := 0.0
			next := make(map[any]int)
			for range publishers * each {
				m := p.expect("channel_message")
				offset := m["offset"].(float64)
				if offset <= last {
					t.Errorf("offset %v behind %v", offset, last)
					return
				}
				last = offset
				if str(m["data"]) != fmt.Sprint(next[m["channel"]]) {
					t.Errorf("%v, want %d", m, next[m["channel"]])
					return
				}
				next[m["channel"]]++
			}
		})
	}
	wg.Wait()
	for _, p := range peers {
		p.Close()
	}
	ended(t, h)
}

// TestStoppedReader: what each policy does to a client that does not read, and that the others do not notice. For all: what is
// received and what gaps tell of is what was published.
func TestStoppedReader(t *testing.T) {
	const messages = 3000
	policies := []flow.Policy{flow.DropOldest, flow.DropNewest, flow.DropAll, flow.Block, flow.Disconnect}
	for _, policy := range policies {
		t.Run(policy.String(), func(t *testing.T) {
			s := settings(rule(t, "**", messages+10, flow.Class{MaxMessages: 100, MaxBytes: 1 << 20, Policy: policy}))
			s.Health.Close = 0
			h := newHub(t, unhurried(s))
			stopped, c := narrow(t, h, &receiver{})
			subscribe(t, h, c, nil, 0, "c")
			stopped.expect("subscription_confirmed")
			reading, rc := tcp(t, h, &receiver{})
			subscribe(t, h, rc, nil, 0, "c")
			reading.expect("subscription_confirmed")
			pad := strings.Repeat("x", 3000)
			for n := range messages {
				publish(t, h, "c", fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, pad))
				if m := reading.expect("channel_message"); str(m["data"].(map[string]any)["n"]) != fmt.Sprint(n) {
					t.Fatalf("message %d: %v", n, m["data"])
				}
			}
			if bytes := c.Stats().QueuedBytes; bytes > 100*4000+1<<18 {
				t.Errorf("%d bytes wait", bytes)
			}
			reading.Close()
			if policy == flow.Disconnect {
				if code := stopped.closedWith(); code != 4008 {
					t.Errorf("closed with %d", code)
				}
			} else {
				account(t, stopped, messages, policy)
				stats := c.Stats()
				if policy != flow.Block && (stats.Offered != messages || stats.Dropped == 0) {
					t.Errorf("offered %d, dropped %d", stats.Offered, stats.Dropped)
				}
			}
			stopped.Close()
			<-c.Ended()
			ended(t, h)
		})
	}
}

// account reads until everything is accounted for: the messages' numbers grow, and gaps stand where some are missing and tell how
// many.
func account(t *testing.T, p *peer, messages int, policy flow.Policy) {
	t.Helper()
	next, lastOffset := 0, 0.0
	lost := 0
	for next+lost < messages {
		m := p.next()
		switch m["type"] {
		case "gap":
			if policy == flow.Block || m["reason"] != policy.String() || m["recoverable"] != true || lost != 0 {
				t.Fatalf("unexpected %v", m)
			}
			lost = int(m["dropped"].(float64))
			if next > 0 && m["after"] != lastOffset {
				t.Fatalf("gap %v behind offset %v", m, lastOffset)
			}
		case "channel_message":
			n := int(m["data"].(map[string]any)["n"].(float64))
			if n != next+lost {
				t.Fatalf("message %d, want %d behind a gap of %d", n, next+lost, lost)
			}
			next, lost = n+1, 0
			lastOffset = m["offset"].(float64)
		default:
			t.Fatalf("unexpected %v", m)
		}
	}
}

// TestReplayJoinsLive cuts and resumes a subscriber again and again while others publish: nothing is missing, nothing comes twice,
// and the order is kept, over a name, several names and patterns.
func TestReplayJoinsLive(t *testing.T) {
	const total = 4000
	h := newHub(t, unhurried(settings(rule(t, "**", total+1, flow.Class{MaxMessages: 50, MaxBytes: 1 << 20, Policy: flow.Block}))))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := 0; n < total/4; n++ {
				publish(t, h, fmt.Sprintf("c/%d", i), fmt.Sprint(n))
			}
		})
	}
	go func() { wg.Wait(); close(stop) }()
	position := protocol.Position{Epoch: h.Position().Epoch}
	next := make(map[any]int)
	sets := [][]string{{"c/*"}, {"c/0", "c/1", "c/2"}, {"**", "c/1"}, {"c/**", "*/2", "c/0"}}
	for round := 0; ; round++ {
		done := false
		select {
		case <-stop:
			done = true
		default:
		}
		p, c := tcp(t, h, &receiver{})
		channels := sets[round%len(sets)]
		end := h.Position().Offset
		subscribe(t, h, c, &position, 0, channels...)
		for range channels {
			if m := p.expect("subscription_confirmed"); m["recovered"] != true {
				t.Fatal(m)
			}
		}
		for position.Offset < end {
			m := p.expect("channel_message")
			if str(m["data"]) != fmt.Sprint(next[m["channel"]]) {
				t.Fatalf("round %d: got %v, want %d", round, m, next[m["channel"]])
			}
			next[m["channel"]]++
			position.Offset = uint64(m["offset"].(float64))
		}
		p.Close()
		<-c.Ended()
		if done {
			break
		}
	}
	for i := range 3 {
		if got := next[fmt.Sprintf("c/%d", i)]; got != total/4 {
			t.Errorf("c/%d: %d messages", i, got)
		}
	}
	ended(t, h)
}

func TestRecoveredIsTruthful(t *testing.T) {
	class := flow.Class{MaxMessages: 1000, MaxBytes: 1 << 20}
	h := newHub(t, unhurried(settings(rule(t, "short/**", 2, class), rule(t, "none/**", 0, class), rule(t, "**", 100, class))))
	epoch := h.Position().Epoch
	for n := range 5 {
		publish(t, h, "short/a", fmt.Sprint(n)) // 1..5; 1..3 are trimmed
	}
	publish(t, h, "long/a", `"x"`) // 6
	publish(t, h, "long/a", `"y"`) // 7
	tests := []struct {
		name     string
		channel  string
		since    protocol.Position
		want     bool
		replayed int
	}{
		{"all is there", "long/*", protocol.Position{Epoch: epoch, Offset: 5}, true, 2},
		{"nothing new", "long/a", protocol.Position{Epoch: epoch, Offset: 7}, true, 0},
		{"trimmed", "short/a", protocol.Position{Epoch: epoch, Offset: 2}, false, 2},
		{"just not trimmed", "short/*", protocol.Position{Epoch: epoch, Offset: 3}, true, 2},
		{"another epoch", "long/a", protocol.Position{Epoch: "other", Offset: 5}, false, 0},
		{"keeps nothing", "none/a", protocol.Position{Epoch: epoch, Offset: 7}, false, 0},
		{"from the future", "long/a", protocol.Position{Epoch: epoch, Offset: 99}, false, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, c := tcp(t, h, &receiver{})
			subscribe(t, h, c, &test.since, 0, test.channel)
			m := p.expect("subscription_confirmed")
			if m["recovered"] != test.want || m["replayed"] != float64(test.replayed) {
				t.Errorf("%v", m)
			}
			if !test.want && test.since.Epoch == epoch && test.since.Offset < 7 {
				if gap := p.expect("gap"); gap["reason"] != "history_trimmed" || gap["dropped"] != nil {
					t.Errorf("%v", gap)
				}
			}
			for range test.replayed {
				p.expect("channel_message")
			}
			p.Close()
			<-c.Ended()
		})
	}
	ended(t, h)
}

func TestHistoryOnSubscribe(t *testing.T) {
	h := newHub(t, unhurried(settings(rule(t, "**", 100, flow.Class{MaxMessages: 3, MaxBytes: 1 << 20}))))
	for n := range 50 {
		publish(t, h, fmt.Sprintf("c/%d", n%2), fmt.Sprint(n))
	}
	p, c := tcp(t, h, &receiver{})
	subscribe(t, h, c, nil, 10, "c/*")
	p.expect("subscription_confirmed")
	for n := range 10 { // more than the queue holds: replay waits for room and drops nothing
		if m := p.expect("channel_message"); str(m["data"]) != fmt.Sprint(40+n) {
			t.Fatalf("%v, want %d", m, 40+n)
		}
	}
	publish(t, h, "c/9", `"live"`)
	if m := p.expect("channel_message"); m["data"] != "live" {
		t.Fatal(m)
	}
	p.Close()
	<-c.Ended()
	ended(t, h)
}

// TestShed: the hub as a whole holds no more than it may; the slowest go first.
func TestShed(t *testing.T) {
	s := settings(rule(t, "**", 0, flow.Class{MaxMessages: 1 << 20, MaxBytes: 1 << 30}))
	s.MaxQueued = 4 << 20
	s.WriteTimeout = time.Hour
	h := newHub(t, unhurried(s))
	var peers []*peer
	for range 4 {
		p, c := narrow(t, h, &receiver{})
		subscribe(t, h, c, nil, 0, "c")
		peers = append(peers, p)
	}
	pad := `"` + strings.Repeat("x", 10_000) + `"`
	for n := 0; h.Stats().Shed == 0; n++ {
		publish(t, h, "c", pad)
		if n > 50_000 {
			t.Fatal("nobody was shed")
		}
	}
	for _, p := range peers {
		p.Close()
	}
	ended(t, h)
}

func TestUnicastAndBroadcast(t *testing.T) {
	h := newHub(t, unhurried(settings()))
	a, ca := tcp(t, h, &receiver{})
	b, _ := tcp(t, h, &receiver{})
	if err := h.Broadcast([]byte(`{"type":"message","data":"all"}`)); err != nil {
		t.Fatal(err)
	}
	if err := h.Send(ca.ID(), []byte(`{"type":"message","data":"a"}`)); err != nil {
		t.Fatal(err)
	}
	if err := h.Send("nobody", nil); err == nil {
		t.Error("sent to nobody")
	}
	if m := a.next(); m["data"] != "all" {
		t.Error(m)
	}
	if m := a.next(); m["data"] != "a" {
		t.Error(m)
	}
	if m := b.next(); m["data"] != "all" {
		t.Error(m)
	}
	a.Close()
	b.Close()
	ended(t, h)
	if err := h.Broadcast(nil); err == nil {
		t.Error("a closed hub broadcasts")
	}
}

func TestCloseSendsAway(t *testing.T) {
	h := newHub(t, unhurried(settings()))
	p, _ := tcp(t, h, &receiver{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if code := p.closedWith(); code != 1001 {
			t.Errorf("closed with %d", code)
		}
		p.Close()
	}()
	ended(t, h)
	<-done
	if _, refusal := h.Reserve("a", ""); refusal != hub.Draining {
		t.Errorf("a closed hub gives %v", refusal)
	}
}

// TestBurstsCostNothing: more than a queue holds comes at once, while the shard is busy, and a client that takes it all gets it all.
func TestBurstsCostNothing(t *testing.T) {
	const messages = 3000
	for _, policy := range []flow.Policy{flow.DropOldest, flow.Conflate, flow.Disconnect} {
		h := newHub(t, unhurried(settings(rule(t, "**", 0, flow.Class{MaxMessages: 5, MaxBytes: 1 << 20, Policy: policy}))))
		p, c := tcp(t, h, &receiver{})
		subscribe(t, h, c, nil, 0, "c")
		p.expect("subscription_confirmed")
		for n := range messages {
			publish(t, h, "c", fmt.Sprint(n))
		}
		for n := range messages {
			if m := p.expect("channel_message"); str(m["data"]) != fmt.Sprint(n) {
				t.Fatalf("%v: got %v, want %d", policy, m, n)
			}
		}
		p.Close()
		<-c.Ended()
		ended(t, h)
	}
}
