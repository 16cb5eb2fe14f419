package handshake

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// AllowConnect checks what is special to an extended CONNECT, by which WebSockets are opened over HTTP/2 and HTTP/3, and refuses what
// cannot be served.
func AllowConnect(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case !strings.EqualFold(hub.ConnectProtocol(r), "websocket"):
		// What RFC 9220, section 3, asks for.
		Refuse(w, http.StatusNotImplemented, "UNKNOWN_PROTOCOL", "this is a WebSocket endpoint", 0)
	case r.ContentLength >= 0:
		Refuse(w, http.StatusBadRequest, "INVALID_REQUEST", "a WebSocket has no content of a known length", 0)
	case r.TLS != nil && !r.TLS.HandshakeComplete:
		// Early data can be replayed by anyone who has seen it; requests over a WebSocket are not safe to be done twice.
		Refuse(w, http.StatusTooEarly, "TOO_EARLY", "not before the handshake is complete", 0)
	default:
		return true
	}
	return false
}

// WithBareBody is the request with the body that the server read, without what Caddy's server and middleware have put around it:
// timeouts, limits and counters are for a request's content, and that of a WebSocket is as long as its life.
func WithBareBody(r *http.Request) *http.Request {
	reader, _ := caddyhttp.IdleTimeoutsFromContext(r.Context())
	if reader == nil {
		return r
	}
	bare := r.WithContext(r.Context())
	bare.Body = reader.ReadCloser
	return bare
}
