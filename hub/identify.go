package hub

import (
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// ExpiryGrace is how long a connection outlives the token of its client, which so has time to show another.
const ExpiryGrace = 25 * time.Second

// Identify makes the client another: one that was anonymous has a user, or the rights of its user have changed, or only their end. It
// returns once that is so: subscriptions that are no longer allowed have been ended, and the client told. Where the user has no room for
// a connection more, nothing changes. Only the connection's receiver may call it.
func (c *Conn) Identify(id *access.Identity) Refusal {
	if refusal := c.slot.move(id.User); refusal != Admitted {
		return refusal
	}
	if c.Identity().SameRights(id) {
		c.shard.do(func() { c.shard.prolong(c, id) })
	} else {
		c.decideAgain(c.hub.Settings(), id)
	}
	return Admitted
}

// move counts the connection for another user.
func (s *Slot) move(user string) Refusal {
	limit := s.hub.Settings().MaxConnectionsPerUser
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	users := s.hub.slots.users
	if user == s.user {
		return Admitted
	}
	if limit > 0 && users[user] >= limit {
		s.hub.Refuse(UserFull)
		return UserFull
	}
	users[user]++
	if s.user != "" {
		release(users, s.user)
	}
	s.user = user
	return Admitted
}

// prolong changes nothing but the end of the client's rights.
func (s *shard) prolong(c *Conn, id *access.Identity) {
	if _, open := s.conns[c]; open {
		c.identity.Store(id)
		c.setDeadline()
	}
}

// part lets go of a connection whose subscriptions have all left: what it does next it does as another.
func (p *presence) part(connection string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.attendees[connection]; a != nil { // some leaves of an earlier connection are held back
		delete(p.attendees, connection)
		a.connection = ""
	}
}

// setDeadline is called whenever the identity has changed.
func (c *Conn) setDeadline() {
	c.deadline, c.awaited = time.Time{}, false
	if id := c.Identity(); !id.Expires.IsZero() {
		c.deadline = id.Expires.Add(ExpiryGrace)
	}
}

// overdue ends a connection whose client did not show a token in time.
func (c *Conn) overdue(now time.Time) bool {
	if c.deadline.IsZero() || now.Before(c.deadline) {
		return false
	}
	reason := "the token has expired"
	if c.Identity().User == "" {
		reason = "not authenticated in time"
	}
	if c.closeWith(protocol.CloseUnauthenticated, reason, closing(uint16(protocol.CloseUnauthenticated), reason)) {
		c.hub.stats.overdue.Add(1)
	}
	return true
}

// Disconnect closes a connection with 4100, for an operator; what waits for the client is dropped. Where after is not negative, a client
// that understands it is asked by `reconnect` to come back after that time. It tells whether there is such a connection.
func (h *Hub) Disconnect(id, reason string, after time.Duration) bool {
	c := h.Connection(id)
	if c != nil {
		c.disconnect(reason, after)
	}
	return c != nil
}

// DisconnectUser is Disconnect for all connections of a user. It gives their number.
func (h *Hub) DisconnectUser(user, reason string, after time.Duration) (n int) {
	for _, c := range h.Connections() {
		if user != "" && c.Identity().User == user && c.disconnect(reason, after) {
			n++
		}
	}
	return n
}

func (c *Conn) disconnect(reason string, after time.Duration) bool {
	var last []byte
	if after >= 0 && c.subprotocol != "" {
		last = frame(protocol.AppendReconnect(nil, after, reason))
	}
	last = append(last, closing(uint16(protocol.CloseByOperator), reason)...)
	c.mu.Lock()
	before := c.queue.Bytes()
	c.queue.Clear()
	c.hub.queued.Add(int64(c.queue.Bytes() - before))
	c.mu.Unlock()
	done := c.closeWith(protocol.CloseByOperator, reason, last)
	if done {
		c.hub.stats.disconnected.Add(1)
	}
	return done
}
