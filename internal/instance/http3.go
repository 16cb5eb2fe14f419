package instance

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// HTTP3Conns are the connections of one configuration that its HTTP servers end when they end.
//
// At a reload Caddy shuts its old servers down. Hijacked connections do not notice. Over HTTP/2 the client is told to open new streams
// elsewhere (GOAWAY) and those that are open go on for as long as they like. Over HTTP/3 they do so too, but once grace_period is over
// the server closes all that is left, with whatever is on its way: those clients are sent away in time.
type HTTP3Conns struct {
	mu    sync.Mutex
	conns map[*hub.Conn]struct{}
	until time.Time // when the servers, which are being shut down, cut what is left; zero before
}

// Add notes a connection if its server will cut it. It is forgotten when it has ended.
func (t *HTTP3Conns) Add(r *http.Request, c *hub.Conn) {
	if r.ProtoMajor != 3 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.until.IsZero() {
		sendAway(c, t.until)
		return
	}
	if t.conns == nil {
		t.conns = make(map[*hub.Conn]struct{})
	}
	t.conns[c] = struct{}{}
}

// Remove forgets a connection that has ended.
func (t *HTTP3Conns) Remove(c *hub.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}

// Drain has the clients of all connections sent away before their server cuts them, in so much time.
func (t *HTTP3Conns) Drain(in time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = time.Now().Add(in)
	for c := range t.conns {
		sendAway(c, t.until)
	}
	t.conns = nil
}

// sendAway sends a client away in the first half of the time that is left, so that not all come back at once; the other half is for
// what waits for it and for its answer.
func sendAway(c *hub.Conn, until time.Time) {
	time.AfterFunc(rand.N(max(time.Until(until)/2, 1)), func() { c.SendAway("the server is reloaded") })
}
