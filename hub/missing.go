package hub

import (
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
)

// reasonBroker is the reason of gaps for what was lost between the nodes that share a broker.
const reasonBroker = "broker"

// missing tells those who are subscribed to a channel that messages of it are lost. Who is catching up reads the history and will find
// what is there.
func (s *shard) missing(channel string) {
	rule := s.hub.Settings().RuleFor(channel)
	if rule == nil {
		return
	}
	s.turn++
	for _, subs := range s.index.match(channel, time.Time{}) {
		for _, sub := range subs {
			c := sub.conn
			if c.mark == s.turn || c.catching || !rule.Allows(access.Subscribe, c.Identity(), channel) {
				continue
			}
			c.mark = s.turn
			c.pushGap(&flow.Gap{Channel: channel, Reason: reasonBroker, Recoverable: rule.History.Keeps()})
			s.touch(c)
		}
	}
	s.index.done()
}

// missingUnkept tells every subscription that may be for channels without history that something may be lost there. As it is not known
// in which, the gap names what was subscribed to.
func (s *shard) missingUnkept() {
	for c := range s.conns {
		for _, sub := range c.subs {
			if sub.rule.History.Keeps() {
				continue
			}
			c.pushGap(&flow.Gap{Channel: sub.pattern.String(), Reason: reasonBroker})
			s.touch(c)
		}
	}
}
