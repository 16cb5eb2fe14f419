package neuroquantumws

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/handshake"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/session"
)

// retryAfter is how long a client that is refused for want of room should wait.
const retryAfter = 5 * time.Second

// ServeHTTP implements caddyhttp.MiddlewareHandler. What is refused is answered in plain HTTP before any upgrade, and with fixed
// texts: nothing of the request is told back.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	return h.serve(w, r, h.origins)
}

// ServeSameOrigin implements socket.
func (h *Handler) ServeSameOrigin(w http.ResponseWriter, r *http.Request) error {
	return h.serve(w, r, handshake.Origins{})
}

// serve serves a request to pages of the allowed origins.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, allowed handshake.Origins) error {
	if h.pooled == nil {
		return caddyhttp.Error(http.StatusInternalServerError, instance.ErrNotProvisioned)
	}
	w, done := h.hideToken(w, r)
	defer done()
	if hub.ConnectProtocol(r) != "" {
		if !handshake.AllowConnect(w, r) {
			h.pooled.Hub.Refuse(hub.BadRequest)
			return nil
		}
		r = handshake.WithBareBody(r)
	} else if !handshake.IsUpgrade(r) {
		if r.ProtoMajor == 1 { // later versions forbid these headers
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
		}
		h.pooled.Hub.Refuse(hub.BadRequest)
		handshake.Refuse(w, http.StatusUpgradeRequired, "UPGRADE_REQUIRED", "this is a WebSocket endpoint", 0)
		return nil
	} else if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // net/http would wait for the body before it answers
		}
		h.pooled.Hub.Refuse(hub.BadRequest)
		handshake.Refuse(w, http.StatusBadRequest, "INVALID_REQUEST", "an upgrade has no body", 0)
		return nil
	}
	if !allowed.Allow(r) {
		h.pooled.Hub.Refuse(hub.BadOrigin)
		handshake.Refuse(w, http.StatusForbidden, "ORIGIN_NOT_ALLOWED", "this origin may not connect", 0)
		return nil
	}
	if !handshake.CheckUpgrade(w, r) {
		h.pooled.Hub.Refuse(hub.BadRequest)
		return nil
	}
	return h.connect(w, r, allowed.Trust(r))
}

func (h *Handler) connect(w http.ResponseWriter, r *http.Request, trusted bool) error {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	cookie := ""
	if h.JWT != nil {
		cookie = h.JWT.Cookie
	}
	credential := handshake.Find(r, h.tokens != nil, cookie, trusted)
	tracer, connecting := h.pooled.TraceConnect(r)
	identity, slot, err := h.admit(r.Context(), repl, credential, handshake.LimitKey(address))
	if err != nil {
		connecting(nil, err)
		repl.Set("http.neuroquantum_ws.hub", h.name)
		h.refuse(w, err, address)
		return nil
	}
	meta := hub.Meta{Address: address, UserAgent: handshake.Clip(r.UserAgent())}
	for name, text := range h.Metadata {
		if meta.Custom == nil {
			meta.Custom = make(map[string]string, len(h.Metadata))
		}
		meta.Custom[name] = handshake.Clip(render(expand(repl, parseText(text)), identity))
	}
	client := session.Client{Read: h.readBound(repl), Tracer: tracer}
	up := hub.Upgrade{Identity: identity, Meta: meta, Subprotocols: handshake.Subprotocols(r)}
	if h.JWT != nil && h.JWT.Required == requiredMessage && credential.Kind == handshake.None {
		client.MustAuthenticate, up.AuthTimeout = true, timeOf(cmp.Or(h.AuthTimeout, defaultAuthTimeout))
	}
	env := h.pooled.Env
	up.Slot = slot
	up.Receiver = func(c *hub.Conn) hub.Receiver {
		h.tunnels.Add(r, c)
		return session.New(env, c, client)
	}
	up.Made = func(c *hub.Conn) {
		connecting(c, nil)
		h.tell(repl, identity, c.ID())
		if h.pooled.Revocations.Revoked(identity) { // since it was looked at, and before the connection could be found
			h.pooled.Hub.Disconnect(c.ID(), instance.RevokedReason, -1)
		}
	}
	conn, err := h.pooled.Hub.Upgrade(w, r, up)
	if err != nil {
		// The client has been told what was wrong with its handshake.
		connecting(nil, errUpgrade)
		h.log.Debug("upgrade failed", zap.String("client_ip", address), zap.Error(err))
		return nil
	}
	h.tunnels.Remove(conn)
	return nil
}

// tell sets what the access log, its log_append and headers of the site can say of a connection. An identity that the site's own login has
// set stays.
func (h *Handler) tell(repl *caddy.Replacer, identity *access.Identity, connection string) {
	repl.Set("http.neuroquantum_ws.hub", h.name)
	repl.Set("http.neuroquantum_ws.user", identity.User)
	repl.Set(connectionPlaceholder, connection)
	if login, _ := repl.GetString(loginPlaceholder); login == "" {
		repl.Set(loginPlaceholder, identity.User)
	}
}

const (
	connectionPlaceholder = "http.neuroquantum_ws.connection_id"
	loginPlaceholder      = "http.auth.user.id" // the access log's user_id
)

// hideToken keeps a token in the subprotocol header or the URL out of the access log, which has copied both by now and would write them:
// the line is left out, and one of ours stands in for it, which done writes.
func (h *Handler) hideToken(w http.ResponseWriter, r *http.Request) (_ http.ResponseWriter, done func()) {
	if !handshake.Exposed(r) {
		return w, func() {}
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	began, status := time.Now(), &statusWriter{ResponseWriter: w}
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	return status, func() {
		connection, _ := repl.GetString(connectionPlaceholder)
		user, _ := repl.GetString(loginPlaceholder)
		h.log.Info("request with a token", zap.String("hub", h.name), zap.String("client_ip", address), zap.String("method", r.Method),
			zap.String("host", r.Host), zap.String("path", r.URL.Path), zap.Int("status", status.code), zap.Duration("duration", time.Since(began)),
			zap.String("user", user), zap.String("connection_id", connection))
	}
}

// statusWriter remembers the status of the answer.
type statusWriter struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.code == 0 {
		w.code = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (h *Handler) refuseFull(w http.ResponseWriter, why noRoom, address string) {
	switch hub.Refusal(why) {
	case hub.AddressFull:
		handshake.Refuse(w, http.StatusTooManyRequests, "TOO_MANY_CONNECTIONS", "too many connections from this address", retryAfter)
	case hub.UserFull:
		handshake.Refuse(w, http.StatusTooManyRequests, "TOO_MANY_CONNECTIONS", "too many connections of this user", retryAfter)
	case hub.Draining:
		handshake.Refuse(w, http.StatusServiceUnavailable, "GOING_AWAY", "the server is going away", retryAfter)
	case hub.NotReady:
		handshake.Refuse(w, http.StatusServiceUnavailable, "NOT_READY", "the server is not ready yet", retryAfter)
	default:
		handshake.Refuse(w, http.StatusServiceUnavailable, "FULL", "the server has no room for another connection", retryAfter)
	}
	h.log.Debug("connection refused", zap.String("hub", h.name), zap.String("client_ip", address), zap.Error(why))
}

// errUpgrade is why a connection was not made, for its span.
var errUpgrade = errors.New("the upgrade failed")
