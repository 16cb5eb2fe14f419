package neuroquantumws

import (
	"context"
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

// noRoom is the error of a client that is known but gets no connection.
type noRoom hub.Refusal

func (n noRoom) Error() string { return hub.Refusal(n).String() }

// admit identifies the client of an upgrade request and reserves its slot. A ticket, which is good once, is used up last: when there is room
// for a client of the address.
func (h *Handler) admit(ctx context.Context, repl *caddy.Replacer, found handshake.Credential, address string) (*access.Identity, *hub.Slot, error) {
	if found.Kind == handshake.Ticket {
		return h.admitTicket(ctx, found.Text, address)
	}
	id, err := h.identify(ctx, repl, found)
	if err != nil {
		return nil, nil, err
	}
	slot, refusal := h.pooled.Hub.Reserve(address, id.User)
	if refusal != hub.Admitted {
		return nil, nil, noRoom(refusal)
	}
	return id, slot, nil
}

func (h *Handler) admitTicket(ctx context.Context, ticket, address string) (*access.Identity, *hub.Slot, error) {
	slot, refusal := h.pooled.Hub.Reserve(address, "")
	if refusal != hub.Admitted {
		return nil, nil, noRoom(refusal)
	}
	id, putBack, ok := h.pooled.RedeemTicket(ctx, ticket)
	err := errTicket
	if ok {
		err = h.unlessRevoked(id)
	}
	if err != nil {
		slot.Release()
		return nil, nil, err
	}
	if refusal := slot.Claim(id.User); refusal != hub.Admitted {
		if putBack != nil {
			putBack()
		}
		return nil, nil, noRoom(refusal)
	}
	return id, slot, nil
}

// identify returns the identity of the client of an upgrade request without a ticket. A token that the request has must be valid.
func (h *Handler) identify(ctx context.Context, repl *caddy.Replacer, found handshake.Credential) (*access.Identity, error) {
	switch {
	case found.Kind != handshake.None:
		id, err := h.tokens.Verify(ctx, found.Text)
		if err != nil {
			return nil, err
		}
		return id, h.unlessRevoked(id)
	case h.JWT != nil && h.JWT.Required == requiredUpgrade:
		return nil, errNoToken
	case h.JWT != nil && h.JWT.Required == requiredMessage:
		return access.Anonymous, nil // whatever else the request says
	}
	name := repl.ReplaceAll(h.User, "")
	if name == "" {
		return access.Anonymous, nil
	}
	if !access.ValidUser(name) {
		return nil, errUser
	}
	return &access.Identity{User: strings.Clone(name), Issued: time.Now()}, nil
}

func (h *Handler) unlessRevoked(id *access.Identity) error {
	if h.pooled.Revocations.Revoked(id) {
		return access.Revoked
	}
	return nil
}

// refuse answers a request whose client was not admitted.
func (h *Handler) refuse(w http.ResponseWriter, err error, address string) {
	if full, ok := errors.AsType[noRoom](err); ok {
		h.refuseFull(w, full, address)
		return
	}
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
