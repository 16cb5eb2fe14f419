package handshake

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAllowConnect(t *testing.T) {
	complete, early := &tls.ConnectionState{HandshakeComplete: true}, &tls.ConnectionState{}
	for name, test := range map[string]struct {
		protocol string
		length   int64
		tls      *tls.ConnectionState
		status   int
	}{
		"good":          {"websocket", -1, complete, http.StatusOK},
		"plain":         {"websocket", -1, nil, http.StatusOK},
		"in capitals":   {"WebSocket", -1, complete, http.StatusOK},
		"early data":    {"websocket", -1, early, http.StatusTooEarly},
		"content":       {"websocket", 5, complete, http.StatusBadRequest},
		"at its end":    {"websocket", 0, complete, http.StatusBadRequest},
		"another":       {"webtransport", -1, complete, http.StatusNotImplemented},
		"early another": {"webtransport", -1, early, http.StatusNotImplemented},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := &http.Request{Method: http.MethodConnect, ProtoMajor: 3, Proto: test.protocol, ContentLength: test.length, TLS: test.tls}
			if allowed := AllowConnect(w, r); allowed != (test.status == http.StatusOK) || w.Code != test.status {
				t.Errorf("%v with %d %s", allowed, w.Code, w.Body)
			}
		})
	}
}
