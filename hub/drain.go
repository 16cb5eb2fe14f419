package hub

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

const (
	// reconnectAfter is how long a client is asked to wait that is sent away by itself.
	reconnectAfter = time.Second
	// leastAway is how soon the first clients may come back: by then a server that starts again should be there.
	leastAway = 500 * time.Millisecond
	// awayStep is between two clients that come back, as long as the drain window holds all.
	awayStep = 20 * time.Millisecond
	// closeStep is between the closing of two connections, and closeSpread the longest that closing all of them is spread over.
	closeStep   = time.Millisecond
	closeSpread = time.Second
	// leaveTime is how long clients with something under way may take to be told that it ends.
	leaveTime = 500 * time.Millisecond
	// answerTime is how long clients may take to answer the closing of their connections.
	answerTime = 2 * time.Second
)

const goingAway = "the server is going away"

// Draining tells whether the hub sends its clients away and takes no new ones.
func (h *Hub) Draining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// Drain sends all clients away: each is told to come back after a time of its own, spread over the settings' Drain window; what it has
// under way ends; then its connection is closed with 1001. New clients are refused from the beginning. It returns when all connections
// have ended; what has not ended when ctx does is cut. A second call waits for the first.
func (h *Hub) Drain(ctx context.Context) {
	h.mu.Lock()
	if h.draining {
		h.mu.Unlock()
		<-h.drained
		return
	}
	h.draining = true
	h.mu.Unlock()
	defer close(h.drained)
	h.presence.close()
	// A connection that was being made when the hub began to drain is found by a later round.
	for conns := h.Connections(); len(conns) > 0; conns = h.Connections() {
		h.sendAway(ctx, conns, goingAway)
	}
}

// sendAway ends these connections.
func (h *Hub) sendAway(ctx context.Context, conns []*Conn, reason string) {
	rand.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	window := min(h.Settings().Drain, time.Duration(len(conns))*awayStep)
	leaving, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	var busy sync.WaitGroup
	for i, c := range conns {
		if c.subprotocol != "" {
			after := leastAway + window*time.Duration(i)/time.Duration(len(conns)) + rand.N(awayStep)
			c.Reply(protocol.AppendReconnect(nil, after, reason))
		}
		if c.receiver.Busy() {
			busy.Go(func() { c.receiver.Leave(leaving) })
		}
	}
	busy.Wait()
	h.closeSpread(ctx, conns, reason)
	answered, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for _, c := range conns {
		select {
		case <-c.ended:
		case <-answered.Done():
			c.cutSocket()
			<-c.ended
		}
	}
}

// closeSpread closes the connections, some at a time, so that not all come back at once who do so on the closing. It begins with those
// that are to come back first.
func (h *Hub) closeSpread(ctx context.Context, conns []*Conn, reason string) {
	const steps = 100
	step := min(closeSpread, time.Duration(len(conns))*closeStep) / steps
	tick := time.NewTimer(step)
	defer tick.Stop()
	part := (len(conns) + steps - 1) / steps
	for len(conns) > 0 {
		n := min(part, len(conns))
		for _, c := range conns[:n] {
			c.Close(protocol.CloseGoingAway, reason)
		}
		if conns = conns[n:]; len(conns) == 0 {
			return
		}
		select {
		case <-tick.C:
			tick.Reset(step)
		case <-ctx.Done():
			part = len(conns)
		}
	}
}

// Close drains the hub if that was not done, and ends it. ctx bounds how long clients are waited for.
func (h *Hub) Close(ctx context.Context) error {
	h.mu.Lock()
	closed := h.closed
	h.closed = true
	h.mu.Unlock()
	if closed {
		return nil
	}
	h.Drain(ctx)
	h.end()
	h.work.Wait()
	if h.poller != nil { // as the hub drains, it is not made any more
		h.poller.close()
	}
	h.presence.partPeers()
	err := h.broker.Close()
	for _, s := range h.shards {
		s.stop()
	}
	return err
}
