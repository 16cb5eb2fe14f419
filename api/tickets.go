package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// ticketRequest asks for a ticket.
type ticketRequest struct {
	User      string            `json:"user"`
	Roles     []string          `json:"roles"`
	Claims    map[string]string `json:"claims"`
	TTL       int64             `json:"ttl_ms"`     // how long it is good; 0 is for a minute
	ExpiresAt *time.Time        `json:"expires_at"` // of the connection, as a token's exp; none: never
}

type ticketAnswer struct {
	Ticket    string    `json:"ticket"`
	ExpiresAt time.Time `json:"expires_at"` // of the ticket, unless it is used before
}

// Bounds of what a ticket says.
const (
	maxTicketRoles  = 100
	maxTicketClaims = 100
	maxTicketText   = 256 // characters of a role, or of a claim's name or value
)

// IssueTicket makes a ticket that lets one client in. What a ticket says of a user is believed: who may call this is decided before.
func issueTicket(a *Routes, r *request) (int, any, error) {
	var ask ticketRequest
	if err := json.Unmarshal(r.body, &ask); err != nil {
		return 0, nil, protocol.Errorf(protocol.InvalidMessage,
			`the body must be an object with "user", and may have "roles" (texts), "claims" (texts by name), "ttl_ms" and "expires_at"`)
	}
	if err := ask.check(); err != nil {
		return 0, nil, err
	}
	grant := access.Grant{User: ask.User, Roles: ask.Roles, Claims: ask.Claims}
	if ask.ExpiresAt != nil {
		grant.Expires = *ask.ExpiresAt
	}
	ttl := time.Duration(min(ask.TTL, access.MaxTicketTTL.Milliseconds()+1)) * time.Millisecond
	ticket, until, err := a.IssueTicket(grant, ttl)
	switch {
	case errors.Is(err, access.ErrTooManyTickets):
		full := protocol.Errorf(protocol.RateLimited, "too many tickets are out")
		full.RetryAfter = retryAfter
		return 0, nil, full
	case errors.Is(err, access.ErrTicketTTL), errors.Is(err, access.ErrTicketUser):
		return 0, nil, protocol.Errorf(protocol.InvalidParams, "%v", err)
	case err != nil:
		return 0, nil, err
	}
	a.Log.Debug("a ticket was issued", zap.String("hub", a.Hub.Name()), zap.String("user", ask.User), zap.String("by", r.RemoteAddr))
	return http.StatusCreated, ticketAnswer{ticket, until.UTC().Truncate(time.Millisecond)}, nil
}

func (t *ticketRequest) check() error {
	long := func(text string) bool { return text == "" || len(text) > maxTicketText }
	switch {
	case t.TTL < 0:
		return protocol.Errorf(protocol.InvalidParams, `"ttl_ms" must not be negative`)
	case t.ExpiresAt != nil && !t.ExpiresAt.After(time.Now()):
		return protocol.Errorf(protocol.InvalidParams, `"expires_at" has passed`)
	case len(t.Roles) > maxTicketRoles || len(t.Claims) > maxTicketClaims:
		return protocol.Errorf(protocol.InvalidParams, "a ticket has at most %d roles and %d claims", maxTicketRoles, maxTicketClaims)
	}
	for _, role := range t.Roles {
		if long(role) {
			return protocol.Errorf(protocol.InvalidParams, "a role has 1 to %d bytes", maxTicketText)
		}
	}
	for name, value := range t.Claims {
		if long(name) || len(value) > maxTicketText {
			return protocol.Errorf(protocol.InvalidParams, "a claim's name and value have at most %d bytes", maxTicketText)
		}
	}
	return nil
}
