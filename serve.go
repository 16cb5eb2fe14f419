package neuroquantumws

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/credential"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/session"
)

// retryAfter is how long a client that is refused for want of room should wait.
const retryAfter = 5 * time.Second

// ServeHTTP implements caddyhttp.MiddlewareHandler. What is refused is answered in plain HTTP before any upgrade, and with fixed
// texts: nothing of the request is told back.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if h.pooled == nil {
		return caddyhttp.Error(http.StatusInternalServerError, errNotProvisioned)
	}
	h.hideToken(r)
	if hub.ConnectProtocol(r) != "" {
		if !allowConnect(w, r) {
			h.pooled.hub.Refuse(hub.BadRequest)
			return nil
		}
		r = withBareBody(r)
	} else if !isUpgrade(r) {
		if r.ProtoMajor == 1 { // later versions forbid these headers
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
		}
		h.pooled.hub.Refuse(hub.BadRequest)
		refuse(w, http.StatusUpgradeRequired, "UPGRADE_REQUIRED", "this is a WebSocket endpoint", 0)
		return nil
	} else if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // net/http would wait for the body before it answers
		}
		h.pooled.hub.Refuse(hub.BadRequest)
		refuse(w, http.StatusBadRequest, "INVALID_REQUEST", "an upgrade has no body", 0)
		return nil
	}
	if !h.origins.allow(r) {
		h.pooled.hub.Refuse(hub.BadOrigin)
		refuse(w, http.StatusForbidden, "ORIGIN_NOT_ALLOWED", "this origin may not connect", 0)
		return nil
	}
	return h.connect(w, r)
}

func (h *Handler) connect(w http.ResponseWriter, r *http.Request) error {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	identity, shown, err := h.identify(r, repl)
	if err != nil {
		h.refuseUnidentified(w, err, address)
		return nil
	}
	meta := hub.Meta{Address: address, UserAgent: clip(r.UserAgent())}
	for name, text := range h.Metadata {
		if meta.Custom == nil {
			meta.Custom = make(map[string]string, len(h.Metadata))
		}
		meta.Custom[name] = clip(fill(expand(repl, textParts(text)), identity))
	}
	client := session.Client{Bound: h.bind(repl)}
	connecting := h.traceConnect(r, &client)
	up := hub.Upgrade{Identity: identity, Meta: meta, Subprotocols: subprotocols(r)}
	if h.JWT != nil && h.JWT.Required == requiredMessage && !shown {
		client.MustAuthenticate, up.AuthTimeout = true, timeOf(orDefault(h.AuthTimeout, defaultAuthTimeout))
	}
	slot, refusal := h.pooled.hub.Reserve(limitKey(address), identity.User)
	if refusal != hub.Admitted {
		connecting(nil, errFull)
		h.refuseFull(w, refusal, address)
		return nil
	}
	env := h.pooled.env
	up.Slot = slot
	up.Receiver = func(c *hub.Conn) hub.Receiver {
		h.tunnels.enter(r, c)
		return session.New(env, c, client)
	}
	up.Made = func(c *hub.Conn) {
		connecting(c, nil)
		if h.pooled.revocations.Revoked(identity) { // since it was looked at, and before the connection could be found
			h.pooled.hub.Disconnect(c.ID(), revokedReason, -1)
		}
	}
	conn, err := h.pooled.hub.Upgrade(w, r, up)
	if err != nil {
		// The client has been told what was wrong with its handshake.
		connecting(nil, errUpgrade)
		h.log.Debug("upgrade failed", zap.String("client_ip", address), zap.Error(err))
		return nil
	}
	h.tunnels.leave(conn)
	return nil
}

// subprotocols are those of the client's that are spoken here, in the client's order.
func subprotocols(r *http.Request) []string {
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

// clip copies text, so that it does not hold the request in memory, and cuts it to what is kept.
func clip(text string) string {
	return strings.ToValidUTF8(strings.Clone(text[:min(len(text), maxText)]), "")
}

func isUpgrade(r *http.Request) bool {
	return hasToken(r.Header["Connection"], "upgrade") && hasToken(r.Header["Upgrade"], "websocket")
}

func hasToken(values []string, token string) bool {
	for _, value := range values {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// hideToken keeps a token in the subprotocol header or the URL out of the access log, which has copied both by now and would write them:
// the line is left out, and one of ours stands in for it.
func (h *Handler) hideToken(r *http.Request) {
	if !credential.Exposed(r) {
		return
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	h.log.Info("request with a token", zap.String("client_ip", address), zap.String("host", r.Host), zap.String("path", r.URL.Path))
}

func (h *Handler) refuseFull(w http.ResponseWriter, refusal hub.Refusal, address string) {
	switch refusal {
	case hub.AddressFull:
		refuse(w, http.StatusTooManyRequests, "TOO_MANY_CONNECTIONS", "too many connections from this address", retryAfter)
	case hub.UserFull:
		refuse(w, http.StatusTooManyRequests, "TOO_MANY_CONNECTIONS", "too many connections of this user", retryAfter)
	case hub.Draining:
		refuse(w, http.StatusServiceUnavailable, "GOING_AWAY", "the server is going away", retryAfter)
	case hub.NotReady:
		refuse(w, http.StatusServiceUnavailable, "NOT_READY", "the server is not ready yet", retryAfter)
	default:
		refuse(w, http.StatusServiceUnavailable, "FULL", "the server has no room for another connection", retryAfter)
	}
	h.log.Debug("connection refused", zap.String("hub", h.name), zap.String("client_ip", address), zap.Stringer("why", refusal))
}

// refuse answers in plain HTTP. code and text are constants that need no quoting.
func refuse(w http.ResponseWriter, status int, code, text string, retry time.Duration) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(retry.Seconds())))
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"error":"` + text + `","code":"` + code + `"}` + "\n"))
}
