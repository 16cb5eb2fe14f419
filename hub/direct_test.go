package hub_test

import (
	"testing"
	"testing/synctest"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// TestDirectMessagesAreBounded: messages to connections themselves come under the fallback's queue. There is no history from which
// the policy block could catch up: it drops the oldest.
func TestDirectMessagesAreBounded(t *testing.T) {
	const sent, room = 100, 10
	msg := []byte(`{"type":"message"}`)
	send := map[string]func(h *hub.Hub, c *hub.Conn) error{
		"$broadcast": func(h *hub.Hub, _ *hub.Conn) error { return h.Broadcast(msg) },
		"$unicast":   func(h *hub.Hub, c *hub.Conn) error { return h.Send(c.ID(), msg) },
	}
	for _, policy := range []flow.Policy{flow.DropOldest, flow.DropNewest, flow.DropAll, flow.Block, flow.Disconnect} {
		for channel, send := range send {
			t.Run(policy.String()+"/"+channel, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := patient(settings())
					s.Fallback = rule(t, "**", 0, flow.Class{MaxMessages: room, MaxBytes: 1 << 20, Policy: policy})
					s.Health.Close = 0
					h := newHub(t, s)
					p, c := pipe(t, h, &receiver{})
					for range sent {
						if err := send(h, c); err != nil {
							t.Fatal(err)
						}
						synctest.Wait() // the first is in the writer's hands
					}
					if policy == flow.Disconnect {
						if code := p.closedWith(); code != 4008 {
							t.Errorf("closed with %d", code)
						}
						p.leave(c)
						ended(t, h)
						return
					}
					if got := c.Stats().Queued; got > room+1 {
						t.Errorf("%d messages wait", got)
					}
					reason := policy
					if policy == flow.Block {
						reason = flow.DropOldest
					}
					received, lost := 0, 0
					for received+lost < sent {
						switch m := p.next(); m["type"] {
						case "message":
							received++
						case "gap":
							lost += int(m["dropped"].(float64))
							if m["channel"] != channel || m["reason"] != reason.String() || m["recoverable"] != false {
								t.Error(m)
							}
						}
					}
					if lost == 0 || received+lost != sent {
						t.Errorf("%d received, %d lost", received, lost)
					}
					p.leave(c)
					ended(t, h)
				})
			})
		}
	}
}
