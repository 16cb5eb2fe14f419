package hub_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// TestQueuedBytes: what the hub counts as waiting is at every moment what waits for its connections, and is nothing once that has
// been read or the connection has ended.
func TestQueuedBytes(t *testing.T) {
	text := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	fill := []struct {
		name string
		do   func(t *testing.T, h *hub.Hub, c *hub.Conn)
	}{
		{"messages", func(t *testing.T, h *hub.Hub, _ *hub.Conn) {
			for range 30 { // more than the queue holds
				publish(t, h, "c", text(1000))
			}
		}},
		{"large messages", func(t *testing.T, h *hub.Hub, _ *hub.Conn) {
			for range 5 {
				publish(t, h, "c", text(100_000))
			}
		}},
		{"replies", func(_ *testing.T, _ *hub.Hub, c *hub.Conn) {
			for range 30 {
				c.Reply([]byte(text(1000)))
			}
		}},
		{"streams", func(t *testing.T, _ *hub.Hub, c *hub.Conn) {
			ctx, cancel := context.WithCancel(t.Context())
			for _, n := range []int{100_000, 1000, 1000, 100_000} {
				if err := c.Send(ctx, new(flow.Share), []byte(text(n))); err != nil {
					t.Error(err)
				}
			}
			// One finds no room and gives up.
			cancel()
			if err := c.Send(ctx, new(flow.Share), []byte(text(200_000))); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}},
	}
	finish := []struct {
		name string
		do   func(p *peer, c *hub.Conn)
	}{
		{"read", func(p *peer, _ *hub.Conn) {
			for err := error(nil); err == nil; { // until nothing more comes
				_ = p.SetReadDeadline(time.Now().Add(time.Second))
				_, _, err = p.frame()
			}
		}},
		{"closed and read", func(p *peer, c *hub.Conn) {
			c.Close(protocol.CloseByOperator, "")
			p.closedWith()
		}},
		{"closed and cut", func(_ *peer, c *hub.Conn) {
			c.Close(protocol.CloseByOperator, "")
			time.Sleep(time.Minute)
		}},
		{"too slow", func(_ *peer, c *hub.Conn) { c.Close(protocol.CloseTooSlow, "") }},
		{"no heartbeat", func(_ *peer, c *hub.Conn) { c.Close(protocol.CloseHeartbeat, "") }},
		{"gone", func(p *peer, _ *hub.Conn) { p.Close() }},
	}
	class := flow.Class{MaxMessages: 10, MaxBytes: 1 << 20}
	for _, full := range fill {
		for _, over := range finish {
			t.Run(full.name+"/"+over.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHub(t, patient(settings(rule(t, "c", 0, class))))
					check := func(when string) int64 {
						t.Helper()
						synctest.Wait()
						var sum int64
						for _, c := range h.Connections() {
							sum += int64(c.Stats().QueuedBytes)
						}
						got := h.Stats().QueuedBytes
						if got != sum {
							t.Errorf("%s: the hub counts %d bytes, its connections %d", when, got, sum)
						}
						return got
					}
					p, c := pipe(t, h, &receiver{})
					subscribe(t, h, c, nil, 0, "c")
					p.expect("subscription_confirmed")
					c.Reply([]byte(`"in the hands of the writer, which would take as much as comes at once"`))
					synctest.Wait()
					full.do(t, h, c)
					if check("filled") == 0 {
						t.Error("nothing waits")
					}
					over.do(p, c)
					if got := check(over.name); over.name == "read" && got != 0 {
						t.Errorf("%d bytes wait after all has been read", got)
					}
					p.leave(c)
					if got := check("ended"); got != 0 {
						t.Errorf("%d bytes wait for nobody", got)
					}
					ended(t, h)
				})
			})
		}
	}
}
