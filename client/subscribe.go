package client

import (
	"cmp"
	"slices"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// How subscriptions come to the server, and to the server that comes after it.
//
// Of each subscription it is known up to which offset it has everything (pos). Within a connection messages with offsets come in their
// order, for all subscriptions alike, but where a `subscribe` asks for history: there the server goes back. So one mark, the largest offset
// since the last such place, says for all subscriptions how far they are, and only at such a place (recordPositionsLocked) it is written down for
// each. A message that is not behind a subscription's pos is a repetition to it, which happens where several that are not equally far are
// resumed together, and where there are more than one `subscribe` can hold.

// recordPositionsLocked writes down how far the connection's subscriptions are.
func (s *session) recordPositionsLocked() {
	for _, sub := range s.c.subs {
		if sub.live == s && sub.pos.Epoch == s.epoch {
			sub.pos.Offset = max(sub.pos.Offset, s.mark)
		}
	}
	s.mark = 0
}

// subscribing is one `subscribe` on its way.
type subscribing struct {
	request   request
	subs      []*Subscription
	confirmed map[string]*message
	refused   map[string]*Error
}

// subscribeAllLocked subscribes to everything on a new connection: what was confirmed before goes on from one place, what was not begins.
func (c *Client) subscribeAllLocked(s *session) {
	type kind struct {
		epoch    string
		presence bool
	}
	groups := make(map[kind][]*Subscription)
	var order []kind
	newest := Position{}
	for _, sub := range c.subs {
		if sub.confirmed && sub.pos.Epoch != "" && (sub.pos.Epoch != newest.Epoch || sub.pos.Offset > newest.Offset) {
			newest = sub.pos
		}
	}
	for _, sub := range slices.Clone(c.subs) {
		if !sub.confirmed {
			c.subscribeNewLocked(s, sub)
			continue
		}
		k := kind{sub.pos.Epoch, sub.options.Presence}
		if k.epoch == "" {
			k.epoch = newest.Epoch // no history: with any others, so that all is in one order
		}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], sub)
	}
	// The server goes by the last `subscribe` of a name: those with presence come last.
	slices.SortStableFunc(order, func(a, b kind) int { return cmp.Compare(asInt(a.presence), asInt(b.presence)) })
	for _, k := range order {
		since := lowest(groups[k])
		if since == nil && newest.Epoch != "" {
			since = &newest
		}
		for _, part := range chunks(groups[k], s.welcome.MaxBytes) {
			c.subscribeLocked(s, part, request{Since: since, Presence: k.presence})
		}
	}
}

func asInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lowest is the place behind which all of the subscriptions are; nil where none keeps history.
func lowest(subs []*Subscription) *Position {
	var at *Position
	for _, sub := range subs {
		if sub.pos.Epoch != "" && (at == nil || sub.pos.Offset < at.Offset) {
			at = &Position{Epoch: sub.pos.Epoch, Offset: sub.pos.Offset}
		}
	}
	return at
}

// requestRoom is what a `subscribe` takes at most besides the names.
const requestRoom = 512

// chunks are subscriptions that go into one `subscribe` each, of at most so many bytes. None is divided, so that each keeps its order.
func chunks(subs []*Subscription, maxBytes int) (parts [][]*Subscription) {
	n, size := 0, 0
	for _, sub := range subs {
		bytes := 0
		for _, p := range sub.patterns {
			bytes += 2*len(p.String()) + 3 // quoted, at worst
		}
		n, size = n+len(sub.patterns), size+bytes
		if len(parts) == 0 || n > protocol.MaxChannels || maxBytes > 0 && size+requestRoom > maxBytes {
			parts, n, size = append(parts, nil), len(sub.patterns), bytes
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], sub)
	}
	return parts
}

// subscribeNewLocked begins a subscription.
func (c *Client) subscribeNewLocked(s *session, sub *Subscription) {
	c.subscribeLocked(s, []*Subscription{sub}, request{
		Since: sub.options.Since, History: sub.options.History, Presence: sub.options.Presence,
	})
}

// resubscribePresenceLocked asks again for the presence of those channels that were just subscribed to without it, but that another subscription wants
// the presence of: the server goes by the last `subscribe`.
func (c *Client) resubscribePresenceLocked(s *session, names []string) {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !slices.ContainsFunc(c.subs, func(sub *Subscription) bool {
			return sub.options.Presence && sub.live == s && slices.Contains(sub.Channels(), name)
		})
	})
	if len(names) > 0 {
		c.postNamesLocked(s, request{Type: "subscribe", Presence: true, Channels: names}, c.resubscribePresenceLocked)
	}
}

// postNamesLocked sends a request whose answers nobody waits for, one for each of its names. Where it comes too early, again does it later.
func (c *Client) postNamesLocked(s *session, r request, again func(*session, []string)) {
	left := len(r.Channels)
	_ = s.postLocked(&r, func(m *message) bool {
		if m.Type == "error" && m.Channel == "" {
			if !retryable(m.err()) {
				return true
			}
			s.laterLocked(m.err().RetryAfter, func() { again(s, r.Channels) })
			return true
		}
		left--
		return left == 0
	})
}

func (c *Client) subscribeLocked(s *session, subs []*Subscription, r request) {
	r.Type = "subscribe"
	for _, sub := range subs {
		for _, name := range sub.Channels() {
			if !slices.Contains(r.Channels, name) {
				r.Channels = append(r.Channels, name)
			}
		}
	}
	g := &subscribing{request: r, subs: subs, confirmed: make(map[string]*message), refused: make(map[string]*Error)}
	if err := s.postLocked(&r, func(m *message) bool { return c.confirmLocked(s, g, m) }); err != nil {
		for _, sub := range subs {
			c.dropLocked(sub, err) // there is one only: it does not fit
		}
		return
	}
	if !r.Presence {
		c.resubscribePresenceLocked(s, r.Channels)
	}
}

// retryTime is how long the client waits where the server gives no time.
const retryTime = time.Second

// retryable tells whether a refusal is only of the moment.
func retryable(e *Error) bool {
	return e.RetryAfter > 0 || e.Code == protocol.RateLimited
}

// confirmLocked takes an answer to a `subscribe`. All come before the first message that it replays.
func (c *Client) confirmLocked(s *session, g *subscribing, m *message) (last bool) {
	switch {
	case m.Type == "subscription_confirmed":
		g.confirmed[m.Channel] = m
	case m.Channel != "":
		g.refused[m.Channel] = m.err()
	default:
		c.refuseLocked(s, g, m.err())
		return true
	}
	if len(g.confirmed)+len(g.refused) < len(g.request.Channels) {
		return false
	}
	if g.request.Since != nil || g.request.History > 0 {
		s.recordPositionsLocked()
	}
	subs := c.postponeLocked(s, g)
	for _, sub := range subs {
		c.confirmedLocked(s, g, sub)
	}
	return true
}

// postponeLocked asks again later for the subscriptions of which a channel was refused for the moment, and returns the others.
func (c *Client) postponeLocked(s *session, g *subscribing) (rest []*Subscription) {
	var again []*Subscription
	var wait time.Duration
	for _, sub := range g.subs {
		forGood, after := false, time.Duration(0)
		for _, name := range sub.Channels() {
			if refusal := g.refused[name]; refusal != nil && retryable(refusal) {
				after = max(after, cmp.Or(refusal.RetryAfter, retryTime))
			} else if refusal != nil {
				forGood = true
			}
		}
		if forGood || after == 0 {
			rest = append(rest, sub)
		} else {
			again, wait = append(again, sub), max(wait, after)
		}
	}
	if len(again) > 0 {
		c.subscribeLaterLocked(s, g.request, again, wait)
	}
	return rest
}

// subscribeLaterLocked repeats a `subscribe` for some of its subscriptions.
func (c *Client) subscribeLaterLocked(s *session, r request, subs []*Subscription, wait time.Duration) {
	s.laterLocked(wait, func() {
		subs := slices.DeleteFunc(subs, func(sub *Subscription) bool { return !slices.Contains(c.subs, sub) })
		if len(subs) > 0 {
			r.Channels = nil
			c.subscribeLocked(s, subs, r)
		}
	})
}

// refuseLocked is what becomes of a `subscribe` that was refused as a whole.
func (c *Client) refuseLocked(s *session, g *subscribing, refusal *Error) {
	again := retryable(refusal) || s.goingAway != nil // then the next connection will do
	for _, sub := range g.subs {
		// What once was confirmed is not given up because history could not be read at the moment.
		again = again || sub.confirmed && (refusal.Code == protocol.HistoryUnavailable || refusal.Code == protocol.Internal)
	}
	if !again {
		for _, sub := range g.subs {
			c.dropLocked(sub, refusal)
		}
		return
	}
	wait := refusal.RetryAfter
	if wait == 0 {
		wait = retryTime
	}
	c.subscribeLaterLocked(s, g.request, g.subs, wait)
}

// confirmedLocked has a subscription go live, or ends it where one of its channels was refused.
func (c *Client) confirmedLocked(s *session, g *subscribing, sub *Subscription) {
	if !slices.Contains(c.subs, sub) {
		return // closed meanwhile
	}
	var newest *message
	resumed := &Resumed{Recovered: true}
	for i, p := range sub.patterns {
		name := p.String()
		if refusal := g.refused[name]; refusal != nil {
			c.dropLocked(sub, refusal)
			return
		}
		m := g.confirmed[name]
		keeps := m.Epoch != ""
		if keeps {
			newest = m
		}
		if sub.volatile[i] = sub.volatile[i] || !keeps; sub.volatile[i] || !m.Recovered {
			resumed.Recovered = false
			resumed.Unrecovered = append(resumed.Unrecovered, name)
		}
	}
	first := !sub.confirmed
	sub.live = s
	was := sub.pos
	if first && sub.options.Since != nil {
		was = *sub.options.Since
	}
	if newest != nil {
		s.epoch = newest.Epoch
	}
	sub.pos = sub.placeLocked(s, g, was, newest, first)
	resumed.EpochChanged = was.Epoch != "" && was.Epoch != s.epoch
	resumed.Position = sub.pos
	switch {
	case !first || sub.options.Since != nil:
		sub.push(resumed, 0)
	case sub.options.History == 0:
		sub.begins(sub.pos)
	}
	switch {
	case first && sub.options.History > 0:
		c.awaitReplayLocked(s, sub, newest)
	case first:
		sub.confirmed = true
		close(sub.ready)
	}
}

// placeLocked is up to where a subscription has everything, just before what its `subscribe` replays.
func (sub *Subscription) placeLocked(s *session, g *subscribing, was Position, newest *message, first bool) Position {
	if newest == nil { // see deliverLocked
		if was.Epoch != s.epoch {
			return Position{}
		}
		return was
	}
	now := Position{Epoch: newest.Epoch, Offset: newest.Offset}
	switch {
	case first && sub.options.History > 0:
		return Position{Epoch: now.Epoch} // all that comes is news
	case g.request.Since == nil, was.Epoch != now.Epoch, was.Offset > now.Offset:
		return now // nothing is replayed
	}
	return was
}

// awaitReplayLocked asks for a pong behind a subscription's first replay. Until then nothing was promised, and where the connection is lost
// before the first message, the same is asked for again: of a connection that was lost between confirmation and replay nobody could
// say later whether there was one.
func (c *Client) awaitReplayLocked(s *session, sub *Subscription, newest *message) {
	if newest != nil {
		sub.newest = Position{Epoch: newest.Epoch, Offset: newest.Offset}
	}
	_ = s.postLocked(&request{Type: "ping"}, func(m *message) bool {
		if m.Type == "error" && retryable(m.err()) {
			s.laterLocked(m.err().RetryAfter, func() { c.awaitReplayLocked(s, sub, nil) })
			return true
		}
		sub.establishLocked()
		return true
	})
}

// establishLocked says that a subscription with History has begun.
func (sub *Subscription) establishLocked() {
	if !sub.confirmed {
		sub.confirmed = true
		close(sub.ready)
	}
}

// lostLocked notes that the connection is lost; recordPositionsLocked was called before.
func (sub *Subscription) lostLocked() {
	if sub.live == nil {
		return
	}
	sub.live = nil
	if sub.options.History > 0 && sub.pos.Epoch != "" {
		switch {
		case sub.pos.Offset > 0:
			sub.establishLocked() // the replay, or what came behind it, tells from where to go on
		case sub.confirmed:
			sub.pos = sub.newest // there was nothing to replay
		}
	}
}

// unsubscribeLocked takes channels off the server that no subscription has any more.
func (c *Client) unsubscribeLocked(s *session, names []string) {
	var gone []string
	for _, name := range names {
		if !slices.ContainsFunc(c.subs, func(sub *Subscription) bool { return slices.Contains(sub.Channels(), name) }) {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return
	}
	c.postNamesLocked(s, request{Type: "unsubscribe", Channels: gone}, c.unsubscribeLocked)
}
