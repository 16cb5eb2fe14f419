package hub

import (
	"sync"
	"sync/atomic"
)

// Bounds of what may be on its way from the broker through the shards' mailboxes. A publisher that finds more waits until the
// shards have caught up, which they do as fast as the machine can: no client can hold them up.
const (
	maxInFlight      = 1 << 14
	maxInFlightBytes = 64 << 20
)

// gate bounds the messages in the shards' mailboxes.
type gate struct {
	messages atomic.Int64 // counted once a shard
	bytes    atomic.Int64
	shards   int64
	waiting  atomic.Int64

	mu     sync.Mutex
	opened sync.Cond
}

func (g *gate) init(shards int) {
	g.shards = int64(shards)
	g.opened.L = &g.mu
}

func (g *gate) full() bool {
	return g.messages.Load() > maxInFlight*g.shards || g.bytes.Load() > maxInFlightBytes*g.shards
}

// enter waits until there is room.
func (g *gate) enter() {
	if !g.full() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	for g.full() {
		g.opened.Wait()
	}
}

// put counts a message that goes to all shards.
func (g *gate) put(bytes int) {
	g.messages.Add(g.shards)
	g.bytes.Add(int64(bytes) * g.shards)
}

// leave counts off what one shard has taken.
func (g *gate) leave(messages, bytes int) {
	if messages == 0 {
		return
	}
	g.messages.Add(-int64(messages))
	g.bytes.Add(-int64(bytes))
	if g.waiting.Load() > 0 && !g.full() {
		g.mu.Lock()
		g.opened.Broadcast()
		g.mu.Unlock()
	}
}
