package neuroquantumws

import (
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
)

// revokeUser ends all connections of a user with 4100, and sees to it that tokens and tickets which the user was issued up to a moment
// are not taken any more; see access.Revocations for how long. It gives the number of connections. Where after is not negative, clients
// are asked to come back after that time, with a new token. On every node it is called with the same moment.
func (p *pooledHub) revokeUser(user string, at time.Time, after time.Duration) (connections int) {
	p.revocations.Revoke(user, at) // first: whoever connects meanwhile looks there once it can be found
	return p.hub.DisconnectUser(user, revokedReason, after)
}

// disconnect ends one connection with 4100; its client may come back with what it has. It tells whether there was such a connection on
// this node.
func (p *pooledHub) disconnect(connectionID string, after time.Duration) bool {
	return p.hub.Disconnect(connectionID, revokedReason, after)
}

// issueTicket makes a ticket that lets one connection in, on any node; ttl 0 is for access.DefaultTicketTTL. It outlives reloads.
func (p *pooledHub) issueTicket(grant access.Grant, ttl time.Duration) (ticket string, until time.Time, err error) {
	ticket, until, err = p.tickets.Issue(grant, ttl)
	if node := p.hub.Node(); err == nil && node != "" {
		ticket = node + ticketSeparator + ticket
	}
	return ticket, until, err
}
