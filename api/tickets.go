package api

import (
	stdjson "encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// ticketRequest asks for a ticket.
type ticketRequest struct {
	User      string                    `json:"user"`
	Roles     []string                  `json:"roles"`
	Claims    map[string]jsontext.Value `json:"claims"`
	TTL       *int64                    `json:"ttl_ms"`     // how long it is good; none: a minute
	ExpiresAt *time.Time                `json:"expires_at"` // of the connection, as a token's exp; none: never
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
	// Whoever checks the user before passing a request on must have read the same: each member once, in its exact spelling, in UTF-8.
	if err := json.Unmarshal(r.body, &ask, json.RejectUnknownMembers(true)); err != nil {
		return 0, nil, protocol.Errorf(protocol.InvalidMessage,
			`the body must be an object with "user", and may have "roles" (texts), "claims" (by name), "ttl_ms" and "expires_at", each once`)
	}
	claims, err := ask.check()
	if err != nil {
		return 0, nil, err
	}
	grant := access.Grant{User: ask.User, Roles: ask.Roles, Claims: claims}
	if ask.ExpiresAt != nil {
		grant.Expires = *ask.ExpiresAt
	}
	ttl := access.DefaultTicketTTL
	if ask.TTL != nil {
		ttl = time.Duration(min(*ask.TTL, access.MaxTicketTTL.Milliseconds()+1)) * time.Millisecond
	}
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

// check refuses what a ticket cannot hold, and returns the texts of its claims, which it reads as those of a token are read.
func (t *ticketRequest) check() (claims map[string]string, err error) {
	long := func(text string) bool { return text == "" || len(text) > maxTicketText }
	switch {
	case t.TTL != nil && *t.TTL <= 0:
		return nil, protocol.Errorf(protocol.InvalidParams, `"ttl_ms" must be positive`)
	case t.ExpiresAt != nil && !t.ExpiresAt.After(time.Now()):
		return nil, protocol.Errorf(protocol.InvalidParams, `"expires_at" has passed`)
	case len(t.Roles) > maxTicketRoles || len(t.Claims) > maxTicketClaims:
		return nil, protocol.Errorf(protocol.InvalidParams, "a ticket has at most %d roles and %d claims", maxTicketRoles, maxTicketClaims)
	}
	for _, role := range t.Roles {
		if long(role) {
			return nil, protocol.Errorf(protocol.InvalidParams, "a role has 1 to %d bytes", maxTicketText)
		}
	}
	for name, value := range t.Claims {
		text := claimText(value)
		if long(name) || len(text) > maxTicketText {
			return nil, protocol.Errorf(protocol.InvalidParams, "a claim's name and value have at most %d bytes", maxTicketText)
		}
		if text == "" {
			continue
		}
		if claims == nil {
			claims = make(map[string]string, len(t.Claims))
		}
		claims[name] = text
	}
	return claims, nil
}

// claimText returns the text of a claim.
func claimText(value jsontext.Value) string {
	switch value.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return ""
		}
		return string(text)
	case '0':
		return access.ClaimText(stdjson.Number(value))
	case 't', 'f':
		return string(value)
	}
	return ""
}
