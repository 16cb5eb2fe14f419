package hub

import (
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// ParkAtOnce has connections park whenever nothing is there to be read.
func (h *Hub) ParkAtOnce() { h.parkAtOnce = true }

// ParkWhenSilent is what hubs do unless told otherwise.
func (h *Hub) ParkWhenSilent() { h.parkAtOnce = false }

// Parked tells whether no goroutine reads from the connection.
func (c *Conn) Parked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parked
}

// Cut closes the connection's socket.
func (c *Conn) Cut() { c.cutSocket() }

// OnDecide has f called wherever rights are decided again. It must be called before anything is.
func (h *Hub) OnDecide(f func()) { h.onDecide = f }

// SameShard reports whether one shard owns both connections.
func (c *Conn) SameShard(other *Conn) bool { return c.shard == other.shard }

// Rules are those of the connection's subscriptions.
func (c *Conn) Rules() map[string]*Rule {
	rules := make(map[string]*Rule)
	for _, at := range c.held() {
		rules[at.sub.pattern.String()] = at.rule
	}
	return rules
}

// AbuseRate is how many bytes a second are read from a client that is closed for abuse.
const AbuseRate = abuseRate

// WaitAfterClose returns how long after a close frame of this code the connection is cut.
func WaitAfterClose(code protocol.CloseCode) time.Duration { return waitAfterClose(code) }
