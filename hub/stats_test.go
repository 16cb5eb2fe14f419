package hub_test

import (
	"sync"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// TestTotalsNeverFall: a connection that ends is counted with the open ones or with those that have ended, never with both.
func TestTotalsNeverFall(t *testing.T) {
	h := newHub(t, unhurried(settings()))
	var connecting sync.WaitGroup
	connecting.Go(func() {
		for range 300 {
			p, c := tcp(t, h, &receiver{})
			c.Reply([]byte(`{"type":"pong"}`))
			p.next()
			p.leave(c)
		}
	})
	done := make(chan struct{})
	go func() { connecting.Wait(); close(done) }()
	var last hub.Stats
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		now := h.Stats()
		if now.Sent < last.Sent || now.SentBytes < last.SentBytes {
			t.Fatalf("%d messages of %d bytes were sent, and %d of %d before", now.Sent, now.SentBytes, last.Sent, last.SentBytes)
		}
		last = now
	}
	if last.Sent != 300 || last.SentBytes != 300*17 || last.Connections != 0 { // a frame's header and the pong
		t.Errorf("%d messages of %d bytes were sent, %d connections are left", last.Sent, last.SentBytes, last.Connections)
	}
	ended(t, h)
}
