package hub_test

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// TestShedTakesTheSlowestOfAll: who has little waiting is not closed for what waits for others, whichever shard they belong to.
func TestShedTakesTheSlowestOfAll(t *testing.T) {
	big := `"` + strings.Repeat("x", 10_000) + `"`
	synctest.Test(t, func(t *testing.T) {
		s := patient(settings(rule(t, "**", 0, flow.Class{MaxMessages: 1 << 20, MaxBytes: 1 << 30})))
		s.MaxQueued = 1 << 20
		h := newHub(t, s)
		shards := runtime.GOMAXPROCS(0) // which take connections in turn
		peers := make([]*peer, 2*shards)
		conns := make([]*hub.Conn, len(peers))
		for i := range peers {
			peers[i], conns[i] = pipe(t, h, &receiver{})
			subscribe(t, h, conns[i], nil, 0, "all")
			peers[i].expect("subscription_confirmed")
		}
		// Two of one shard are to have much waiting, one after the other.
		greedy := []int{0, shards}
		for _, i := range greedy {
			subscribe(t, h, conns[i], nil, 0, "much/"+conns[i].ID())
			peers[i].expect("subscription_confirmed")
		}
		for range 5 { // the first is in a writer's hands, the others wait
			publish(t, h, "all", `1`)
			synctest.Wait()
		}
		for n, i := range greedy {
			for h.Stats().QueuedBytes <= s.MaxQueued && h.Stats().Shed == uint64(n) {
				publish(t, h, "much/"+conns[i].ID(), big)
				synctest.Wait()
			}
			publish(t, h, "all", `1`)
			synctest.Wait()
		}
		time.Sleep(2 * time.Second) // until another look for the slowest is due
		if got := h.Stats(); got.Shed != 2 || got.QueuedBytes > s.MaxQueued {
			t.Errorf("%d connections were shed, %d bytes wait", got.Shed, got.QueuedBytes)
		}
		for i, p := range peers {
			if i == greedy[0] || i == greedy[1] {
				if code := p.closedWith(); code != 4008 {
					t.Errorf("closed with %d", code)
				}
			} else {
				for range 6 {
					p.expect("channel_message")
				}
			}
			p.leave(conns[i])
		}
		ended(t, h)
	})
}
