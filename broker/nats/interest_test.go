package nats

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/brokertest"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/natstest"
)

// picky makes a node with dynamic interest that wants these patterns.
func picky(t *testing.T, options Options, rules func(string) *hub.Rule, patterns ...string) *node {
	t.Helper()
	options.Hub, options.Dynamic = "test", true
	b := New(options)
	n := &node{brokertest.OpenIdle(t, b, hub.Keep{Messages: rules("any").History.Messages}, rules, quiet(t)), b}
	t.Cleanup(n.Close)
	n.want(t, patterns...)
	return n
}

func (n *node) want(t *testing.T, patterns ...string) {
	t.Helper()
	if err := n.broker.Want(t.Context(), brokertest.Patterns(t, patterns...)); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyWhatIsWanted(t *testing.T) {
	s := natstest.Listening(t)
	for _, keep := range []int{0, 100} {
		t.Run(fmt.Sprint("keeping ", keep), func(t *testing.T) {
			hubName := fmt.Sprint("wanted", keep)
			a := open(t, Options{URL: s.ClientURL(), Hub: hubName}, keeping(keep))
			b := New(Options{URL: s.ClientURL(), Hub: hubName, Dynamic: true})
			n := &node{brokertest.OpenIdle(t, b, hub.Keep{Messages: keep}, keeping(keep), quiet(t)), b}
			defer n.Close()
			n.want(t, "a/*", "a/1", "b")
			for _, channel := range []string{"a/1", "a/1/x", "c", "b", "a/2", "a.1"} {
				a.Publish(channel, fmt.Sprintf("%q", channel))
			}
			a.Publish("b", `"end"`)
			if got := brokertest.Data(n.Messages(4)); !slices.Equal(got, []string{`"a/1"`, `"b"`, `"a/2"`, `"end"`}) {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestWantedLater: what was published before a channel was wanted is read from the stream, and joins with what comes.
func TestWantedLater(t *testing.T) {
	s := natstest.Listening(t)
	a := open(t, Options{URL: s.ClientURL()}, keeping(100))
	b := picky(t, Options{URL: s.ClientURL()}, keeping(100), "other")
	start := a.broker.Position()
	for i := range 20 {
		a.Publish("late", fmt.Sprint(i))
		if i == 9 {
			b.want(t, "late")
		}
	}
	b.Messages(10)
	got := b.Since(start, "late")
	if len(got.Messages) != 20 || !got.Complete[0] {
		t.Errorf("%v, complete %v", brokertest.Data(got.Messages), got.Complete)
	}
	newest, _ := b.Recover(hub.Recovery{Last: 15, Filters: brokertest.Patterns(t, "late")})
	if data := brokertest.Data(newest.Messages); len(data) != 15 || data[0] != "5" || data[14] != "19" {
		t.Errorf("the newest are %v", data)
	}
}

// TestNoneIsMissedOnceWanted: on a cluster, all that is published once a subscription counts comes, with and without history, on whatever
// node it is published.
func TestNoneIsMissedOnceWanted(t *testing.T) {
	servers := natstest.Cluster(t, 3)
	rules := func(channel string) *hub.Rule {
		if channel[0] == 'k' {
			return &hub.Rule{History: hub.Retention{Messages: 100}}
		}
		return &hub.Rule{}
	}
	var nodes []*node
	for i := range servers {
		b := New(Options{Hub: "test", URL: servers[i].ClientURL(), Replicas: 3, Dynamic: true})
		n := &node{brokertest.OpenIdle(t, b, hub.Keep{Messages: 100}, rules, quiet(t)), b}
		t.Cleanup(n.Close)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		wait.Until(t, "the nodes to know each other", func() bool { return len(n.broker.peers.others(n.broker.now())) == 2 })
	}
	const rounds = 100
	for i := range rounds {
		var group sync.WaitGroup
		for _, kind := range []string{"k", "l"} {
			group.Go(func() {
				channel := fmt.Sprint(kind, i)
				nodes[i%3].want(t, channel)
				nodes[(i+1)%3].Publish(channel, fmt.Sprintf("%q", channel))
			})
		}
		group.Wait()
	}
	for i, n := range nodes {
		want := make(map[string]bool)
		for r := range rounds {
			if r%3 == i {
				want[fmt.Sprintf(`"k%d"`, r)], want[fmt.Sprintf(`"l%d"`, r)] = true, true
			}
		}
		events := n.Until("all that was wanted", func(events []brokertest.Event) bool {
			return len(brokertest.MessagesOf(events)) >= len(want)
		})
		for _, data := range brokertest.Data(brokertest.MessagesOf(events)) {
			if !want[data] {
				t.Errorf("node %d got %s again, or what it did not want", i, data)
			}
			delete(want, data)
		}
		for _, e := range events {
			if e.Missing != "" {
				t.Errorf("node %d was told that %s lost messages", i, e.Missing)
			}
		}
		if len(want) > 0 {
			t.Errorf("node %d lacks %v", i, want)
		}
	}
}

// TestTailIsLookedAt: messages that did not come though they were wanted are found without anything behind them that would show it.
func TestTailIsLookedAt(t *testing.T) {
	s := natstest.Listening(t)
	a := open(t, Options{URL: s.ClientURL()}, keeping(100))
	b := picky(t, Options{URL: s.ClientURL()}, keeping(100), "c", "d")
	a.Publish("c", "0")
	b.Messages(1)
	b.broker.interest.mu.Lock()
	sub := b.broker.interest.wanted[filterOf(brokertest.Patterns(t, "c")[0])].stream
	b.broker.interest.mu.Unlock()
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if err := b.broker.flush(); err != nil {
		t.Fatal(err)
	}
	a.Publish("c", "1")
	if got := brokertest.Data(b.Messages(2)); got[1] != "1" {
		t.Errorf("got %v", got)
	}
	// What is found when others have come behind it would be out of order: it is told as lost.
	a.Publish("c", "2")
	a.Publish("d", "3")
	b.Messages(3)
	b.Until("the loss", func(events []brokertest.Event) bool {
		return slices.ContainsFunc(events, func(e brokertest.Event) bool {
			return e.Missing == "c" || e.Message != nil && string(e.Message.Data()) == "2"
		})
	})
	wait.Until(t, "the end of the line", func() bool { return b.broker.Position().Offset == 4 })
}

// TestUnwantedEnds: what nobody wants any more ends after a while.
func TestUnwantedEnds(t *testing.T) {
	s := natstest.Listening(t)
	b := picky(t, Options{URL: s.ClientURL()}, keeping(1), "a/*", "b")
	b.want(t, "b")
	patterns := brokertest.Patterns(t, "a/*", "b")
	before := b.broker.now()
	b.broker.Unwant(patterns)
	b.broker.interest.drop(before.Add(lingerTime - 1))
	if n := len(b.broker.interest.filters()); n != 2 {
		t.Errorf("%d are left too early", n)
	}
	b.broker.interest.drop(b.broker.now().Add(2 * lingerTime))
	if got := b.broker.interest.filters(); !slices.Equal(got, []string{"b.o"}) || len(b.broker.interest.patterns) != 0 {
		t.Errorf("left are %v", got)
	}
}
