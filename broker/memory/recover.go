package memory

import (
	"cmp"
	"context"
	"slices"
	"sort"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// A recovery must not hold up publishing, however much is kept and whatever it asks for. It copies what it needs in parts, with the lock
// held for each, and looks at it without the lock. Only what was published after the last part is looked at under the lock, where `at` has
// its one place in the order.
const (
	// copyPart is how many messages or channels are copied at once.
	copyPart = 4096
	// lastMatches is how many names may be held against filters under the lock.
	lastMatches = 512
	// lastPairs is how many pairs of a message and a filter may be looked at under the lock for the newest messages of each filter.
	lastPairs = 16_384
	// lastRounds is how often the end is tried for: where others publish in ever new channels it might always be too far away.
	lastRounds = 20
)

// Recover implements hub.Broker.
func (b *Broker) Recover(_ context.Context, q hub.Recovery, at func(hub.Recovered)) error {
	r := recovery{b: b, q: q, matched: make(map[string]bool), complete: make([]bool, len(q.Filters))}
	r.patterns = slices.ContainsFunc(q.Filters, protocol.Pattern.IsPattern)
	b.lockExpired()
	start := b.sequence
	b.mu.Unlock()
	from := start
	switch {
	case q.Since == nil:
		r.trust()
		r.findLast(start)
	case q.Since.Epoch != b.epoch || q.Since.Offset > start:
		r.unknown = true
	case r.patterns:
		from = q.Since.Offset
	default:
		r.readChannels(start)
	}
	for round := 1; ; round++ {
		from = r.read(from)
		if r.bySince() {
			r.findTrimmed()
		} else {
			r.addNewest()
		}
		if done, err := r.end(from, round >= lastRounds, at); done {
			return err
		}
	}
}

// recovery is one call of Recover.
type recovery struct {
	b        *Broker
	q        hub.Recovery
	patterns bool // not all filters are names
	unknown  bool // since is no place in this broker's order: nothing can be said

	messages []*hub.Message
	newest   [][]*hub.Message // by filter: its newest q.Last messages, in their order
	matched  map[string]bool  // whether a filter matches a channel, as far as that was looked at
	complete []bool           // by filter
	trimmed  map[string]uint64
}

func (r *recovery) bySince() bool { return r.q.Since != nil && !r.unknown }

// reads reports whether messages of the journal are asked for.
func (r *recovery) reads() bool { return r.bySince() || r.q.Since == nil && r.q.Last > 0 }

// overfull reports whether there are more messages than asked for.
func (r *recovery) overfull() bool { return r.q.Limit > 0 && len(r.messages) > r.q.Limit }

// trust takes all filters for complete, until findTrimmed knows better.
func (r *recovery) trust() {
	for i := range r.complete {
		r.complete[i] = true
	}
	r.trimmed = make(map[string]uint64)
}

// matches reports whether a filter matches the channel.
func (r *recovery) matches(name string) bool {
	matched, known := r.matched[name]
	if !known {
		matched = slices.ContainsFunc(r.q.Filters, func(p protocol.Pattern) bool { return p.Match(name) })
		r.matched[name] = matched
	}
	return matched
}

// take adds those of some entries that are asked for. It returns the offset through which it has looked.
func (r *recovery) take(entries []logged, from uint64) (through uint64) {
	for _, e := range entries {
		if r.overfull() {
			break
		}
		from = e.offset
		if e.message != nil && r.matches(e.message.Channel) {
			r.messages = append(r.messages, e.message)
		}
	}
	return from
}

// read takes messages with offsets larger than from until few are left, and returns the offset through which it has looked.
func (r *recovery) read(from uint64) uint64 {
	if !r.reads() {
		return from
	}
	part := make([]logged, 0, copyPart)
	for round := 0; !r.overfull() && (round < lastRounds || len(part) == copyPart); round++ {
		r.b.mu.Lock()
		rest := r.b.store.log.since(from)
		few := r.few(rest)
		part = append(part[:0], rest[:min(len(rest), copyPart)]...)
		r.b.mu.Unlock()
		if few {
			break
		}
		from = r.take(part, from)
	}
	return from
}

// few reports whether what is left can be looked at under the lock.
func (r *recovery) few(rest []logged) bool {
	if len(rest) > copyPart || r.q.Since == nil && len(rest)*len(r.q.Filters) > lastPairs {
		return false
	}
	unknown := 0
	for _, e := range rest {
		if e.message == nil {
			continue
		}
		if _, known := r.matched[e.message.Channel]; !known {
			if unknown += len(r.q.Filters); unknown > lastMatches {
				return false
			}
		}
	}
	return true
}

// end looks at what was published after from, unless that is too much, and calls at. It must be done where last is set.
func (r *recovery) end(from uint64, last bool, at func(hub.Recovered)) (done bool, err error) {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return true, hub.ErrClosed
	}
	rest := b.store.log.since(from)
	// What was dropped for its age, or for want of room, was perhaps dropped before it was looked at.
	lost := r.bySince() && b.store.shed > from
	if !last && (r.reads() && !r.overfull() && !r.few(rest) || lost) {
		return false, nil
	}
	if lost {
		r.findTrimmedLocked()
	}
	if r.reads() && !r.overfull() {
		r.take(rest, from)
		if r.bySince() {
			r.lookAtLocked(rest)
		}
	}
	if r.q.Since == nil {
		r.addNewest()
		r.messages = union(r.newest)
	}
	out := hub.Recovered{Messages: r.messages, Position: b.positionLocked(), Through: b.sequence, Complete: r.complete}
	if r.overfull() {
		out.Messages = r.messages[:r.q.Limit]
		out.Through = out.Messages[r.q.Limit-1].Offset
	}
	for name, through := range r.trimmed {
		out.Trimmed = append(out.Trimmed, hub.Trim{Channel: name, Through: through})
	}
	at(out)
	return true, nil
}

// lookAtLocked finds what is missing in the channels of the last messages. A channel that was trimmed by a message has that message.
func (r *recovery) lookAtLocked(rest []logged) {
	for _, e := range rest {
		if e.message == nil || !r.matches(e.message.Channel) {
			continue
		}
		if ch := r.b.store.channels[e.message.Channel]; ch != nil && ch.trimmed > r.q.Since.Offset && r.trimmed[ch.name] < ch.trimmed {
			r.missing(ch.name, ch.trimmed)
		}
	}
}

// missing notes that messages of a channel that were due are gone. The empty name is for channels that are no longer known by name.
func (r *recovery) missing(name string, through uint64) {
	due := false
	for i, p := range r.q.Filters {
		if name != "" && p.Match(name) || name == "" && p.IsPattern() {
			r.complete[i], due = false, true
		}
	}
	if due {
		r.trimmed[name] = max(r.trimmed[name], through)
	}
}

// gap is a channel of which messages are gone.
type gap struct {
	name    string
	through uint64
}

// findTrimmed finds what is due and no longer kept. It does not hold the lock for long.
func (r *recovery) findTrimmed() {
	r.trust()
	b := r.b
	b.mu.Lock()
	gaps, list := r.gapsLocked()
	b.mu.Unlock()
	for part := range slices.Chunk(list, copyPart) {
		b.mu.Lock()
		gaps = r.addTrimmed(gaps, part)
		b.mu.Unlock()
		for _, g := range gaps {
			r.missing(g.name, g.through)
		}
		gaps = gaps[:0]
	}
	for _, g := range gaps {
		r.missing(g.name, g.through)
	}
}

func (r *recovery) findTrimmedLocked() {
	r.trust()
	gaps, list := r.gapsLocked()
	for _, g := range r.addTrimmed(gaps, list) {
		r.missing(g.name, g.through)
	}
}

// gapsLocked returns the gaps of the channels that are named or forgotten, and the channels that are to be looked at beside them.
func (r *recovery) gapsLocked() (gaps []gap, list []*channel) {
	s, since := &r.b.store, r.q.Since.Offset
	if s.trimmed <= since {
		return nil, nil
	}
	for _, filter := range r.q.Filters {
		if filter.IsPattern() {
			continue
		}
		name := filter.String()
		through, gone := s.gone[name]
		switch ch := s.channels[name]; {
		case ch != nil:
			gaps = r.addTrimmed(gaps, []*channel{ch})
		case gone:
			if through > since {
				gaps = append(gaps, gap{name, through})
			}
		case s.forgotten > since: // it may have had messages that are gone, or never have existed
			gaps = append(gaps, gap{name, s.forgotten})
		}
	}
	if !r.patterns {
		return gaps, nil
	}
	for name, through := range s.gone {
		if through > since {
			gaps = append(gaps, gap{name, through})
		}
	}
	if s.forgotten > since {
		gaps = append(gaps, gap{"", s.forgotten})
	}
	return gaps, slices.Clone(s.list)
}

// addTrimmed adds the channels that have news after since of which some are gone. The lock is held.
func (r *recovery) addTrimmed(gaps []gap, list []*channel) []gap {
	since := r.q.Since.Offset
	for _, ch := range list {
		if ch.last > since && ch.trimmed > since {
			gaps = append(gaps, gap{ch.name, ch.trimmed})
		}
	}
	return gaps
}

// readChannels takes the messages of the channels that are named, up to an offset.
func (r *recovery) readChannels(through uint64) {
	for _, filter := range r.q.Filters {
		r.b.mu.Lock()
		found := after(r.b.store.messages(filter.String()), r.q.Since.Offset)
		if r.q.Limit > 0 {
			found = found[:min(len(found), r.q.Limit+1)]
		}
		r.messages = append(r.messages, found...)
		r.b.mu.Unlock()
	}
	r.messages = union([][]*hub.Message{r.messages})
	r.messages = r.messages[:len(r.messages)-len(after(r.messages, through))]
}

// union returns the messages of several lists in their order, each once.
func union(lists [][]*hub.Message) []*hub.Message {
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(x, y *hub.Message) int { return cmp.Compare(x.Offset, y.Offset) })
	return slices.Compact(all)
}

// after is the part of messages, which are in offset order, with offsets larger than since.
func after(messages []*hub.Message, since uint64) []*hub.Message {
	i := sort.Search(len(messages), func(i int) bool { return messages[i].Offset > since })
	return messages[i:]
}
