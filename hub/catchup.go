package hub

import (
	"context"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Catching up is how a connection gets messages from history: after a subscribe with `since` or `history`, and when the policy
// `block` stopped feeding it. While it catches up, live messages of channels with history pass it by. It is given what its
// subscriptions are due behind c.resume, as much as its queue has room for; once the queue has drained, the next part; and once
// nothing is left up to the shard's place in the order, it is live again. Nothing is dropped on the way and no publisher waits.

// catchUpPart is how many messages are fetched at once.
const catchUpPart = 512

// block stops feeding c messages with history. resume is the offset up to which it has all.
func (s *shard) block(c *Conn, resume uint64) {
	c.catching = true
	c.resume = resume
	s.hub.stats.blocked.Add(1)
	s.starve(c)
}

// starve has c catch up as soon as its queue has drained.
func (s *shard) starve(c *Conn) {
	c.mu.Lock()
	empty := c.queue.Len() == 0
	c.starving = !empty && !c.closing
	c.mu.Unlock()
	if empty {
		s.catchUp(c)
	}
}

// catchUp fetches the next part of what c is due.
func (s *shard) catchUp(c *Conn) {
	if _, open := s.conns[c]; !open || !c.catching {
		return
	}
	c.round++
	round, joined := c.round, c.joined
	q := Recovery{Since: &protocol.Position{Epoch: s.hub.epoch, Offset: c.resume}, Limit: catchUpPart}
	for _, sub := range c.subs {
		q.Filters = append(q.Filters, sub.pattern)
	}
	err := s.hub.broker.Recover(context.Background(), q, func(r Recovered) {
		s.post(letter{command: func() {
			if _, open := s.conns[c]; !open || c.round != round {
				return
			}
			if c.joined != joined {
				// A subscription that was made meanwhile was not asked for, and what came for it live has passed c by.
				s.catchUp(c)
				return
			}
			s.tellTrimmed(c, r.Trimmed, false)
			s.replay(c, s.allowed(c, r.Messages), r.Through)
		}})
	})
	if err != nil {
		c.Close(protocol.CloseInternal, "the history cannot be read")
	}
}

// replay pushes messages, which are all that c is due up to through, as far as there is room. through is s.processed where nothing
// is left behind it.
func (s *shard) replay(c *Conn, messages []*Message, through uint64) {
	c.catching = true
	defer s.touch(c)
	for _, m := range messages {
		sub := c.due(m.Channel, m.Offset)
		if sub == nil {
			continue
		}
		if !c.fits(m) {
			c.resume = m.Offset - 1
			s.starve(c)
			return
		}
		c.push(&m.Rule.Queue, &m.Item, sub.from)
	}
	c.resume = through
	if through < s.processed {
		s.starve(c)
		return
	}
	c.catching, c.told = false, nil
}

// fits tells whether m can be pushed without anything being dropped.
func (c *Conn) fits(m *Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing || c.queue.Fits(&m.Rule.Queue, len(m.Bytes))
}
