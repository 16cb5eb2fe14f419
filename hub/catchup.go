package hub

import (
	"context"
	"math/rand/v2"
	"time"

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
	q := Recovery{Since: &protocol.Position{Epoch: s.epoch, Offset: c.resume}, Limit: catchUpPart}
	for _, sub := range c.subs {
		q.Filters = append(q.Filters, sub.pattern)
	}
	at := func(r Recovered) {
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
	}
	if s.hub.remote != nil {
		q.Strict = true
		s.hub.background(func(ctx context.Context) { s.catchUpFar(ctx, c, round, q, at) })
		return
	}
	if err := s.hub.broker.Recover(context.Background(), q, at); err != nil {
		c.Close(protocol.CloseInternal, "the history cannot be read")
	}
}

// catchUpRetry is how long a connection waits that cannot catch up because the history is out of reach.
const catchUpRetry = 500 * time.Millisecond

// catchUpFar is catchUp's reading where a network lies between: the shard does not wait for it. While the history is out of reach, the
// connection stays as it is; nothing that it is due is lost by that.
func (s *shard) catchUpFar(ctx context.Context, c *Conn, round uint64, q Recovery, at func(Recovered)) {
	err := s.hub.broker.Recover(ctx, q, at)
	if err == nil {
		return
	}
	wait := time.NewTimer(catchUpRetry + rand.N(catchUpRetry))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-c.ended:
	case <-ctx.Done():
	}
	s.post(letter{command: func() {
		if c.round == round {
			s.catchUp(c)
		}
	}})
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
