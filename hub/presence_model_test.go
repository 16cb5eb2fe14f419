package hub

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// roll is who a watcher believes to be in a channel, from the answer to `presence` and the events since.
type roll map[string]bool // by connection

type rollMember struct {
	ConnectionID string `json:"connection_id"`
	User         string `json:"user"`
}

// presenceScene drives a hub without its goroutines: shards process their mailboxes when told to.
type presenceScene struct {
	*rapid.T
	hub     *Hub
	conns   []*Conn // open ones
	now     time.Time
	made    int
	watcher *Conn
	rolls   map[string]roll
}

var presenceNames = []string{"room/1", "room/2", "secret/1", "quiet/1"}

func newPresenceScene(t *rapid.T) *presenceScene {
	parse := func(text string) protocol.Pattern { return mustPattern(failer{}, text) }
	rules := []*Rule{
		{Pattern: parse("secret/**"), Presence: true, Allow: access.Rules{Subscribe: access.Terms{"role:in", "user:eve"}, Presence: access.Terms{access.Anyone}}},
		{Pattern: parse("quiet/**"), Allow: access.Open},
		{Pattern: parse("**"), Presence: true, Allow: access.Open},
	}
	h := &Hub{}
	h.settings.Store(&Settings{Rules: rules, Fallback: &Rule{Queue: flow.Class{MaxMessages: 1 << 20, MaxBytes: 1 << 30}}})
	h.presence = newPresence(h)
	s := &presenceScene{T: t, hub: h, now: time.Unix(0, 0), rolls: make(map[string]roll)}
	h.presence.now = func() time.Time { return s.now }
	h.presence.after = func(time.Duration, func()) *time.Timer { return time.NewTimer(time.Hour) } // wait is in its place
	for range 2 {
		h.shards = append(h.shards, newShard(h))
	}
	s.watcher = s.connect("eve")
	s.watcher.shard.subscribe(s.watcher, s.request([]string{"room/1", "room/*", "**", "secret/1"}, true), nil)
	s.settle()
	for _, name := range presenceNames {
		s.rolls[name] = make(roll)
		for _, m := range s.list(name) {
			if name == "quiet/1" {
				break // nobody may ask
			}
			s.rolls[name][m.ConnectionID] = true
		}
	}
	s.take()
	return s
}

func (s *presenceScene) connect(user string) *Conn {
	shard := s.hub.shards[s.made%len(s.hub.shards)]
	s.made++
	c := &Conn{hub: s.hub, shard: shard, id: fmt.Sprint("c", s.made), writing: true}
	c.identity.Store(&access.Identity{User: user})
	shard.register(c)
	return c
}

func (s *presenceScene) request(channels []string, watch bool) Subscribe {
	req := Subscribe{Presence: watch, keepsPresence: s.hub.Settings().keepsPresence()}
	for _, channel := range channels {
		p := mustPattern(failer{}, channel)
		req.Patterns, req.Rules = append(req.Patterns, p), append(req.Rules, s.hub.Settings().RuleOf(p, protocol.NewWork(protocol.MaxWork)))
	}
	return req
}

// settle has the shards process all that was posted to them.
func (s *presenceScene) settle() {
	for _, shard := range s.hub.shards {
		letters, _ := shard.take()
		for _, l := range letters {
			l.command()
		}
		shard.dirty = shard.dirty[:0]
	}
}

// list is what the hub says.
func (s *presenceScene) list(name string) []rollMember {
	raw, count := s.hub.presence.listLocked(name, s.hub.Settings().RuleFor(name))
	members := make([]rollMember, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &members[i]); err != nil {
			s.Fatal(err)
		}
	}
	if count != len(members) {
		s.Fatalf("%d members, but a count of %d", len(members), count)
	}
	return members
}

func (s *presenceScene) open() {
	if len(s.conns) < 6 {
		c := s.connect("")
		c.identity.Store(s.identity(rapid.SampledFrom([]string{"", "", "ann", "bob"}).Draw(s.T, "user")))
		s.conns = append(s.conns, c)
	}
}

// identity is that of a user, with or without the role that opens secret/**.
func (s *presenceScene) identity(user string) *access.Identity {
	id := &access.Identity{User: user}
	if user != "" && rapid.Bool().Draw(s.T, "with the role") {
		id.Roles = []string{"in"}
	}
	return id
}

// identify makes a client another, as a token does: an anonymous one becomes a user, and a user gains or loses a role.
func (s *presenceScene) identify() {
	c := s.draw()
	user := c.Identity().User
	if user == "" {
		user = "ann"
	}
	id := s.identity(user)
	c.shard.apply(c, id, s.hub.decide(s.hub.Settings(), id, c.heldByShard()))
	for channel, sub := range c.subs {
		if rule := s.hub.Settings().RuleOf(sub.pattern, protocol.NewWork(protocol.MaxWork)); !rule.Allow.Subscribe.Allow(c.Identity()) {
			s.Fatalf("%s kept %s", c.id, channel)
		}
	}
}

func (s *presenceScene) draw() *Conn {
	if len(s.conns) == 0 {
		s.Skip("nobody is there")
	}
	return s.conns[rapid.IntRange(0, len(s.conns)-1).Draw(s.T, "connection")]
}

var presencePatterns = append([]string{"room/*", "**", "*/1"}, presenceNames...)

func (s *presenceScene) subscribe() {
	c := s.draw()
	channel := rapid.SampledFrom(presencePatterns).Draw(s.T, "channel")
	rule := s.hub.Settings().RuleOf(mustPattern(failer{}, channel), protocol.NewWork(protocol.MaxWork))
	if rule.Allow.Subscribe.Allow(c.Identity()) { // as the session checks
		c.shard.subscribe(c, s.request([]string{channel}, false), nil)
	}
}

func (s *presenceScene) unsubscribe() {
	c := s.draw()
	c.shard.unsubscribe(c, "", []string{rapid.SampledFrom(presencePatterns).Draw(s.T, "channel")})
}

func (s *presenceScene) end() {
	c := s.draw()
	c.shard.unregister(c)
	s.conns = slices.DeleteFunc(s.conns, func(other *Conn) bool { return other == c })
}

func (s *presenceScene) wait() {
	s.now = s.now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(s.T, "milliseconds")) * time.Millisecond)
	s.hub.presence.depart()
}

// take has the watcher read what it was told.
func (s *presenceScene) take() {
	for item, gap := s.watcher.queue.Pop(); item != nil || gap != nil; item, gap = s.watcher.queue.Pop() {
		var event struct {
			Type, Channel string
			Member        rollMember
		}
		if err := json.Unmarshal(payload(item.Bytes), &event); err != nil {
			s.Fatal(err)
		}
		if event.Type == "subscription_confirmed" || event.Channel == "room/2" { // that is watched by pattern only
			continue
		}
		roll := s.rolls[event.Channel]
		id, join := event.Member.ConnectionID, event.Type == "presence_join"
		if roll[id] == join {
			s.Fatalf("%+v, but it was so", event)
		}
		if delete(roll, id); join {
			roll[id] = true
		}
	}
}

// check: what a watcher was told adds up to what the hub says.
func (s *presenceScene) check() {
	s.settle()
	s.take()
	for _, name := range []string{"room/1", "secret/1"} { // those that are watched by name
		want := make(roll)
		for _, m := range s.list(name) {
			want[m.ConnectionID] = true
		}
		if !maps.Equal(s.rolls[name], want) {
			s.Fatalf("%s: a watcher believes in %v, there are %v", name, s.rolls[name], want)
		}
	}
	if len(s.rolls["quiet/1"]) > 0 {
		s.Fatalf("told of a channel without presence")
	}
}

// truth is who must be in the list: the open connections whose subscriptions match and who may.
func (s *presenceScene) truth() {
	for _, name := range presenceNames {
		rule := s.hub.Settings().RuleFor(name)
		listed := make(map[string]bool)
		for _, m := range s.list(name) {
			if listed[m.ConnectionID] {
				s.Fatalf("%s lists %s twice", name, m.ConnectionID)
			}
			listed[m.ConnectionID] = true
		}
		for _, c := range s.conns {
			in := false
			for _, sub := range c.subs {
				in = in || sub.member && sub.pattern.Match(name)
			}
			in = in && rule.Allow.Subscribe.Allow(c.Identity())
			id, back := c.id, false
			if a := s.hub.presence.attendees[c.id]; a != nil {
				id, back = a.id, a.id != c.id // what it was in before may still be held back
			}
			if rule.Presence && in != listed[id] && (!back || in) {
				s.Fatalf("%s: %s as %s (%s) is listed: %v", name, c.id, id, c.Identity().User, listed[id])
			}
		}
	}
}

func TestPresenceAgainstModel(t *testing.T) {
	rapid.Check(t, comparePresence)
}

func comparePresence(t *rapid.T) {
	s := newPresenceScene(t)
	step := func(f func()) func(*rapid.T) { return func(*rapid.T) { f() } }
	t.Repeat(map[string]func(*rapid.T){
		"open": step(s.open), "subscribe": step(s.subscribe), "and subscribe": step(s.subscribe),
		"unsubscribe": step(s.unsubscribe), "end": step(s.end), "identify": step(s.identify), "wait": step(s.wait), "check": step(s.check), "": step(s.truth),
	})
	for _, c := range s.conns {
		c.shard.unregister(c)
	}
	s.watcher.shard.unregister(s.watcher)
	s.now = s.now.Add(leaveDelay)
	s.hub.presence.depart()
	s.hub.presence.close()
	if p := s.hub.presence; p.members.Load() != 0 || len(p.names)+len(p.patterns)+len(p.leaving)+len(p.attendees)+len(p.away)+len(p.watched) != 0 || s.hub.watching.Load() != 0 {
		t.Fatalf("%d members, %d names, %d patterns, %d leaving, %d watching are left", p.members.Load(), len(p.names),
			len(p.patterns), len(p.leaving), s.hub.watching.Load())
	}
}

// TestPresenceCountsBeyondTheList: an answer names so many members, and counts all.
func TestPresenceCountsBeyondTheList(t *testing.T) {
	h := &Hub{}
	h.presence = newPresence(h)
	name := mustPattern(failer{}, "room/1")
	for i := range maxMembers + 5 {
		h.presence.join(name, fmt.Sprint(i), access.Anonymous)
	}
	members, count := h.presence.listLocked("room/1", &Rule{Presence: true, Allow: access.Open})
	if len(members) != maxMembers || count != maxMembers+5 {
		t.Errorf("%d members, a count of %d", len(members), count)
	}
}

// TestPresenceLeavesInTime: every leave that is held back is told after its delay, also one that comes when all earlier have been.
func TestPresenceLeavesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Hub{}
		h.presence = newPresence(h)
		name := mustPattern(failer{}, "room/1")
		for _, gap := range []time.Duration{0, time.Second, 10 * time.Second, leaveDelay} {
			time.Sleep(gap)
			h.presence.join(name, gap.String(), access.Anonymous)
			h.presence.gone(gap.String())
			if h.presence.members.Load() == 0 {
				t.Errorf("after %v: it left at once", gap)
			}
		}
		time.Sleep(leaveDelay - time.Nanosecond)
		synctest.Wait()
		if n := h.presence.members.Load(); n != 1 {
			t.Errorf("%d members just before the last leaves", n)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := h.presence.members.Load(); n != 0 {
			t.Errorf("%d members are left", n)
		}
		h.presence.close()
	})
}
