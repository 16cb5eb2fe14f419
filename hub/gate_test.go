package hub

import (
	"context"
	"testing"
	"testing/synctest"
)

// TestGate: publishers wait while too much is on its way, until every shard has taken enough of it.
func TestGate(t *testing.T) {
	const shards = 2
	tests := []struct {
		name     string
		messages int // put until the gate is just not full
		bytes    int // of each
	}{
		{"messages", maxInFlight, 1},
		{"bytes", 64, maxInFlightBytes / 64},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g gate
				g.init(shards)
				for range test.messages {
					g.enter()
					g.put(test.bytes)
				}
				g.enter() // what is allowed does not wait
				g.put(test.bytes)
				var entered [3]bool
				for i := range entered {
					go func() {
						g.enter()
						entered[i] = true
					}()
				}
				want := func(when string, want bool) {
					t.Helper()
					synctest.Wait()
					for i, got := range entered {
						if got != want {
							t.Errorf("%s: publisher %d has entered: %v", when, i, got)
						}
					}
				}
				want("full", false)
				g.leave(1, test.bytes)
				want("taken by one shard", false)
				g.leave(0, 0)
				want("nothing taken by the other", false)
				g.leave(1, test.bytes)
				want("taken by both", true)
				g.leave(test.messages*shards, test.messages*test.bytes*shards)
				if g.messages.Load() != 0 || g.bytes.Load() != 0 || g.waiting.Load() != 0 {
					t.Errorf("%d messages, %d bytes and %d publishers are left", g.messages.Load(), g.bytes.Load(), g.waiting.Load())
				}
			})
		})
	}
}

// counting is a broker that counts what is published.
type counting struct {
	Broker
	published int
}

func (b *counting) Publish(context.Context, Publication) (Receipt, error) {
	b.published++
	return Receipt{}, nil
}

// TestPublishWaitsAtTheGate: a publisher does not get to the broker while the hub is behind.
func TestPublishWaitsAtTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := new(counting)
		h := &Hub{broker: broker}
		h.gate.init(1)
		for range maxInFlight + 1 {
			h.gate.put(1)
		}
		go h.Publish(t.Context(), Publication{})
		synctest.Wait()
		if broker.published != 0 {
			t.Error("published while the hub is behind")
		}
		h.gate.leave(1, 1)
		synctest.Wait()
		if broker.published != 1 {
			t.Errorf("%d messages were published", broker.published)
		}
	})
}
