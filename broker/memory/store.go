package memory

import (
	"slices"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// What a kept message or channel costs beside its bytes, so that max_history bounds many small ones as well.
const (
	messageOverhead = 224
	channelOverhead = 320
)

// maxGone is how many freed channels are remembered by name.
const maxGone = 10_000

// store holds the histories. It is used under the broker's lock.
type store struct {
	channels map[string]*channel
	list     []*channel // all channels, in no order
	log      journal    // all messages
	ages     map[time.Duration]*queue
	bytes    int    // of all channels, overhead included
	trimmed  uint64 // newest offset of any channel that is no longer kept
	shed     uint64 // newest offset that was dropped for its age or for want of room

	// gone remembers of freed channels through which offset they were trimmed, so that a client that had seen all of it is not told
	// that something is missing. Beyond maxGone the oldest are only remembered together, by the largest such offset.
	gone      map[string]uint64
	goneOrder []freed // oldest first; entries of channels that came to life again since are stale
	forgotten uint64
}

// channel is a channel with history.
type channel struct {
	name        string
	at          int // in the list
	retention   hub.Retention
	messages    []*hub.Message // in offset order
	bytes       int
	published   uint64
	publishedAt time.Time
	last        uint64 // newest offset, kept or not
	trimmed     uint64 // newest offset that is no longer kept
}

func (ch *channel) describe(name string) hub.ChannelHistory {
	return hub.ChannelHistory{
		Channel: name, Published: ch.published, Messages: len(ch.messages), Bytes: ch.bytes, Last: ch.last,
		PublishedAt: ch.publishedAt,
	}
}

// freed is a channel that was freed when it was trimmed through an offset.
type freed struct {
	name    string
	through uint64
}

// queue holds what is kept for the same time, oldest first. What its channel has already dropped stays until it comes to the front.
type queue struct {
	entries []entry
	dead    int // entries that their channels no longer hold
}

// entry stands for a message. It does not hold it, so that what its channel has dropped is free at once.
type entry struct {
	channel *channel
	offset  uint64
	at      time.Time
}

func (e entry) dead() bool { return e.channel.trimmed >= e.offset }

func newStore() store {
	return store{
		channels: make(map[string]*channel),
		ages:     make(map[time.Duration]*queue),
		gone:     make(map[string]uint64),
	}
}

// last is the newest offset that the channel ever had, as far as it is remembered.
func (s *store) last(name string) uint64 {
	if ch := s.channels[name]; ch != nil {
		return ch.last
	}
	return s.gone[name]
}

func (s *store) messages(name string) []*hub.Message {
	if ch := s.channels[name]; ch != nil {
		return ch.messages
	}
	return nil
}

func cost(m *hub.Message) int { return len(m.Bytes) + messageOverhead }

// add keeps a message and trims its channel to what its rule keeps now.
func (s *store) add(m *hub.Message) {
	ch := s.channels[m.Channel]
	if ch == nil {
		ch = &channel{name: m.Channel, at: len(s.list), trimmed: s.forgotten}
		if through, ok := s.gone[m.Channel]; ok {
			ch.trimmed, ch.last = through, through
			delete(s.gone, m.Channel)
		}
		s.channels[m.Channel] = ch
		s.list = append(s.list, ch)
		s.bytes += channelOverhead + len(m.Channel)
	}
	ch.retention = m.Rule.History
	ch.messages = append(ch.messages, m)
	s.log.add(m)
	ch.bytes += len(m.Bytes)
	ch.published++
	ch.publishedAt, ch.last = m.Time, m.Offset
	s.bytes += cost(m)
	q := s.ages[ch.retention.Age]
	if q == nil {
		q = &queue{}
		s.ages[ch.retention.Age] = q
	}
	q.entries = append(q.entries, entry{ch, m.Offset, m.Time})
	for len(ch.messages) > ch.retention.Messages {
		s.drop(ch)
		q.dead++
	}
	q.compact()
}

// drop removes the oldest message of a channel, which must have one, and frees the channel with its last.
func (s *store) drop(ch *channel) {
	m := ch.messages[0]
	ch.messages[0] = nil
	ch.messages = ch.messages[1:]
	ch.bytes -= len(m.Bytes)
	ch.trimmed = m.Offset
	s.trimmed = max(s.trimmed, m.Offset)
	s.log.drop(m.Offset)
	s.bytes -= cost(m)
	if len(ch.messages) == 0 {
		s.free(m.Channel, ch)
	}
}

func (s *store) free(name string, ch *channel) {
	delete(s.channels, name)
	last := len(s.list) - 1
	s.list[ch.at], s.list[last].at = s.list[last], ch.at
	s.list[last] = nil
	s.list = s.list[:last]
	s.bytes -= channelOverhead + len(name)
	s.gone[name] = ch.trimmed
	s.goneOrder = append(s.goneOrder, freed{name, ch.trimmed})
	for len(s.gone) > maxGone {
		oldest := s.goneOrder[0]
		s.goneOrder[0] = freed{}
		s.goneOrder = s.goneOrder[1:]
		if !s.stale(oldest) {
			s.forgotten = max(s.forgotten, oldest.through)
			delete(s.gone, oldest.name)
		}
	}
	if len(s.goneOrder) > 2*maxGone {
		s.goneOrder = slices.DeleteFunc(s.goneOrder, s.stale)
	}
}

func (s *store) stale(f freed) bool { return s.gone[f.name] != f.through }

// front removes dead entries from the front of q and gives the first that lives.
func (q *queue) front() (entry, bool) {
	for len(q.entries) > 0 {
		e := q.entries[0]
		if !e.dead() {
			return e, true
		}
		q.pop()
		q.dead = max(0, q.dead-1)
	}
	return entry{}, false
}

func (q *queue) pop() {
	q.entries[0] = entry{}
	q.entries = q.entries[1:]
}

// compact drops the dead once they are most of the queue, so that busy channels with short histories do not fill it.
func (q *queue) compact() {
	if q.dead < 1024 || q.dead < len(q.entries)/2 {
		return
	}
	q.entries = slices.DeleteFunc(q.entries, entry.dead)
	q.dead = 0
}

// expire frees what has grown too old, at most so many messages at once. It reports whether that was all.
func (s *store) expire(now time.Time, most int) (all bool) {
	for age, q := range s.ages {
		if age > 0 {
			for e, ok := q.front(); ok && now.Sub(e.at) >= age; e, ok = q.front() {
				if most--; most < 0 {
					return false
				}
				s.dropThrough(e)
				q.pop()
			}
		}
		if len(q.entries) == 0 {
			delete(s.ages, age)
		}
	}
	return true
}

// shrink drops the oldest messages of all until at most limit bytes are kept.
func (s *store) shrink(limit int) {
	for s.bytes > limit && len(s.channels) > 0 {
		var oldest *queue
		var at entry
		for _, q := range s.ages {
			if e, ok := q.front(); ok && (oldest == nil || e.offset < at.offset) {
				oldest, at = q, e
			}
		}
		if oldest == nil {
			return
		}
		s.dropThrough(at)
		oldest.pop()
	}
}

// dropThrough drops a message and what its channel has before it. Where a reload changed the channel's age its older messages lie in
// another queue; in each the channel's own order holds.
func (s *store) dropThrough(e entry) {
	s.shed = max(s.shed, e.offset)
	for !e.dead() {
		s.drop(e.channel)
	}
}
