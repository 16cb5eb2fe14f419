package neuroquantumws

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// allowConnect checks what is special to an extended CONNECT, by which WebSockets are opened over HTTP/2 and HTTP/3, and refuses what
// cannot be served.
func allowConnect(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case !strings.EqualFold(hub.ConnectProtocol(r), "websocket"):
		// What RFC 9220, section 3, asks for.
		refuse(w, http.StatusNotImplemented, "UNKNOWN_PROTOCOL", "this is a WebSocket endpoint", 0)
	case r.ContentLength >= 0:
		refuse(w, http.StatusBadRequest, "INVALID_REQUEST", "a WebSocket has no content of a known length", 0)
	case r.TLS != nil && !r.TLS.HandshakeComplete:
		// Early data can be replayed by anyone who has seen it; requests over a WebSocket are not safe to be done twice.
		refuse(w, http.StatusTooEarly, "TOO_EARLY", "not before the handshake is complete", 0)
	default:
		return true
	}
	return false
}

// withBareBody is the request with the body that the server read, without what Caddy's server and middleware have put around it:
// timeouts, limits and counters are for a request's content, and that of a WebSocket is as long as its life.
func withBareBody(r *http.Request) *http.Request {
	reader, _ := caddyhttp.IdleTimeoutsFromContext(r.Context())
	if reader == nil {
		return r
	}
	bare := r.WithContext(r.Context())
	bare.Body = reader.ReadCloser
	return bare
}

// tunnels are the connections of one configuration that its HTTP servers end when they end.
//
// At a reload Caddy shuts its old servers down. Hijacked connections do not notice. Over HTTP/2 the client is told to open new streams
// elsewhere (GOAWAY) and those that are open go on for as long as they like. Over HTTP/3 they do so too, but once grace_period is over
// the server closes all that is left, with whatever is on its way: those clients are sent away in time.
type tunnels struct {
	mu    sync.Mutex
	conns map[*hub.Conn]struct{}
	until time.Time // when the servers, which are being shut down, cut what is left; zero before
}

// enter notes a connection if its server will cut it. It is forgotten when it has ended.
func (t *tunnels) enter(r *http.Request, c *hub.Conn) {
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

// leave forgets a connection that has ended.
func (t *tunnels) leave(c *hub.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}

// cut has the clients of all connections sent away before their server cuts them, in so much time.
func (t *tunnels) cut(in time.Duration) {
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

// stopping is called when the configuration stops, because another has taken its place or because Caddy ends, which the hub sees to.
func (h *Handler) stopping(ctx caddy.Context) {
	if caddy.Exiting() {
		return
	}
	app, err := ctx.App("http")
	if err != nil {
		h.log.Error("connections over HTTP/3 are cut at the reload", zap.Error(err))
		return
	}
	if grace := app.(*caddyhttp.App).GracePeriod; grace > 0 {
		h.tunnels.cut(time.Duration(grace))
	}
}
