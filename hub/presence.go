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

	mu        sync.Mutex
	closed    bool
	attendees map[string]*attendee   // by connection
	away      map[string][]*attendee // whose connection has ended, by user, those that left first before
	names     map[string]*attendance
	patterns  map[string]*attendance
	watched   map[string]int // names that are watched, and by how many subscriptions
	leaving   []departure    // in the order in which they are due
	roster    *roster        // of the hub's other nodes; nil where there are none
	timer     *time.Timer    // for the first of leaving
}

// attendee is a connection as others know it. A user whose connection ended and who is back in time goes on as the same attendee, under
// the name of the first connection: what others were told stays true.
type attendee struct {
	id         string // the connection that it began with
	connection string // the one that it has; empty while it has none
	node       string // where it is connected; empty here
	identity   *access.Identity
	in         map[*attendance]*member
}

// attendance is who is subscribed to one name or pattern.
type attendance struct {
	pattern protocol.Pattern
	members map[*attendee]*member
}

// member is one subscription of an attendee.
type member struct {
	json []byte
	due  time.Time // of its leave, where that is held back; zero where not
}

// departure is an attendee some of whose leaves are held back.
type departure struct {
	attendee *attendee
	due      time.Time
}

func newPresence(h *Hub) *presence {
	return &presence{
		hub: h, now: time.Now, after: time.AfterFunc, attendees: make(map[string]*attendee), away: make(map[string][]*attendee),
		names: make(map[string]*attendance), patterns: make(map[string]*attendance), watched: make(map[string]int),
	}
}

func (p *presence) table(pattern protocol.Pattern) map[string]*attendance {
	if pattern.IsPattern() {
		return p.patterns
	}
	return p.names
}

// join makes a subscription a member.
func (p *presence) join(pattern protocol.Pattern, connection string, identity *access.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.attendeeLocked(connection, identity)
	p.addLocked(a, pattern, protocol.AppendMember(nil, a.id, identity.User, p.now()))
}

// addLocked makes an attendee a member, if it is none.
func (p *presence) addLocked(a *attendee, pattern protocol.Pattern, json []byte) {
	table := p.table(pattern)
	at := table[pattern.String()]
	if at == nil {
		at = &attendance{pattern: pattern, members: make(map[*attendee]*member)}
		table[pattern.String()] = at
	}
	if m := at.members[a]; m != nil {
		m.due = time.Time{} // nobody was told that the user had left
		return
	}
	m := &member{json: json}
	at.members[a], a.in[at] = m, m
	if a.node == "" {
		p.members.Add(1)
	}
	p.roster.changedLocked(true, a, at, m)
	p.tellLocked(true, a, at, m)
}

// attendeeLocked is the connection's attendee: one of its user that is away and may do the same, or a new one.
func (p *presence) attendeeLocked(connection string, identity *access.Identity) *attendee {
	a := p.attendees[connection]
	if a != nil {
		return a
	}
	sameRights := func(a *attendee) bool { return a.identity.SameRights(identity) }
	if waiting := p.away[identity.User]; slices.ContainsFunc(waiting, sameRights) {
		a = waiting[slices.IndexFunc(waiting, sameRights)]
		p.stopWaitingLocked(a)
	} else {
		a = &attendee{id: connection, identity: identity, in: make(map[*attendance]*member)}
	}
	a.connection = connection
	p.attendees[connection] = a
	return a
}

// stopWaitingLocked takes an attendee off those that are away.
func (p *presence) stopWaitingLocked(a *attendee) {
	user := a.identity.User
	waiting := slices.DeleteFunc(p.away[user], func(other *attendee) bool { return other == a })
	if p.away[user] = waiting; len(waiting) == 0 {
		delete(p.away, user)
	}
}

// leave takes a subscription off.
func (p *presence) leave(pattern protocol.Pattern, connection string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, a := p.table(pattern)[pattern.String()], p.attendees[connection]
	if at != nil && a != nil && at.members[a] != nil {
		p.removeLocked(a, at)
	}
}

// gone holds back the leaves of a connection that has ended.
func (p *presence) gone(connection string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.attendees[connection]
	if a == nil {
		return
	}
	delete(p.attendees, connection)
	a.connection = ""
	due := p.now().Add(leaveDelay)
	for _, m := range a.in {
		m.due = due
	}
	if user := a.identity.User; user != "" {
		p.away[user] = append(p.away[user], a)
	}
	p.leaving = append(p.leaving, departure{a, due})
	if len(p.leaving) > maxLeaving {
		p.departLocked()
	}
	if p.timer == nil && !p.closed {
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

// departLocked ends the first departure: of what the user did not come back to.
func (p *presence) departLocked() {
	d := p.leaving[0]
	p.leaving[0] = departure{}
	p.leaving = p.leaving[1:]
	for at, m := range d.attendee.in {
		if m.due.Equal(d.due) {
			p.removeLocked(d.attendee, at)
		}
	}
	if d.attendee.connection == "" && len(d.attendee.in) == 0 {
		p.stopWaitingLocked(d.attendee)
	}
}

func (p *presence) removeLocked(a *attendee, at *attendance) {
	m := at.members[a]
	delete(at.members, a)
	delete(a.in, at)
	if len(at.members) == 0 {
		delete(p.table(at.pattern), at.pattern.String())
	}
	if a.node == "" {
		if len(a.in) == 0 {
			delete(p.attendees, a.connection)
		}
		p.members.Add(-1)
	}
	p.roster.changedLocked(false, a, at, m)
	p.tellLocked(false, a, at, m)
}

// watch notes that a subscription to the pattern wants events, or no longer does.
func (p *presence) watch(pattern protocol.Pattern, more int) {
	p.hub.watching.Add(int64(more))
	if pattern.IsPattern() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	name := pattern.String()
	if p.watched[name] += more; p.watched[name] == 0 {
		delete(p.watched, name)
	}
}

// covered tells whether a is a member of the channel by something else than at: then what it does with at is no news there.
func (a *attendee) covered(at *attendance, name string) bool {
	for other := range a.in {
		if other != at && other.pattern.Match(name) {
			return true
		}
	}
	return false
}

// presenceEvent is a join or leave of a channel on its way to those who watch.
type presenceEvent struct {
	turn       uint64
	channel    string
	connection string // of the member, who is not told of itself
	identity   *access.Identity
	item       *flow.Item
	byName     bool // tell those who watch the channel by its name
	byPattern  bool // and those who watch it by a pattern
}

// directPresence begins the channel's name in the gap that tells of events that were lost.
const directPresence = "$presence/"

// tellLocked sends an event to all shards, under the lock so that all see the events in one order. Those who watch a channel by its name
// are told of everyone who becomes or ceases to be a member of it; those who watch by a pattern, of those who subscribe to a name: of
// others it is not known which channels they mean.
func (p *presence) tellLocked(join bool, a *attendee, at *attendance, m *member) {
	if p.closed || p.hub.watching.Load() == 0 {
		return
	}
	if !at.pattern.IsPattern() {
		name := at.pattern.String()
		p.postLocked(join, a, m, name, !a.covered(at, name), true)
		return
	}
	for name := range p.watched {
		if at.pattern.Match(name) && !a.covered(at, name) {
			p.postLocked(join, a, m, name, true, false)
		}
	}
}

func (p *presence) postLocked(join bool, a *attendee, m *member, name string, byName, byPattern bool) {
	e := &presenceEvent{
		turn: p.turn.Add(1), channel: name, connection: a.connection, identity: a.identity, byName: byName, byPattern: byPattern,
		item: &flow.Item{Bytes: frame(protocol.AppendPresenceEvent(nil, join, name, m.json)), Channel: directPresence + name},
	}
	for _, s := range p.hub.shards {
		s.post(letter{command: func() { s.announce(e) }})
	}
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
		for a, m := range at.members {
			again := slices.ContainsFunc(all[:i], func(at *attendance) bool { return at.members[a] != nil })
			if again || !rule.Allows(access.Subscribe, a.identity, channel) {
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
	rule := s.hub.Settings().RuleFor(e.channel)
	if rule == nil || !rule.Presence || !rule.Allows(access.Subscribe, e.identity, e.channel) {
		return
	}
	for _, watches := range s.watches.match(e.channel, time.Time{}) { // those by name first
		for _, sub := range watches {
			c := sub.conn
			if c.announced == e.turn {
				continue // it watches by several
			}
			c.announced = e.turn
			told := e.byName
			if sub.pattern.IsPattern() {
				told = e.byPattern
			}
			if told && c.id != e.connection && rule.Allows(access.Presence, c.Identity(), e.channel) {
				s.direct(c, e.item)
			}
		}
	}
	s.watches.done()
}

// attend brings presence in step with a subscription: whether it is a member, and whether it watches.
func (s *shard) attend(sub *subscription, member, watch bool) {
	p := s.hub.presence
	if watch != (sub.watch != nil) {
		if watch {
			sub.watch = &subscription{conn: sub.conn, pattern: sub.pattern}
			s.watches.add(sub.watch) // there is room: sub is in its twin
			p.watch(sub.pattern, 1)
		} else {
			s.watches.remove(sub.watch)
			sub.watch = nil
			p.watch(sub.pattern, -1)
		}
	}
	if member != sub.member {
		sub.member = member
		if member {
			p.join(sub.pattern, sub.conn.id, sub.conn.Identity())
		} else {
			p.leave(sub.pattern, sub.conn.id)
		}
	}
}

// attends reports whether subscriptions to a pattern that the rule contains are members of channels: of patterns it is not known
// beforehand of which. keeps is keepsPresence of the settings.
func (r *Rule) attends(p protocol.Pattern, keeps bool) bool {
	return r != nil && (r.Presence || keeps && p.IsPattern())
}

// keepsPresence reports whether any rule keeps presence.
func (s *Settings) keepsPresence() bool {
	return slices.ContainsFunc(s.Rules, func(r *Rule) bool { return r.Presence })
}
