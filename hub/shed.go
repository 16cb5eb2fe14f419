package hub

import (
	"cmp"
	"slices"
	"time"
)

// shedInterval spaces the looks for the slowest connections, each of which goes over all of them, while less than twice as much waits as
// may.
const shedInterval = 50 * time.Millisecond

// shed closes the connections with the most bytes waiting, whatever their shard, while the hub holds more than it may. A shard that
// looked only at its own would close clients for whom next to nothing waits because of slow ones elsewhere.
func (h *Hub) shed() {
	limit := h.Settings().MaxQueued
	queued := h.queued.Load()
	if limit <= 0 || queued <= limit {
		return
	}
	now, last := time.Now().UnixNano(), h.lastShed.Load()
	if now-last < int64(shedInterval) && queued <= 2*limit || !h.lastShed.CompareAndSwap(last, now) {
		return
	}
	type waiting struct {
		conn  *Conn
		bytes int
	}
	var slow []waiting
	for _, c := range h.Connections() {
		if n := c.queuedBytes(); n > 0 {
			slow = append(slow, waiting{c, n})
		}
	}
	slices.SortFunc(slow, func(a, b waiting) int { return cmp.Compare(b.bytes, a.bytes) })
	for _, w := range slow {
		if h.queued.Load() <= limit {
			return
		}
		if w.conn.giveUp("too slow: the server's queues are full") {
			h.stats.shed.Add(1)
		}
	}
}
