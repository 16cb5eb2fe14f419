package neuroquantumws

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/handshake"
)

// Why a request is refused before the upgrade, beside the refusals of tokens.
var (
	errNoToken = errors.New("no token, and one is required")
	errTicket  = errors.New("the ticket was used, has run out or never was")
	errUser    = errors.New("the user has a name that cannot be used")
)

// identify says who the client of an upgrade request is. trusted tells that its page may use the cookies of its visitor. shown tells that it has shown a token or a ticket; what it shows must be valid.
func (h *Handler) identify(r *http.Request, repl *caddy.Replacer, trusted bool) (id *access.Identity, shown bool, err error) {
	cookie := ""
	if h.JWT != nil {
		cookie = h.JWT.Cookie
	}
	found := handshake.Find(r, h.tokens != nil, cookie, trusted)
	switch {
	case found.Kind == handshake.Ticket:
		id, ok := h.pooled.RedeemTicket(r.Context(), found.Text)
		if !ok {
			return nil, true, errTicket
		}
		return id, true, h.unlessRevoked(id)
	case found.Kind != handshake.None:
		id, err := h.tokens.Verify(r.Context(), found.Text)
		if err != nil {
			return nil, true, err
		}
		return id, true, h.unlessRevoked(id)
	case h.JWT != nil && h.JWT.Required == requiredUpgrade:
		return nil, false, errNoToken
	case h.JWT != nil && h.JWT.Required == requiredMessage:
		return access.Anonymous, false, nil // whatever else the request says
	}
	name := repl.ReplaceAll(h.User, "")
	if name == "" {
		return access.Anonymous, false, nil
	}
	if !access.ValidUser(name) {
		return nil, false, errUser
	}
	return &access.Identity{User: strings.Clone(name), Issued: time.Now()}, false, nil
}

func (h *Handler) unlessRevoked(id *access.Identity) error {
	if h.pooled.Revocations.Revoked(id) {
		return access.Revoked
	}
	return nil
}

// refuseUnidentified answers a request whose client cannot be let in as who it says it is.
func (h *Handler) refuseUnidentified(w http.ResponseWriter, err error, address string) {
	h.pooled.Hub.CountUnidentified()
	h.pooled.Hub.Refuse(hub.Unauthenticated)
	h.log.Debug("not authenticated", zap.String("hub", h.name), zap.String("client_ip", address), zap.Error(err))
	if errors.Is(err, access.Unavailable) {
		handshake.Refuse(w, http.StatusServiceUnavailable, "KEYS_UNAVAILABLE", "tokens cannot be verified at the moment", retryAfter)
		return
	}
	text, challenge := "the token is not valid", `Bearer error="invalid_token"`
	switch {
	case errors.Is(err, errNoToken):
		text, challenge = "a token is required", "Bearer"
	case errors.Is(err, errTicket):
		text = "the ticket is not valid"
	case errors.Is(err, errUser):
		text = "this user name cannot be used"
	case errors.Is(err, access.Expired):
		text = "the token has expired"
	}
	w.Header().Set("WWW-Authenticate", challenge)
	handshake.Refuse(w, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED", text, 0)
}
