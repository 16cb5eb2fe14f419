// Package brokertest holds brokers to the contract of hub.Broker, whatever they are made of.
package brokertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// T is what a Host needs of a test.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

var _ T = testing.TB(nil)

// Host stands in for the hub: it notes what a broker gives it, in order. It implements hub.Host.
type Host struct {
	Broker hub.Broker

	t     T
	log   *zap.Logger
	rules func(channel string) *hub.Rule

	mu      sync.Mutex
	changed chan struct{} // closed at the next event
	events  []Event
	busy    bool
}

// Event is what a broker told: a message, or one of the others.
type Event struct {
	Message *hub.Message
	Missing string             // a channel of which messages are lost
	Unkept  bool               // messages without history may be lost
	Renewed *protocol.Position // the order begins anew
}

// Open starts a broker with rules for its channels and connects it, where it is one that can be. keep is the most that they keep. It has
// all messages come.
func Open(t T, b hub.Broker, keep hub.Keep, rules func(channel string) *hub.Rule, log *zap.Logger) *Host {
	t.Helper()
	h := OpenIdle(t, b, keep, rules, log)
	if interested, ok := b.(hub.Interested); ok {
		ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
		defer cancel()
		if err := interested.Want(ctx, Patterns(t, "**")); err != nil {
			t.Fatalf("wanting everything: %v", err)
		}
	}
	return h
}

// OpenIdle is Open without wanting anything, of a broker that can be asked for something.
func OpenIdle(t T, b hub.Broker, keep hub.Keep, rules func(channel string) *hub.Rule, log *zap.Logger) *Host {
	t.Helper()
	h := &Host{Broker: b, t: t, log: log, rules: rules, changed: make(chan struct{})}
	remote, far := b.(hub.Remote)
	if far {
		remote.Attach(h)
		remote.Retain(keep)
	}
	if err := b.Start(h.deliver, rules); err != nil {
		t.Fatalf("starting the broker: %v", err)
	}
	if !far {
		return h
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
	defer cancel()
	if err := remote.Open(ctx); err != nil {
		t.Fatalf("opening the broker: %v", err)
	}
	if !remote.Ready() {
		t.Fatalf("the broker does not come up")
	}
	return h
}

// Close closes the broker.
func (h *Host) Close() {
	h.t.Helper()
	if err := h.Broker.Close(); err != nil {
		h.t.Errorf("closing the broker: %v", err)
	}
}

func (h *Host) note(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *Host) deliver(m *hub.Message) {
	h.enter()
	h.note(Event{Message: m})
	h.leave()
}

// enter and leave see to it that what has a place in the order is told one at a time.
func (h *Host) enter() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy {
		h.t.Errorf("the broker tells of two things at once")
	}
	h.busy = true
}

func (h *Host) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy = false
}

// Room implements hub.Host.
func (h *Host) Room() {}

// Log implements hub.Host.
func (h *Host) Log() *zap.Logger { return h.log }

// Missing implements hub.Host.
func (h *Host) Missing(channel string) { h.note(Event{Missing: channel}) }

// MissingUnkept implements hub.Host.
func (h *Host) MissingUnkept() { h.note(Event{Unkept: true}) }

// Renewed implements hub.Host.
func (h *Host) Renewed(position protocol.Position) { h.note(Event{Renewed: &position}) }

// Until waits until what the broker has told fulfils a condition, and gives it.
func (h *Host) Until(what string, done func([]Event) bool) []Event {
	h.t.Helper()
	deadline := time.NewTimer(wait.Limit)
	defer deadline.Stop()
	for {
		h.mu.Lock()
		events, changed := h.events, h.changed
		h.mu.Unlock()
		if done(events) {
			return events
		}
		select {
		case <-changed:
		case <-deadline.C:
			h.t.Fatalf("waiting for %s: %d events so far\n%s", what, len(events), wait.State())
		}
	}
}

// Messages waits for n messages, and gives all that were delivered.
func (h *Host) Messages(n int) []*hub.Message {
	h.t.Helper()
	return MessagesOf(h.Until("messages", func(events []Event) bool { return len(events) >= n && len(MessagesOf(events)) >= n }))
}

// MessagesOf are the messages among events.
func MessagesOf(events []Event) (out []*hub.Message) {
	for _, e := range events {
		if e.Message != nil {
			out = append(out, e.Message)
		}
	}
	return out
}

// Publish publishes a message, which must succeed.
func (h *Host) Publish(channel, data string) hub.Receipt {
	h.t.Helper()
	return h.PublishKey(channel, data, "", "")
}

// PublishKey is Publish with an idempotency key of a sender.
func (h *Host) PublishKey(channel, data, sender, key string) hub.Receipt {
	h.t.Helper()
	receipt, err := h.Broker.Publish(context.Background(), hub.Publication{
		Channel: channel, Data: []byte(data), Key: key, Sender: sender,
	})
	if err != nil {
		h.t.Fatalf("publishing: %v", err)
	}
	return receipt
}

// Recover asks for history, which must be there. How much was delivered when the answer had its place is given with it.
func (h *Host) Recover(q hub.Recovery) (out hub.Recovered, delivered []*hub.Message) {
	h.t.Helper()
	calls := 0
	err := h.Broker.Recover(context.Background(), q, func(r hub.Recovered) {
		h.enter()
		defer h.leave()
		calls++
		h.mu.Lock()
		defer h.mu.Unlock()
		out, delivered = r, MessagesOf(h.events)
	})
	if err != nil || calls != 1 {
		h.t.Fatalf("recovering: %d calls, %v", calls, err)
	}
	return out, delivered
}

// Since recovers all that the patterns hold behind a position.
func (h *Host) Since(position protocol.Position, patterns ...string) hub.Recovered {
	h.t.Helper()
	out, _ := h.Recover(hub.Recovery{Since: &position, Filters: Patterns(h.t, patterns...)})
	return out
}

// Patterns parses patterns.
func Patterns(t T, texts ...string) (out []protocol.Pattern) {
	t.Helper()
	for _, text := range texts {
		p, err := protocol.ParsePattern(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out = append(out, p)
	}
	return out
}

// Data is what was published with messages, in order.
func Data(messages []*hub.Message) (out []string) {
	for _, m := range messages {
		out = append(out, string(m.Data()))
	}
	return out
}
