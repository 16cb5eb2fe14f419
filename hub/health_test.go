package hub_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/memory"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
)

// patient are settings under which nothing but its health closes a client that does not read.
func patient(s *hub.Settings) *hub.Settings {
	s.HeartbeatInterval, s.HeartbeatTimeout, s.WriteTimeout = 30*time.Second, 2*time.Hour, time.Hour
	return s
}

// unhurried gives a client on a real socket all the time that a slow machine needs.
func unhurried(s *hub.Settings) *hub.Settings {
	s.HeartbeatTimeout, s.WriteTimeout = wait.Limit, wait.Limit
	return s
}

// TestHealth: a client is judged by what of its messages had to be dropped, once it was offered enough of them. It reads some, one
// by one, and then stops: one message is in the writer's hands, ten wait, and the others are dropped.
func TestHealth(t *testing.T) {
	tests := []struct {
		name          string
		read, stopped int
		closed        bool
		warnings      int
	}{
		{"too few to judge", 0, 999, false, 0},
		{"first judged", 0, 1000, true, 0},
		{"a twentieth", 950, 61, false, 0},
		{"a sixth", 840, 170, false, 1},
		{"just under the limit", 700, 310, false, 1},
		{"just over the limit", 700, 316, true, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zapcore.WarnLevel)
				s := patient(settings(rule(t, "c", 0, flow.Class{MaxMessages: 10, MaxBytes: 1 << 20})))
				h := newHubOver(t, memory.New(0), s, zap.New(core))
				p, c := pipe(t, h, &receiver{})
				subscribe(t, h, c, nil, 0, "c")
				p.expect("subscription_confirmed")
				for n := range test.read {
					publish(t, h, "c", fmt.Sprint(n))
					p.expect("channel_message")
				}
				for range test.stopped {
					publish(t, h, "c", `0`)
					synctest.Wait() // for the first to be taken by the writer, and not to be dropped
				}
				if got, want := c.Stats().Dropped, uint64(test.stopped-11); got != want {
					t.Fatalf("%d messages were dropped, want %d", got, want)
				}
				time.Sleep(5 * time.Second) // several looks at the connection
				want := uint64(0)
				if test.closed {
					want = 1
				}
				if got := h.Stats().Unhealthy; got != want {
					t.Errorf("%d clients were closed as unhealthy, want %d", got, want)
				}
				warnings := logs.FilterMessage("client is slow: messages are dropped").All()
				if len(warnings) != test.warnings {
					t.Errorf("%d warnings", len(warnings))
				}
				for _, entry := range warnings {
					if fields := entry.ContextMap(); fields["connection_id"] != c.ID() || fields["dropped"] != uint64(test.stopped-11) ||
						fields["queued"] != int64(11) || fields["queued_bytes"] == int64(0) {
						t.Errorf("warning with %v", fields)
					}
				}
				if !test.closed {
					c.Close(1000, "the test is over")
					if code := p.closedWith(); code != 1000 {
						t.Errorf("closed with %d", code)
					}
				} else if code := p.closedWith(); code != 4008 {
					t.Errorf("closed with %d", code)
				}
				p.leave(c)
				ended(t, h)
			})
		})
	}
}
