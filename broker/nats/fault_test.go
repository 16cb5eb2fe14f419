package nats

import (
	"slices"
	"strconv"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/brokertest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/natstest"
)

// line is a network connection to a server that can be cut and mended.
func line(t *testing.T, s *server.Server) *toxiproxy.Proxy {
	t.Helper()
	log := zerolog.Nop()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), log), "nats", "127.0.0.1:0", s.Addr().String())
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// TestCutNodeCatchesUp: a node that was cut off gets all that was published meanwhile, in order and once, before anything new.
func TestCutNodeCatchesUp(t *testing.T) {
	s := natstest.Listening(t)
	a := join(t, s, Options{}, keeping(1000))
	p := line(t, s)
	b := open(t, Options{URL: "nats://" + p.Listen}, keeping(1000))
	a.Publish("c/1", "0")
	b.Messages(1)
	p.Stop()
	wait.Until(t, "the node to notice", func() bool { return !b.broker.conn.IsConnected() })
	var want []string
	for i := 1; i < 700; i++ {
		a.Publish([]string{"c/1", "c/2"}[i%2], strconv.Itoa(i))
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range 700 {
		want = append(want, strconv.Itoa(i))
	}
	if got := brokertest.Data(b.Messages(700)); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	b.Publish("c/1", "700")
	a.Messages(701)
	events := b.Until("the last", func(events []brokertest.Event) bool { return len(brokertest.MessagesOf(events)) == 701 })
	for _, e := range events {
		if e.Missing != "" {
			t.Errorf("told as missing: %v", e.Missing)
		}
	}
}

// TestTrimmedWhileCut: what the stream dropped before a node that was cut off could read it is told as lost, before what is left.
func TestTrimmedWhileCut(t *testing.T) {
	s := natstest.Listening(t)
	a := join(t, s, Options{}, keeping(100)) // the hub keeps 100 of each channel
	p := line(t, s)
	b := open(t, Options{URL: "nats://" + p.Listen}, keeping(100))
	a.Publish("busy", "first")
	a.Publish("quiet", "first")
	b.Messages(2)
	p.Stop()
	wait.Until(t, "the node to notice", func() bool { return !b.broker.conn.IsConnected() })
	for i := range 300 {
		a.Publish("busy", strconv.Itoa(i))
	}
	a.Publish("quiet", "second")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	events := b.Until("the last", func(events []brokertest.Event) bool {
		m := brokertest.MessagesOf(events)
		return string(m[len(m)-1].Data()) == "second"
	})[3:]
	lost := slices.IndexFunc(events, func(e brokertest.Event) bool { return e.Missing == "busy" })
	first := slices.IndexFunc(events, func(e brokertest.Event) bool { return e.Message != nil && e.Message.Channel == "busy" })
	if lost < 0 || lost > first {
		t.Errorf("the loss is told at %d, the first message behind it comes at %d", lost, first)
	}
	if slices.ContainsFunc(events, func(e brokertest.Event) bool { return e.Missing == "quiet" }) {
		t.Error("nothing of quiet was lost")
	}
	if got := brokertest.MessagesOf(events); len(got) != 101+1 {
		t.Errorf("%d messages came", len(got))
	}
}

// TestUnkeptWhileCut: what no stream keeps is lost for a node that is cut off, and it says so.
func TestUnkeptWhileCut(t *testing.T) {
	s := natstest.Listening(t)
	a := join(t, s, Options{}, keeping(0))
	p := line(t, s)
	b := open(t, Options{URL: "nats://" + p.Listen}, keeping(0))
	a.Publish("c", "1")
	b.Messages(1)
	p.Stop()
	wait.Until(t, "the node to notice", func() bool { return !b.broker.conn.IsConnected() })
	a.Publish("c", "2")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	events := b.Until("the loss", func(events []brokertest.Event) bool {
		return slices.ContainsFunc(events, func(e brokertest.Event) bool { return e.Unkept })
	})
	if n := len(brokertest.MessagesOf(events)); n != 1 {
		t.Errorf("%d messages came", n)
	}
	a.Publish("c", "3")
	b.Messages(2)
}

// TestHoleIsFilled: messages that did not come are fetched before those behind them, also where they are the last.
func TestHoleIsFilled(t *testing.T) {
	s := natstest.Server(t)
	a, b := join(t, s, Options{}, keeping(100)), join(t, s, Options{}, keeping(100))
	a.Publish("c", "0")
	b.Messages(1)
	deaf(t, b)
	for i := 1; i < 5; i++ {
		a.Publish("c", strconv.Itoa(i))
	}
	b.broker.look()
	if got := brokertest.Data(b.Messages(5)); !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
		t.Errorf("got %v", got)
	}
}

// deaf has the node's server no longer send it what the stream republishes, though the node believes that it does.
func deaf(t *testing.T, n *node) {
	t.Helper()
	n.broker.mu.Lock()
	sub := n.broker.sub
	n.broker.mu.Unlock()
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if err := n.broker.flush(); err != nil {
		t.Fatal(err)
	}
}
