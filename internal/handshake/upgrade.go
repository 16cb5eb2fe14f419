package handshake

import (
	"encoding/base64"
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

// CheckUpgrade checks what is left of a WebSocket handshake (RFC 6455, section 4.2.1) when [IsUpgrade] or [AllowConnect] has found one, and
// refuses what cannot succeed. It comes before anything that a failed handshake must not use up, such as a ticket.
func CheckUpgrade(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodConnect:
		Refuse(w, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "a WebSocket handshake is a GET", 0)
	case !isVersion(r.Header["Sec-Websocket-Version"]):
		w.Header().Set("Sec-WebSocket-Version", version)
		Refuse(w, http.StatusBadRequest, "INVALID_REQUEST", "the version of the WebSocket protocol must be "+version, 0)
	case r.Method == http.MethodGet && !isKey(r.Header["Sec-Websocket-Key"]): // an extended CONNECT has none
		Refuse(w, http.StatusBadRequest, "INVALID_REQUEST", "the Sec-WebSocket-Key must be 16 bytes in base64", 0)
	default:
		return true
	}
	return false
}

// version is the only version of the WebSocket protocol.
const version = "13"

func isVersion(values []string) bool {
	return len(values) == 1 && strings.TrimSpace(values[0]) == version
}

func isKey(values []string) bool {
	if len(values) != 1 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(values[0]))
	return err == nil && len(key) == 16
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
