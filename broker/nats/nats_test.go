package nats

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/natstest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// node is a broker as a hub has it, which notes what it is given.
type node struct {
	*Broker
	t    testing.TB
	rule func(channel string) *hub.Rule
	log  *zap.Logger

	mu        sync.Mutex
	arrived   chan struct{}
	delivered []*hub.Message
	missed    []string
	unkept    int
	renewals  []protocol.Position
}

func (n *node) Room() {}

func (n *node) Log() *zap.Logger { return n.log }

func (n *node) Missing(channel string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.missed = append(n.missed, channel)
}

func (n *node) MissingUnkept() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unkept++
}

func (n *node) Renewed(p protocol.Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.renewals = append(n.renewals, p)
}

func (n *node) take(m *hub.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delivered = append(n.delivered, m)
	close(n.arrived)
	n.arrived = make(chan struct{})
}

// messages waits for so many messages and gives all that have come.
func (n *node) messages(count int) []*hub.Message {
	n.t.Helper()
	deadline := time.After(natstest.Patience)
	for {
		n.mu.Lock()
		got, arrived := n.delivered, n.arrived
		n.mu.Unlock()
		if len(got) >= count {
			return got
		}
		select {
		case <-arrived:
		case <-deadline:
			n.t.Fatalf("%d messages came, want %d", len(got), count)
		}
	}
}

// join makes a node of a hub on a server.
func join(t testing.TB, s *server.Server, options Options, rule func(string) *hub.Rule) *node {
	t.Helper()
	if options.Hub == "" {
		options.Hub = "test"
	}
	options.Connect = append(options.Connect, nats.InProcessServer(s))
	n := &node{Broker: New(options), t: t, rule: rule, arrived: make(chan struct{}), log: zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel))}
	n.Attach(n)
	n.Retain(hub.Keep{Messages: 100})
	if err := n.Start(n.take, rule); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), natstest.Patience)
	defer cancel()
	if err := n.Open(ctx); err != nil {
		t.Fatal(err)
	}
	if !n.Ready() {
		t.Fatal("the broker is not ready")
	}
	return n
}

func keeping(messages int, age time.Duration) func(string) *hub.Rule {
	rule := &hub.Rule{History: hub.Retention{Messages: messages, Age: age}}
	return func(string) *hub.Rule { return rule }
}

func (n *node) publish(channel, data string) hub.Receipt {
	n.t.Helper()
	receipt, err := n.Publish(context.Background(), hub.Publication{Channel: channel, Data: []byte(data)})
	if err != nil {
		n.t.Fatal(err)
	}
	return receipt
}

func (n *node) since(p protocol.Position, patterns ...string) (out hub.Recovered) {
	n.t.Helper()
	q := hub.Recovery{Since: &p}
	for _, text := range patterns {
		f, err := protocol.ParsePattern(text)
		if err != nil {
			n.t.Fatal(err)
		}
		q.Filters = append(q.Filters, f)
	}
	if err := n.Recover(context.Background(), q, func(r hub.Recovered) { out = r }); err != nil {
		n.t.Fatal(err)
	}
	return out
}

func TestTwoNodes(t *testing.T) {
	s := natstest.Server(t)
	a := join(t, s, Options{}, keeping(100, 0))
	start := a.Position()
	for i := range 10 {
		a.publish("c/1", fmt.Sprint(i))
	}
	a.messages(10)
	b := join(t, s, Options{}, keeping(100, 0))
	for i := range 10 {
		b.publish("c/1", fmt.Sprint(10+i))
	}
	for i, m := range a.messages(20) {
		if string(m.Data()) != fmt.Sprint(i) || m.Offset != uint64(i+1) || m.Prev != uint64(i) {
			t.Errorf("%d: %s at %d behind %d", i, m.Data(), m.Offset, m.Prev)
		}
	}
	for _, n := range []*node{a, b} {
		got := n.since(start, "c/*")
		if len(got.Messages) != 20 || !got.Complete[0] || got.Position.Offset != 20 {
			t.Errorf("%d messages, %+v", len(got.Messages), got)
		}
	}
}

func TestWithoutHistory(t *testing.T) {
	s := natstest.Server(t)
	a, b := join(t, s, Options{}, keeping(0, 0)), join(t, s, Options{}, keeping(0, 0))
	for i := range 10 {
		a.publish("c", fmt.Sprint(i))
	}
	for _, n := range []*node{a, b} {
		for i, m := range n.messages(10) {
			if string(m.Data()) != fmt.Sprint(i) || m.Offset != 0 {
				t.Errorf("%d: %s at %d", i, m.Data(), m.Offset)
			}
		}
	}
}
