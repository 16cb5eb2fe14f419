package client

import (
	"context"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Bounds of what waits to be sent.
const (
	maxWaiting   = 256 << 10        // bytes, beyond which requests wait; what the client needs itself goes past it
	frameTarget  = 32 << 10         // bytes of messages that are put into one frame, where the server takes that
	writeTimeout = 30 * time.Second // within which the network must take a frame
)

// outbox are messages that wait for the connection.
type outbox struct {
	ready chan struct{} // something waits

	mu      sync.Mutex
	waiting [][]byte
	bytes   int
	room    chan struct{} // is closed, and another made, when there is room again
}

func newOutbox() outbox { return outbox{ready: make(chan struct{}, 1), room: make(chan struct{})} }

// put appends a message. It does not wait.
func (o *outbox) put(msg []byte) {
	o.mu.Lock()
	o.waiting = append(o.waiting, msg)
	o.bytes += len(msg)
	o.mu.Unlock()
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// wait waits for room.
func (o *outbox) wait(ctx context.Context, ended <-chan struct{}) error {
	for {
		o.mu.Lock()
		full, room := o.bytes > maxWaiting, o.room
		o.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-room:
		case <-ended:
			return errUnsent
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take removes what goes into one frame: the next message, or several with line breaks between, at most limit bytes of them. nil where
// nothing waits.
func (o *outbox) take(limit int) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		return nil
	}
	frame, n := o.waiting[0], 1
	for n < len(o.waiting) && len(frame)+1+len(o.waiting[n]) <= limit {
		frame = append(append(frame, '\n'), o.waiting[n]...)
		n++
	}
	for _, msg := range o.waiting[:n] {
		o.bytes -= len(msg)
	}
	clear(o.waiting[:n])
	if o.waiting = o.waiting[n:]; len(o.waiting) == 0 {
		o.waiting = nil
	}
	if o.bytes <= maxWaiting {
		close(o.room)
		o.room = make(chan struct{})
	}
	return frame
}

// write sends what waits, until the connection ends.
func (s *session) write() {
	limit := 0
	if s.ndjson {
		limit = min(frameTarget, s.welcome.MaxBytes)
	}
	for {
		select {
		case <-s.out.ready:
		case <-s.ctx.Done():
			return
		}
		for frame := s.out.take(limit); frame != nil; frame = s.out.take(limit) {
			ctx, cancel := context.WithTimeout(s.ctx, writeTimeout)
			err := s.ws.Write(ctx, websocket.MessageText, frame)
			cancel()
			if err != nil {
				s.cancel()
				return
			}
		}
	}
}
