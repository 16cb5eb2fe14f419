package hub

import (
	"runtime"
	"slices"
	"sync"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Rights are decided where the client's requests are handled, never on a shard: what it costs to hold a pattern against the rules is
// the client's choice. A shard takes the verdicts, compares pointers and changes its tables. Where something changes in between, what
// was decided too early is decided again.

// Denial is why a client may not subscribe to a channel.
type Denial uint8

// The denials.
const (
	Granted        Denial = iota
	DeniedChannel         // no rule allows it
	DeniedPresence        // the channel is allowed, but not to be told of who is there
	DeniedWork            // it would take too much work to find out
)

// MaySubscribe decides whether a client may subscribe to all channels of a pattern, and with presence be told of who is there. The rule is
// the one that contains the pattern; nil where none does.
func (s *Settings) MaySubscribe(id *access.Identity, p protocol.Pattern, presence bool, work *protocol.Work) (*Rule, Denial) {
	rule := s.RuleOf(p, work)
	return rule, rule.denies(id, p, presence, work)
}

func (r *Rule) denies(id *access.Identity, p protocol.Pattern, presence bool, work *protocol.Work) Denial {
	denial := Granted
	switch {
	case r == nil || !r.AllowsAll(access.Subscribe, id, p, work):
		denial = DeniedChannel
	case presence && (!r.Presence || !r.AllowsAll(access.Presence, id, p, work)):
		denial = DeniedPresence
	}
	if denial != Granted && work.Exhausted() {
		return DeniedWork
	}
	return denial
}

// held is a subscription as it was when its connection's were listed.
type held struct {
	sub   *subscription
	rule  *Rule
	watch bool
}

// verdict is what is to become of a subscription.
type verdict struct {
	sub    *subscription
	rule   *Rule
	watch  bool // it was to be told of who is there
	member bool // presence counts it
	denial Denial
}

// workEach is how many steps each subscription adds to protocol.MaxWork when all of a connection's are decided again: they were asked for
// in many messages.
const workEach = 100

// decide decides what of a client's subscriptions settings still allow. It must not run on a shard.
func (h *Hub) decide(s *Settings, id *access.Identity, subs []held) []verdict {
	if h.onDecide != nil {
		h.onDecide()
	}
	work := protocol.NewWork(protocol.MaxWork + workEach*len(subs))
	keeps := s.keepsPresence()
	verdicts := make([]verdict, len(subs))
	for i, at := range subs {
		p, rule := at.sub.pattern, at.rule
		if !s.has(rule) {
			rule = s.RuleOf(p, work)
		}
		verdicts[i] = verdict{at.sub, rule, at.watch, rule.attends(p, keeps), rule.denies(id, p, at.watch, work)}
	}
	return verdicts
}

// has reports whether a rule is one of these settings.
func (s *Settings) has(rule *Rule) bool {
	return rule != nil && (rule == s.Fallback && len(s.Rules) == 0 || slices.Contains(s.Rules, rule))
}

// held lists the connection's subscriptions.
func (c *Conn) held() (subs []held) {
	c.shard.do(func() { subs = c.heldByShard() })
	return subs
}

func (c *Conn) heldByShard() []held {
	subs := make([]held, 0, len(c.subs))
	for _, sub := range c.subs {
		subs = append(subs, held{sub, sub.rule, sub.watch != nil})
	}
	return subs
}

// decideAgain holds the client's subscriptions against settings and makes it id, which may be who it is. It returns once that is so.
// It must run under the connection's executor.
func (c *Conn) decideAgain(settings *Settings, id *access.Identity) {
	subs := c.held()
	for {
		verdicts := c.hub.decide(settings, id, subs)
		c.shard.do(func() { subs = c.shard.apply(c, id, verdicts) })
		if len(subs) == 0 {
			return
		}
	}
}

// apply takes effect at its place in the mailbox: what was delivered before was the old identity's. It returns the subscriptions that were
// made or changed after they were listed: until they are decided, each message for them is held against the rules by itself.
func (s *shard) apply(c *Conn, id *access.Identity, verdicts []verdict) (undecided []held) {
	if _, open := s.conns[c]; !open {
		return nil
	}
	if !c.Identity().SameRights(id) {
		// Others are told of the leave and the join as whom the client was and is.
		for _, sub := range c.subs {
			s.attend(sub, false, sub.watch != nil)
		}
		s.hub.presence.part(c.id)
	}
	if c.Identity() != id {
		c.identity.Store(id)
		c.setDeadline()
	}
	decided := verdicts[:0]
	for _, v := range verdicts {
		switch {
		case c.subs[v.sub.pattern.String()] != v.sub || v.sub.watch != nil && !v.watch:
		case v.denial != Granted:
			s.revoke(c, v.sub, v.denial)
		default:
			v.sub.rule = v.rule
			s.attend(v.sub, v.member, v.sub.watch != nil)
			decided = append(decided, v)
		}
	}
	if len(decided) < len(c.subs) {
		undecided = c.leaveUndecided(decided)
	}
	c.subCount.Store(int32(len(c.subs)))
	s.touch(c)
	return undecided
}

// leaveUndecided lists the subscriptions that are not among those decided, and takes their rules.
func (c *Conn) leaveUndecided(decided []verdict) (undecided []held) {
	known := make(map[*subscription]struct{}, len(decided))
	for _, v := range decided {
		known[v.sub] = struct{}{}
	}
	for _, sub := range c.subs {
		if _, ok := known[sub]; !ok {
			sub.rule = nil
			undecided = append(undecided, held{sub, nil, sub.watch != nil})
		}
	}
	return undecided
}

// revoke ends a subscription that is no longer allowed, and tells the client.
func (s *shard) revoke(c *Conn, sub *subscription, denial Denial) {
	channel := sub.pattern.String()
	s.index.remove(sub)
	s.hub.unwant(sub.pattern)
	delete(c.subs, channel)
	s.attend(sub, false, false)
	refusal := protocol.Errorf(protocol.Forbidden, "this channel is no longer open to you")
	if denial == DeniedWork {
		refusal = protocol.Errorf(protocol.LimitExceeded, "this pattern takes too much work to check")
	}
	c.pushReply(frame(protocol.AppendError(nil, refusal, "", "", channel)))
	s.hub.stats.revoked.Add(1)
}

// A Reconfigurer is a Receiver that takes over a new configuration.
type Reconfigurer interface {
	// Reconfigure is called after Hub.Configure, in the order of the client's requests.
	Reconfigure()
}

// review has all connections hold what they have against the settings in force. It does not wait for that. A call while an earlier one is
// at work has it begin again once it is done.
func (h *Hub) review() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.reviewAgain {
		return
	}
	if h.reviewing {
		h.reviewAgain = true
		return
	}
	h.reviewing = true
	h.work.Go(func() {
		for again := true; again; {
			h.reviewAll()
			h.mu.Lock()
			again = h.reviewAgain
			h.reviewAgain, h.reviewing = false, again
			h.mu.Unlock()
		}
	})
}

// reviewAll reviews the connections, few at a time: it must leave the shards their share of the CPUs.
func (h *Hub) reviewAll() {
	conns := make(chan *Conn)
	var workers sync.WaitGroup
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		workers.Go(func() {
			for c := range conns {
				if !c.reviewing.Swap(true) {
					c.Do(c.review)
				}
			}
		})
	}
	for _, c := range h.Connections() {
		if h.life.Err() != nil {
			break
		}
		conns <- c
	}
	close(conns)
	workers.Wait()
}

// review runs under the connection's executor.
func (c *Conn) review() {
	c.reviewing.Store(false)
	if c.subCount.Load() > 0 {
		c.decideAgain(c.hub.Settings(), c.Identity())
	}
	if r, ok := c.receiver.(Reconfigurer); ok {
		r.Reconfigure()
	}
}
