package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Maker makes a broker that nothing was published to.
type Maker func() hub.Broker

// Run holds a broker to the contract. exact says that it always knows whether something is gone; another may say that it does not know,
// which clients are told as if something were.
func Run(t *testing.T, make Maker, exact bool) {
	t.Run("model", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { runModel(t, make(), exact) })
	})
	t.Run("concurrent", func(t *testing.T) { runConcurrent(t, make()) })
	t.Run("without history", func(t *testing.T) { runWithoutHistory(t, make()) })
	t.Run("closed", func(t *testing.T) { runClosed(t, make()) })
	t.Run("forbidden", func(t *testing.T) { runForbidden(t, make()) })
}

// Keeping are rules that keep the same of every channel.
func Keeping(messages int) func(string) *hub.Rule {
	rule := &hub.Rule{History: hub.Retention{Messages: messages}}
	return func(string) *hub.Rule { return rule }
}

// runConcurrent has publishers and recoverers at once.
func runConcurrent(t *testing.T, b hub.Broker) {
	const publishers, each, recoverers = 4, 250, 3
	h := Open(t, b, hub.Keep{Messages: publishers * each}, Keeping(publishers*each), zap.NewNop())
	defer h.Close()
	epoch := b.Position().Epoch
	var group sync.WaitGroup
	for p := range publishers {
		group.Go(func() {
			last := uint64(0)
			for i := range each {
				receipt := h.Publish([]string{"shared", fmt.Sprint("own/", p)}[i%2], fmt.Sprintf("[%d,%d]", p, i))
				if receipt.Position.Offset <= last || receipt.Position.Epoch != epoch {
					t.Errorf("%+v came behind %d", receipt, last)
				}
				last = receipt.Position.Offset
			}
		})
	}
	for range recoverers {
		group.Go(func() {
			for n := 0; n < publishers*each && !t.Failed(); {
				since := protocol.Position{Epoch: epoch}
				got, delivered := h.Recover(hub.Recovery{Filters: Patterns(t, "**"), Since: &since})
				if !slices.Equal(Data(got.Messages), Data(delivered)) || !got.Complete[0] || got.Through != got.Position.Offset {
					t.Errorf("%d messages through %d of %v, complete %v, but %d were delivered", len(got.Messages), got.Through, got.Position,
						got.Complete, len(delivered))
				}
				n = len(delivered)
			}
		})
	}
	group.Wait()
	CheckOrder(t, h.Messages(publishers*each), publishers, each)
}

// CheckOrder looks for every message of every publisher, which are arrays of the publisher and a number, each in its order and once.
func CheckOrder(t T, delivered []*hub.Message, publishers, each int) {
	t.Helper()
	next := make([]int, publishers)
	last := uint64(0)
	for _, m := range delivered {
		var publisher, number int
		if _, err := fmt.Sscanf(string(m.Data()), "[%d,%d]", &publisher, &number); err != nil {
			t.Fatalf("%s: %v", m.Data(), err)
		}
		if number != next[publisher] {
			t.Fatalf("message %d of publisher %d came when %d was next", number, publisher, next[publisher])
		}
		next[publisher]++
		if m.Offset <= last || m.Sequence != m.Offset {
			t.Fatalf("offset %d, sequence %d behind %d", m.Offset, m.Sequence, last)
		}
		last = m.Offset
	}
	for publisher, n := range next {
		if n != each {
			t.Errorf("%d messages of publisher %d, want %d", n, publisher, each)
		}
	}
}

func runWithoutHistory(t *testing.T, b hub.Broker) {
	kept, unkept := &hub.Rule{History: hub.Retention{Messages: 10}}, &hub.Rule{}
	h := Open(t, b, hub.Keep{Messages: 10}, func(channel string) *hub.Rule {
		if channel == "kept" {
			return kept
		}
		return unkept
	}, zap.NewNop())
	defer h.Close()
	first := h.Publish("kept", "0")
	if r := h.Publish("loose", "1"); r.Position.Offset != 0 || r.Duplicate {
		t.Errorf("a receipt of what is not kept: %+v", r)
	}
	if r := h.PublishKey("loose", "2", "", "k"); r.Position.Offset != 0 || r.Duplicate {
		t.Errorf("a receipt of what is not kept, with a key: %+v", r)
	}
	if r := h.PublishKey("loose", "3", "", "k"); !r.Duplicate {
		t.Errorf("the key is not known again: %+v", r)
	}
	if r := h.PublishKey("kept", "4", "", "k"); r.Duplicate {
		t.Errorf("a key counts in another channel: %+v", r)
	}
	if r := h.PublishKey("kept", "5", "user a", "k"); r.Duplicate {
		t.Errorf("a key counts for another sender: %+v", r)
	}
	if r := h.PublishKey("kept", "6", "user a", "k"); !r.Duplicate {
		t.Errorf("the sender's key is not known again: %+v", r)
	}
	got := h.Messages(5)
	for _, m := range got {
		if (m.Offset > 0) != (m.Channel == "kept") || m.Rule != kept && m.Rule != unkept {
			t.Errorf("%s: offset %d", m.Channel, m.Offset)
		}
	}
	if data := Data(got); len(data) != 5 || slices.Contains(data, "3") {
		t.Errorf("delivered were %v", data)
	}
	if _, err := b.History(context.Background(), "loose", nil, 10); !errors.Is(err, hub.ErrNoHistory) {
		t.Errorf("the history of a channel without: %v", err)
	}
	r := h.Since(protocol.Position{Epoch: first.Position.Epoch}, "**")
	if data := Data(r.Messages); !slices.Equal(data, []string{"0", "4", "5"}) {
		t.Errorf("recovered were %v", data)
	}
}

func runClosed(t *testing.T, b hub.Broker) {
	h := Open(t, b, hub.Keep{Messages: 1}, Keeping(1), zap.NewNop())
	h.Close()
	h.Close()
	if _, err := b.Publish(context.Background(), hub.Publication{Channel: "a", Data: []byte("1")}); !errors.Is(err, hub.ErrClosed) {
		t.Errorf("publishing: %v", err)
	}
	err := b.Recover(context.Background(), hub.Recovery{}, func(hub.Recovered) { t.Error("recovered") })
	if !errors.Is(err, hub.ErrClosed) {
		t.Errorf("recovering: %v", err)
	}
}

func runForbidden(t *testing.T, b hub.Broker) {
	h := Open(t, b, hub.Keep{}, func(string) *hub.Rule { return nil }, zap.NewNop())
	defer h.Close()
	_, err := b.Publish(context.Background(), hub.Publication{Channel: "a", Data: []byte("1")})
	if e, ok := protocol.AsError(err); !ok || e.Code != protocol.Forbidden {
		t.Errorf("publishing where no rule holds: %v", err)
	}
}
