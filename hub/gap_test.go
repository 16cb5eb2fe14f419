package hub_test

import (
	"testing"
	"testing/synctest"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// TestGapNamesWhatWasDelivered: a gap's `after` is a message that this client got, and none from before its subscription.
func TestGapNamesWhatWasDelivered(t *testing.T) {
	tests := []struct {
		name          string
		before        int // published before the subscribe
		since         int // 0 none
		last          int
		live          int // published behind it, none of which is read
		after, first  any // what the gap says
		dropped, left int
	}{
		{"live", 3, 0, 0, 4, nil, 6.0, 2, 2},
		{"since", 3, 1, 0, 2, nil, 4.0, 2, 2},
		{"history", 5, 0, 2, 1, nil, 5.0, 1, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, patient(settings(rule(t, "c", 100, flow.Class{MaxMessages: 2, MaxBytes: 1 << 20}))))
				for range test.before {
					publish(t, h, "c", `0`)
				}
				p, c := pipe(t, h, &receiver{})
				c.Reply([]byte(`{"type":"pong"}`))
				synctest.Wait() // now the writer has it, and takes nothing else
				var since *protocol.Position
				if test.since > 0 {
					since = &protocol.Position{Epoch: h.Position().Epoch, Offset: uint64(test.since)}
				}
				subscribe(t, h, c, since, test.last, "c")
				for range test.live {
					publish(t, h, "c", `0`)
				}
				synctest.Wait()
				p.expect("pong")
				p.expect("subscription_confirmed")
				gap := p.expect("gap")
				if gap["after"] != test.after || gap["before"] != test.first || gap["dropped"] != float64(test.dropped) {
					t.Errorf("got %v", gap)
				}
				for i := range test.left {
					if m := p.expect("channel_message"); i == 0 && m["offset"] != test.first {
						t.Errorf("got %v", m)
					}
				}
				publish(t, h, "c", `0`)
				p.expect("channel_message")
				// The next loss lies behind what was delivered.
				c.Reply([]byte(`{"type":"pong"}`))
				synctest.Wait()
				for range 3 {
					publish(t, h, "c", `0`)
				}
				synctest.Wait()
				p.expect("pong")
				if gap := p.expect("gap"); gap["after"] != float64(test.before+test.live+1) {
					t.Errorf("got %v", gap)
				}
				p.messages(2)
				p.leave(c)
				ended(t, h)
			})
		})
	}
}
