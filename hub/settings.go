package hub

import (
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Settings are the limits and rules of a hub. They are replaced as a whole, never changed in place: connections that are open
// come under new ones from then on.
type Settings struct {
	MaxConnections        int   // open at once; 0 sets no limit, here and below
	MaxConnectionsPerIP   int   // from one client address
	MaxConnectionsPerUser int   // of one user name; anonymous clients have none
	MaxMessageSize        int64 // bytes of a client's message
	MaxSubscriptions      int   // per connection
	MaxQueued             int64 // bytes waiting for all connections together; beyond it the slowest are closed

	HeartbeatInterval time.Duration // between the server's pings
	HeartbeatTimeout  time.Duration // without any frame from the client: 4000
	IdleTimeout       time.Duration // without subscription, stream and request: 4000; 0 never
	WriteTimeout      time.Duration // for a socket that takes nothing: 4008
	Drain             time.Duration // over which clients are asked to come back when the hub ends

	Health flow.Health

	// Rules are the channel blocks; the first whose pattern matches a channel holds for it. Without any, Fallback holds for all;
	// with any, a channel that none matches is refused.
	Rules    []*Rule
	Fallback *Rule
}

// Rule is what holds for the channels of one pattern.
type Rule struct {
	Pattern  protocol.Pattern
	Own      access.Own // which of its channels are a client's own, and no other's
	History  Retention
	Presence bool // who is subscribed is kept and told
	Queue    flow.Class
	Allow    access.Rules
}

// Allows tells whether a client may do something with a channel that the rule holds for. It allocates nothing.
func (r *Rule) Allows(verb access.Verb, id *access.Identity, channel string) bool {
	return r.Allow.Allow(verb, id) && r.Own.Holds(id, channel)
}

// AllowsAll reports the same for all channels of a pattern that the rule contains; false where work does not suffice to find out.
func (r *Rule) AllowsAll(verb access.Verb, id *access.Identity, p protocol.Pattern, work *protocol.Work) bool {
	return r.Allow.Allow(verb, id) && r.Own.HoldsAll(id, p, work)
}

// Retention is how much of a channel is kept: at most Messages, none older than Age.
type Retention struct {
	Messages int
	Age      time.Duration
}

// Keeps tells whether anything is kept at all.
func (r Retention) Keeps() bool { return r.Messages > 0 }

// RuleFor gives the rule that holds for a channel, nil where none does.
func (s *Settings) RuleFor(channel string) *Rule {
	for _, r := range s.Rules {
		if r.Pattern.Match(channel) {
			return r
		}
	}
	if len(s.Rules) == 0 {
		return s.Fallback
	}
	return nil
}

// RuleOf returns the rule that contains all of a pattern, nil where none does or where work does not suffice to find out. An earlier
// rule may hold for some of the pattern's channels: those are checked again at each delivery.
func (s *Settings) RuleOf(p protocol.Pattern, work *protocol.Work) *Rule {
	if !p.IsPattern() {
		return s.RuleFor(p.String())
	}
	for _, r := range s.Rules {
		if r.Pattern.Contains(p, work) {
			return r
		}
		if work.Exhausted() {
			return nil // a later rule may not hold where this one might
		}
	}
	if len(s.Rules) == 0 {
		return s.Fallback
	}
	return nil
}
