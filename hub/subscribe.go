package hub

import (
	"context"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Subscribe asks for the messages of channels. Patterns and Rules go together: the rule that contains all of each pattern.
type Subscribe struct {
	ID       protocol.ID
	Patterns []protocol.Pattern
	Rules    []*Rule
	Since    *protocol.Position // replay all behind it
	Last     int                // or the newest so many; 0 none
	Presence bool               // tell of joins and leaves

	keepsPresence bool // some rule does
}

// Subscribe adds subscriptions and answers the client: a confirmation for each, then what is replayed, then live messages, with
// neither gap nor duplicate between. It returns once the shard has done so, which keeps a client's requests in their order and
// bounds what it can put into the mailbox. Only the connection's receiver may call it.
func (c *Conn) Subscribe(ctx context.Context, req Subscribe) {
	req.keepsPresence = c.hub.Settings().keepsPresence()
	if err := c.hub.want(ctx, req.Patterns); err != nil {
		c.unavailable(req, protocol.Errorf(protocol.Internal, "the subscription cannot be made now"))
		return
	}
	if req.Since == nil && req.Last <= 0 {
		if !c.shard.do(func() { c.shard.subscribe(c, req, nil) }) {
			c.hub.unwant(req.Patterns...)
		}
		c.flushAnswers()
		return
	}
	recovery := Recovery{Filters: req.Patterns, Since: req.Since, Last: req.Last}
	done := make(chan struct{})
	posted := false
	err := c.hub.broker.Recover(ctx, recovery, func(r Recovered) {
		posted = c.shard.post(letter{command: func() { c.shard.subscribe(c, req, &r); close(done) }})
	})
	if err != nil || !posted {
		c.hub.unwant(req.Patterns...)
	}
	if err != nil {
		c.unavailable(req, protocol.Errorf(protocol.HistoryUnavailable, "the history cannot be read now"))
	} else if posted {
		<-done
		c.flushAnswers()
	}
}

// unavailable refuses each subscription of a request that the broker cannot serve at the moment.
func (c *Conn) unavailable(req Subscribe, refusal *protocol.Error) {
	c.hub.stats.unreadable.Add(1)
	refusal.RetryAfter = subscribeRetry
	for _, pattern := range req.Patterns {
		c.Reply(protocol.AppendError(nil, refusal, req.ID, "", pattern.String()))
	}
}

// Unsubscribe removes subscriptions and confirms each, also those that do not exist. It returns once that is done. Only the
// connection's receiver may call it.
func (c *Conn) Unsubscribe(id protocol.ID, channels []string) {
	c.shard.do(func() { c.shard.unsubscribe(c, id, channels) })
	c.flushAnswers()
}

// subscribe takes effect at its place in the mailbox: all messages up to s.processed have been delivered before. Where something
// is to be replayed, r is what the broker found at just this place.
func (s *shard) subscribe(c *Conn, req Subscribe, r *Recovered) {
	if _, open := s.conns[c]; !open {
		s.hub.unwant(req.Patterns...)
		return
	}
	var replay []*Message
	lowest := s.processed
	if r != nil {
		replay = s.allowed(c, r.Messages)
		s.settle(c)
	}
	for i, pattern := range req.Patterns {
		sub, made := s.subscription(c, pattern, req.ID)
		if !made {
			s.hub.unwant(pattern)
		}
		if sub == nil {
			continue
		}
		sub.rule = req.Rules[i]
		done := protocol.Subscribed{ID: req.ID, Channel: pattern.String(), Now: time.Now()}
		if sub.rule.History.Keeps() {
			done.Position = &protocol.Position{Epoch: s.epoch, Offset: s.processed}
		}
		if r != nil {
			var n int
			sub.from, n = s.replayFrom(pattern, req, replay)
			lowest = min(lowest, sub.from)
			if req.Since != nil {
				// Of a channel that keeps nothing it cannot be said that nothing is missing.
				done.Recovery, done.Recovered, done.Replayed = true, r.Complete[i] && sub.rule.History.Keeps(), n
				if done.Recovered {
					s.hub.stats.recovered.Add(1)
				} else {
					s.hub.stats.unrecovered.Add(1)
				}
			}
		}
		c.pushReply(frame(protocol.AppendSubscribed(nil, done)))
		s.attend(sub, sub.rule.attends(pattern, req.keepsPresence), req.Presence)
	}
	if r == nil {
		return
	}
	c.told = nil // who asks is told, also what an earlier replay has told
	s.tellTrimmed(c, r.Trimmed, true)
	switch {
	case len(replay) == 0 && r.Through >= s.processed:
	case c.catching:
		// Its other channels wait for their history as well: all is fetched again from the lowest place.
		c.resume = min(c.resume, lowest)
		s.catchUp(c)
	default:
		s.replay(c, replay, r.Through)
	}
	if !c.catching {
		c.told = nil
	}
}

// subscription is the connection's one for the pattern, made where there is none; nil where it may have no more. made tells that it is new.
func (s *shard) subscription(c *Conn, pattern protocol.Pattern, id protocol.ID) (sub *subscription, made bool) {
	if sub := c.subs[pattern.String()]; sub != nil {
		return sub, false
	}
	if limit := s.hub.Settings().MaxSubscriptions; limit > 0 && len(c.subs) >= limit {
		refusal := protocol.Errorf(protocol.LimitExceeded, "a connection may have %d subscriptions", limit)
		c.pushReply(frame(protocol.AppendError(nil, refusal, id, "", pattern.String())))
		s.hub.stats.oversubscribed.Add(1)
		return nil, false
	}
	sub = &subscription{conn: c, pattern: pattern, from: s.processed}
	if !s.index.add(sub) {
		refusal := protocol.Errorf(protocol.LimitExceeded, "too many patterns like this one are in use: use at most two wildcards, or name more segments")
		c.pushReply(frame(protocol.AppendError(nil, refusal, id, "", pattern.String())))
		s.hub.stats.oversubscribed.Add(1)
		return nil, false
	}
	if c.subs == nil {
		c.subs = make(map[string]*subscription)
	}
	c.subs[pattern.String()] = sub
	c.joined++
	c.subCount.Store(int32(len(c.subs)))
	return sub, true
}

func (s *shard) unsubscribe(c *Conn, id protocol.ID, channels []string) {
	if _, open := s.conns[c]; !open {
		return
	}
	for _, channel := range channels {
		if sub := c.subs[channel]; sub != nil {
			s.index.remove(sub)
			s.hub.unwant(sub.pattern)
			delete(c.subs, channel)
			s.attend(sub, false, false)
		}
		c.pushReply(frame(protocol.AppendUnsubscribed(nil, channel, time.Now(), id)))
	}
	c.subCount.Store(int32(len(c.subs)))
}

// settle notes for every subscription that it has what was delivered so far, before replay from a lower place begins for others.
func (s *shard) settle(c *Conn) {
	has := s.processed
	if c.catching {
		has = c.resume
	}
	for _, sub := range c.subs {
		sub.from = max(sub.from, has)
	}
}

// allowed is the part of messages that this client may have.
func (s *shard) allowed(c *Conn, messages []*Message) []*Message {
	settings := s.hub.Settings()
	out := make([]*Message, 0, len(messages))
	for _, m := range messages {
		if rule := settings.RuleFor(m.Channel); rule != nil && rule.Allows(access.Subscribe, c.Identity(), m.Channel) {
			out = append(out, m)
		}
	}
	return out
}

// replayFrom tells how many of the messages are for the pattern, and the offset behind which its subscription is to start so that
// it gets just these.
func (s *shard) replayFrom(pattern protocol.Pattern, req Subscribe, replay []*Message) (from uint64, n int) {
	from = s.processed
	if req.Since != nil && req.Since.Epoch == s.epoch {
		from = min(from, req.Since.Offset)
	}
	last := make([]*Message, 0, max(req.Last, 0))
	for _, m := range replay {
		if pattern.Match(m.Channel) {
			n++
			last = append(last, m)
		}
	}
	if req.Since == nil && n > 0 {
		from = last[max(0, n-req.Last)].Offset - 1
	}
	return from, n
}

// tellTrimmed tells the client of channels of which something that it was due is no longer kept, once however many parts its replay
// comes in. answered says that a confirmation tells as well.
func (s *shard) tellTrimmed(c *Conn, trims []Trim, answered bool) {
	for _, t := range trims {
		if t.Channel == "" {
			s.tellForgotten(c, t.Through, answered)
			continue
		}
		if rule := s.hub.Settings().RuleFor(t.Channel); rule == nil || !rule.Allows(access.Subscribe, c.Identity(), t.Channel) {
			continue
		}
		if c.told[t.Channel] < t.Through && c.due(t.Channel, t.Through) != nil {
			if c.told == nil {
				c.told = make(map[string]uint64)
			}
			c.told[t.Channel] = t.Through
			c.pushGap(&flow.Gap{Channel: t.Channel, Reason: "history_trimmed"})
		}
	}
}

// tellForgotten is tellTrimmed for channels whose names are no longer known, which may match a pattern that c has subscribed to. A
// subscribe has told of them by recovered:false (answered); in the midst of catching up there is no such answer, and a loss that cannot
// be told ends the connection.
func (s *shard) tellForgotten(c *Conn, through uint64, answered bool) {
	if c.told == nil {
		c.told = make(map[string]uint64)
	}
	if !answered && c.told[""] < through {
		for _, sub := range c.subs {
			if sub.pattern.IsPattern() && sub.from < through {
				c.giveUp("too slow: what it lost cannot be told any more")
				return
			}
		}
	}
	c.told[""] = through
}

func (c *Conn) pushGap(gap *flow.Gap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.queue.PushGap(gap)
	}
}

// due is a subscription for which a message of the channel with this offset is still to come; nil where there is none.
func (c *Conn) due(channel string, offset uint64) *subscription {
	for _, sub := range c.subs {
		if sub.from < offset && sub.pattern.Match(channel) {
			return sub
		}
	}
	return nil
}
