package handshake

import (
	"golang.org/x/net/http/httpguts"

	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Subprotocols are those of the client's that are spoken here, in the client's order.
func Subprotocols(r *http.Request) []string {
	var spoken []string
	for _, value := range r.Header["Sec-Websocket-Protocol"] {
		for offer := range strings.SplitSeq(value, ",") {
			switch offer = strings.TrimSpace(offer); offer {
			case protocol.Subprotocol, protocol.SubprotocolNDJSON:
				spoken = append(spoken, offer)
			}
		}
	}
	return spoken
}

// maxText bounds what is kept of a header for as long as a connection lives.
const maxText = 256

// Clip copies text, so that it does not hold the request in memory, and cuts it to what is kept.
func Clip(text string) string {
	return strings.ToValidUTF8(strings.Clone(text[:min(len(text), maxText)]), "")
}

// IsUpgrade reports whether a request asks for an upgrade to the WebSocket protocol.
func IsUpgrade(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") && httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket")
}

// Refuse answers in plain HTTP. code and text are constants that need no quoting.
func Refuse(w http.ResponseWriter, status int, code, text string, retry time.Duration) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(retry.Seconds())))
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"error":"` + text + `","code":"` + code + `"}` + "\n"))
}
