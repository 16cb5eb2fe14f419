package hub

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// leaveDelay is how long the leave of a member is held back whose connection ended: a user who is back by then, on a connection
// of the same name or another, neither left nor joined. Without it a network that fails for a moment would tell everyone of everyone
// twice.
const leaveDelay = 3 * time.Second

// Bounds of presence. Beyond maxLeaving leaves are told at once, oldest first; beyond maxMembers an answer only counts.
const (
	maxLeaving = 100_000
	maxMembers = 10_000
)

// presence knows who is subscribed to channels whose rule keeps presence. It has one lock, which subscribing takes and delivery does
// not. Members are kept by what they subscribed to: the members of a channel are those of its name and of all patterns that match it.
type presence struct {
	hub     *Hub
	now     func() time.Time                            // time.Now, but in tests
	after   func(d time.Duration, f func()) *time.Timer // time.AfterFunc, but in tests
	members atomic.Int64
	turn    atomic.Uint64 // numbers events

	mu       sync.Mutex
	closed   bool
	names    map[string]*attendance
	patterns map[string]*attendance
	leaving  []departure // in the order in which they are due
	timer    *time.Timer // for the first of leaving
}

// attendance is who is subscribed to one name or pattern.
type attendance struct {
	pattern protocol.Pattern
	members map[string]*member   // by connection, those included whose leave is held back
	away    map[string][]*member // those whose leave is held back, by user
}

// member is one subscription of a connection.
type member struct {
	connection string
	identity   access.Identity
	since      time.Time
	json       []byte
	away       bool
}

// departure is a leave that is held back.
type departure struct {
	at     *attendance
	member *member
	others []protocol.Pattern
	due    time.Time
}

// attending is the part of a connection that presence needs, as it is when its subscriptions change.
type attending struct {
	connection string
	identity   access.Identity
	others     []protocol.Pattern // its other subscriptions: what they match as well is no news
}

func newPresence(h *Hub) *presence {
	return &presence{hub: h, now: time.Now, after: time.AfterFunc, names: make(map[string]*attendance), patterns: make(map[string]*attendance)}
}

func (p *presence) table(pattern protocol.Pattern) map[string]*attendance {
	if pattern.IsPattern() {
		return p.patterns
	}
	return p.names
}

func newMember(a attending, since time.Time) *member {
	return &member{
		connection: a.connection, identity: a.identity, since: since,
		json: protocol.AppendMember(nil, a.connection, a.identity.User, since),
	}
}

// join makes a subscription a member.
func (p *presence) join(pattern protocol.Pattern, a attending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	table := p.table(pattern)
	at := table[pattern.String()]
	if at == nil {
		at = &attendance{pattern: pattern, members: make(map[string]*member)}
		table[pattern.String()] = at
	}
	if back := at.back(a.identity.User); back != nil {
		// Nobody was told that the user had left.
		delete(at.members, back.connection)
		at.members[a.connection] = newMember(a, back.since)
		return
	}
	m := newMember(a, p.now())
	at.members[m.connection] = m
	p.members.Add(1)
	p.tellLocked(true, at, m, a.others)
}

// back takes a member of the user whose leave is held back, nil where there is none.
func (at *attendance) back(user string) *member {
	held := at.away[user]
	if len(held) == 0 {
		return nil
	}
	m := held[0]
	m.away = false
	if at.away[user] = held[1:]; len(held) == 1 {
		delete(at.away, user)
	}
	return m
}

// leave takes a subscription off; hold says that its connection ended and may come back.
func (p *presence) leave(pattern protocol.Pattern, a attending, hold bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.table(pattern)[pattern.String()]
	if at == nil || at.members[a.connection] == nil {
		return
	}
	m := at.members[a.connection]
	if !hold || p.closed {
		p.removeLocked(at, m, a.others)
		return
	}
	m.away = true
	if user := a.identity.User; user != "" {
		if at.away == nil {
			at.away = make(map[string][]*member)
		}
		at.away[user] = append(at.away[user], m)
	}
	p.leaving = append(p.leaving, departure{at, m, a.others, p.now().Add(leaveDelay)})
	if len(p.leaving) > maxLeaving {
		p.departLocked()
	}
	if p.timer == nil {
		p.timer = p.after(leaveDelay, p.depart)
	}
}

// depart tells of the leaves that were held back long enough.
func (p *presence) depart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	now := p.now()
	for len(p.leaving) > 0 && !p.leaving[0].due.After(now) {
		p.departLocked()
	}
	p.timer = nil
	if len(p.leaving) > 0 {
		p.timer = p.after(p.leaving[0].due.Sub(now), p.depart)
	}
}

// departLocked ends the first departure.
func (p *presence) departLocked() {
	d := p.leaving[0]
	p.leaving[0] = departure{}
	p.leaving = p.leaving[1:]
	if d.member.away {
		d.at.back(d.member.identity.User) // the oldest of the user's, which is this one
		p.removeLocked(d.at, d.member, d.others)
	}
}

func (p *presence) removeLocked(at *attendance, m *member, others []protocol.Pattern) {
	delete(at.members, m.connection)
	if len(at.members) == 0 {
		delete(p.table(at.pattern), at.pattern.String())
	}
	p.members.Add(-1)
	p.tellLocked(false, at, m, others)
}

// presenceEvent is a join or leave on its way to those who watch.
type presenceEvent struct {
	turn    uint64
	join    bool
	pattern protocol.Pattern // what was subscribed to
	member  *member
	others  []protocol.Pattern
	item    *flow.Item // for the channel, where pattern is a name
	covered bool       // and another of the member's subscriptions matches that name
}

// directPresence begins the channel's name in the gap that tells of events that were lost.
const directPresence = "$presence/"

func (e *presenceEvent) itemFor(channel string) *flow.Item {
	return &flow.Item{Bytes: frame(protocol.AppendPresenceEvent(nil, e.join, channel, e.member.json)), Channel: directPresence + channel}
}

// tellLocked sends an event to all shards, under the lock so that all see the events in one order.
func (p *presence) tellLocked(join bool, at *attendance, m *member, others []protocol.Pattern) {
	if p.closed || p.hub.watching.Load() == 0 {
		return
	}
	e := &presenceEvent{turn: p.turn.Add(1), join: join, pattern: at.pattern, member: m, others: others}
	if !at.pattern.IsPattern() {
		e.covered = matchAny(others, at.pattern.String())
		e.item = e.itemFor(at.pattern.String())
	}
	for _, s := range p.hub.shards {
		s.post(letter{command: func() { s.announce(e) }})
	}
}

func matchAny(patterns []protocol.Pattern, name string) bool {
	for _, p := range patterns {
		if p.Match(name) {
			return true
		}
	}
	return false
}

// list gives the members of a channel, at most maxMembers, and how many there are. Whoever the channel's rule does not let subscribe
// is not a member, whatever pattern it subscribed to.
func (p *presence) listLocked(channel string, rule *Rule) (members [][]byte, count int) {
	var all []*attendance
	if at := p.names[channel]; at != nil {
		all = append(all, at)
	}
	for _, at := range p.patterns {
		if at.pattern.Match(channel) {
			all = append(all, at)
		}
	}
	for i, at := range all {
		for connection, m := range at.members {
			again := slices.ContainsFunc(all[:i], func(at *attendance) bool { return at.members[connection] != nil })
			if again || !rule.Allow.Subscribe.Allow(m.identity) {
				continue
			}
			if count++; count <= maxMembers {
				members = append(members, m.json)
			}
		}
	}
	return members, count
}

// close ends the telling.
func (p *presence) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

// Presence answers a client with the members of a channel whose rule keeps presence. The answer has its place among the events. Only
// the connection's receiver may call it.
func (c *Conn) Presence(id protocol.ID, channel string, rule *Rule) {
	p := c.hub.presence
	p.mu.Lock()
	members, count := p.listLocked(channel, rule)
	answered := make(chan struct{})
	posted := c.shard.post(letter{command: func() {
		c.pushReply(frame(protocol.AppendPresence(nil, id, channel, members, count)))
		close(answered)
	}})
	p.mu.Unlock()
	if posted {
		<-answered
		c.flushAnswers()
	}
}

// announce tells those of the shard's connections that watch.
func (s *shard) announce(e *presenceEvent) {
	settings := s.hub.Settings()
	if e.item != nil {
		name := e.pattern.String()
		rule := settings.RuleFor(name)
		for _, watches := range s.watches.match(name, e.member.since) { // those by name first
			s.announceTo(watches, rule, e, e.item)
		}
		s.watches.done()
		return
	}
	// A subscription by pattern is told to those who watch one of its channels by name, and only to them: for others it is none of a
	// channel they could know of.
	for name, t := range s.watches.exact {
		if e.pattern.Match(name) && !matchAny(e.others, name) {
			s.announceTo(t.subs, settings.RuleFor(name), e, e.itemFor(name))
		}
	}
}

func (s *shard) announceTo(watches list, rule *Rule, e *presenceEvent, item *flow.Item) {
	if rule == nil || !rule.Presence || !rule.Allow.Subscribe.Allow(e.member.identity) {
		return
	}
	for _, sub := range watches {
		c := sub.conn
		if c.id == e.member.connection || !rule.Allow.Presence.Allow(c.identity) {
			continue
		}
		if e.item != nil {
			// It may watch by several patterns.
			if c.announced == e.turn {
				continue
			}
			c.announced = e.turn
			if e.covered && !sub.pattern.IsPattern() {
				continue
			}
		}
		s.direct(c, item)
	}
}

// attend brings presence in step with a subscription: whether it is a member, and whether it watches. hold says that its connection
// ended.
func (s *shard) attend(sub *subscription, member, watch, hold bool) {
	if watch != (sub.watch != nil) {
		if watch {
			sub.watch = &subscription{conn: sub.conn, pattern: sub.pattern}
			s.watches.add(sub.watch)
			s.hub.watching.Add(1)
		} else {
			s.watches.remove(sub.watch)
			sub.watch = nil
			s.hub.watching.Add(-1)
		}
	}
	if member == sub.member {
		return
	}
	sub.member = member
	c := sub.conn
	a := attending{connection: c.id, identity: c.identity}
	for _, other := range c.subs {
		if other != sub && other.member {
			a.others = append(a.others, other.pattern)
		}
	}
	if member {
		s.hub.presence.join(sub.pattern, a)
	} else {
		s.hub.presence.leave(sub.pattern, a, hold)
	}
}

// attends tells whether subscriptions to a pattern are members of channels: of patterns it is not known beforehand of which.
func (s *Settings) attends(p protocol.Pattern) bool {
	if !p.IsPattern() {
		rule := s.RuleFor(p.String())
		return rule != nil && rule.Presence
	}
	for _, rule := range s.Rules {
		if rule.Presence {
			return true
		}
	}
	return false
}

// reattend follows a change of the configuration.
func (s *shard) reattend() {
	settings := s.hub.Settings()
	for c := range s.conns {
		for _, sub := range c.subs {
			s.attend(sub, settings.attends(sub.pattern), sub.watch != nil, false)
		}
	}
}
