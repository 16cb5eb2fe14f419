package nats

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/brokertest"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/natstest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func TestMain(m *testing.M) {
	// Each run of a model makes a stream; fewer of them take a few seconds, and -rapid.checks asks for more.
	if err := flag.Set("rapid.checks", "25"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// node is a broker that stands in no hub.
type node struct {
	*brokertest.Host
	broker *Broker
}

// join makes a node of a hub on a server of this process.
func join(t testing.TB, s *server.Server, options Options, rules func(string) *hub.Rule) *node {
	t.Helper()
	options.Connect = append(options.Connect, nats.InProcessServer(s))
	return open(t, options, rules)
}

func open(t testing.TB, options Options, rules func(string) *hub.Rule) *node {
	t.Helper()
	if options.Hub == "" {
		options.Hub = "test"
	}
	b := New(options)
	n := &node{brokertest.Open(t, b, hub.Keep{Messages: rules("any").History.Messages}, rules, quiet(t)), b}
	t.Cleanup(n.Close)
	return n
}

var keeping = brokertest.Keeping

func TestTwoNodes(t *testing.T) {
	s := natstest.Server(t)
	a := join(t, s, Options{}, keeping(100))
	start := a.broker.Position()
	for i := range 10 {
		a.Publish("c/1", fmt.Sprint(i))
	}
	a.Messages(10)
	b := join(t, s, Options{}, keeping(100))
	for i := range 10 {
		b.Publish("c/1", fmt.Sprint(10+i))
	}
	for i, m := range a.Messages(20) {
		if string(m.Data()) != fmt.Sprint(i) || m.Offset != uint64(i+1) || m.Prev != uint64(i) {
			t.Errorf("%d: %s at %d behind %d", i, m.Data(), m.Offset, m.Prev)
		}
	}
	for _, n := range []*node{a, b} {
		got := n.Since(start, "c/*")
		if len(got.Messages) != 20 || !got.Complete[0] || got.Position.Offset != 20 {
			t.Errorf("%d messages, %+v", len(got.Messages), got)
		}
	}
}

func TestWithoutHistory(t *testing.T) {
	s := natstest.Server(t)
	a, b := join(t, s, Options{}, keeping(0)), join(t, s, Options{}, keeping(0))
	for i := range 10 {
		a.Publish("c", fmt.Sprint(i))
	}
	for _, n := range []*node{a, b} {
		for i, m := range n.Messages(10) {
			if string(m.Data()) != fmt.Sprint(i) || m.Offset != 0 {
				t.Errorf("%d: %s at %d", i, m.Data(), m.Offset)
			}
		}
	}
}

// TestKeyCountsOnEveryNode: a message that one node has published is known again on another.
func TestKeyCountsOnEveryNode(t *testing.T) {
	s := natstest.Server(t)
	a, b := join(t, s, Options{}, keeping(10)), join(t, s, Options{}, keeping(10))
	first := a.PublishKey("c", "1", "", "k")
	again := b.PublishKey("c", "1", "", "k")
	if !again.Duplicate || again.Position != first.Position {
		t.Errorf("first %+v, then %+v", first, again)
	}
	b.Publish("c", "2")
	if got := brokertest.Data(a.Messages(2)); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %v", got)
	}
}

// TestStreamMadeAnew: the order of a stream that was deleted ends, and those who follow it are told.
func TestStreamMadeAnew(t *testing.T) {
	s := natstest.Server(t)
	a, b := join(t, s, Options{}, keeping(10)), join(t, s, Options{}, keeping(10))
	old := a.Publish("c", "1").Position
	b.Messages(1)
	if err := a.broker.js.DeleteStream(t.Context(), a.broker.names.stream); err != nil {
		t.Fatal(err)
	}
	a.broker.look()
	for _, n := range []*node{a, b} {
		n.Until("a new epoch", func(events []brokertest.Event) bool {
			return slices.ContainsFunc(events, func(e brokertest.Event) bool { return e.Renewed != nil && e.Renewed.Epoch != old.Epoch })
		})
	}
	if a.broker.Position().Epoch != b.broker.Position().Epoch {
		t.Fatalf("two epochs: %v and %v", a.broker.Position(), b.broker.Position())
	}
	if receipt := a.Publish("c", "2"); receipt.Position.Epoch == old.Epoch {
		t.Errorf("published in the old epoch: %+v", receipt)
	}
	b.Messages(2)
	if got := b.Since(old, "c"); got.Complete[0] || len(got.Messages) != 0 {
		t.Errorf("a position of the old epoch: %+v", got)
	}
}

// TestForeignStream: a stream that happens to have the hub's name is left alone.
func TestForeignStream(t *testing.T) {
	s := natstest.Server(t)
	conn, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := New(Options{}).jetStream(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), foreign("nq-test")); err != nil {
		t.Fatal(err)
	}
	b := New(Options{Hub: "test"})
	b.js, b.conn = js, conn
	if _, err := b.ensure(t.Context()); !errors.Is(err, errForeign) {
		t.Errorf("got %v", err)
	}
}

// TestAway: while NATS is out of reach, nothing is published, and clients are told when to try again.
func TestAway(t *testing.T) {
	s := natstest.Server(t)
	a := join(t, s, Options{PublishTimeout: time.Second}, keeping(10))
	a.Publish("c", "1")
	lively := join(t, s, Options{LiveOnly: true, ReadTimeout: time.Second}, keeping(10))
	lively.broker.ring.limit = 0
	start := protocol.Position{Epoch: a.broker.Position().Epoch}
	s.Shutdown()
	s.WaitForShutdown()
	_, err := a.broker.Publish(t.Context(), hub.Publication{Channel: "c", Data: []byte("2")})
	if e, ok := protocol.AsError(err); !ok || e.Code != protocol.Internal || e.RetryAfter <= 0 {
		t.Errorf("publishing: %v", err)
	}
	lively.broker.mu.Lock()
	lively.broker.ring = ring{low: lively.broker.delivered}
	lively.broker.mu.Unlock()
	got := lively.Since(start, "c")
	if got.Complete[0] || len(got.Messages) > 0 {
		t.Errorf("live only: %+v", got)
	}
	strict := hub.Recovery{Since: &start, Filters: brokertest.Patterns(t, "c"), Strict: true}
	if err := lively.broker.Recover(t.Context(), strict, func(hub.Recovered) { t.Error("recovered") }); !errors.Is(err, ErrUnavailable) {
		t.Errorf("strictly: %v", err)
	}
	_, err = lively.broker.History(context.Background(), "c", &start, 10)
	if e, ok := protocol.AsError(err); !ok || e.Code != protocol.HistoryUnavailable || e.RetryAfter <= 0 {
		t.Errorf("history: %v", err)
	}
}

// TestStreamLosesItsTail: offsets that the stream has lost and will give again are of another epoch.
func TestStreamLosesItsTail(t *testing.T) {
	s := natstest.Server(t)
	a, b := join(t, s, Options{}, keeping(10)), join(t, s, Options{}, keeping(10))
	old := a.Publish("c", "1").Position
	b.Messages(1)
	for _, n := range []*node{a, b} {
		n.broker.mu.Lock()
		n.broker.delivered += 100 // as if these had come, and the servers had forgotten them
		n.broker.mu.Unlock()
	}
	for _, n := range []*node{a, b} {
		n.Until("a new epoch", func(events []brokertest.Event) bool {
			return slices.ContainsFunc(events, func(e brokertest.Event) bool { return e.Renewed != nil && e.Renewed.Epoch != old.Epoch })
		})
	}
	wait.Until(t, "one epoch", func() bool { return a.broker.Position() == b.broker.Position() })
	a.Publish("c", "2")
	b.Messages(2)
	if got := b.Since(protocol.Position{Epoch: b.broker.Position().Epoch}, "c"); len(got.Messages) != 2 {
		t.Errorf("what the stream still has: %v", brokertest.Data(got.Messages))
	}
}

// quiet is a log of what is worth to be seen in a failing test.
func quiet(t testing.TB) *zap.Logger { return zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)) }
