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

// AbuseRate is how many bytes a second are read from a client that is closed for abuse.
const AbuseRate = abuseRate

// WaitAfterClose returns how long after a close frame of this code the connection is cut.
func WaitAfterClose(code protocol.CloseCode) time.Duration { return waitAfterClose(code) }
