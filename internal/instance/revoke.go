package instance

import (
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
)

// RevokeUser ends all connections of a user with 4100, and sees to it that tokens and tickets which the user was issued up to a moment
// are not taken any more; see access.Revocations for how long. It gives the number of connections. Where after is not negative, clients
// are asked to come back after that time, with a new token. On every node it is called with the same moment.
func (p *Instance) RevokeUser(user string, at time.Time, after time.Duration) (connections int) {
	p.Revocations.Revoke(user, at) // first: whoever connects meanwhile looks there once it can be found
	return p.Hub.DisconnectUser(user, RevokedReason, after)
}

// Disconnect ends one connection with 4100; its client may come back with what it has. It tells whether there was such a connection on
// this node.
func (p *Instance) Disconnect(connectionID string, after time.Duration) bool {
	return p.Hub.Disconnect(connectionID, RevokedReason, after)
}

// IssueTicket makes a ticket that lets one connection in, on any node; ttl 0 is for access.DefaultTicketTTL. It outlives reloads.
func (p *Instance) IssueTicket(grant access.Grant, ttl time.Duration) (ticket string, until time.Time, err error) {
	ticket, until, err = p.tickets.Issue(grant, ttl)
	if node := p.Hub.Node(); err == nil && node != "" {
		ticket = node + ticketSeparator + ticket
	}
	return ticket, until, err
}

// RevokedReason is what a client is told whose user's tokens were revoked.
const RevokedReason = "disconnected by an operator"
