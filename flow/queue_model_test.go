package flow

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// waiting is an entry of the naive queue.
type waiting struct {
	stamp    int
	class    *Class // nil of gaps and replies
	item     *Item
	gap      *Gap
	missing  []*Item // what a gap of the queue's own stands for
	promised bool    // a gap has named it as the next to come
}

// naive is the queue as a slice that every question goes through from the start.
type naive struct {
	entries    []waiting
	counts     Counts
	losses     map[string]uint64 // by policy and reason
	conflating map[*Class]bool
}

func (m *naive) usage(class *Class) (messages, bytes int) {
	for _, e := range m.entries {
		if e.class == class {
			messages++
			bytes += len(e.item.Bytes)
		}
	}
	return messages, bytes
}

func (m *naive) fits(class *Class, size int) bool {
	messages, bytes := m.usage(class)
	return messages == 0 || messages < class.MaxMessages && bytes+size <= class.MaxBytes
}

// oldest is the first message of the class that may be dropped; -1 where there is none.
func (m *naive) oldest(class *Class) int {
	for i, e := range m.entries {
		if e.class == class && !e.promised {
			return i
		}
	}
	return -1
}

// gapOf is the last gap of the queue's own that waits for the channel; -1 where there is none.
func (m *naive) gapOf(channel string) int {
	for i := len(m.entries) - 1; i >= 0; i-- {
		if g := m.entries[i].gap; g != nil && g.Channel == channel && m.entries[i].missing != nil {
			return i
		}
	}
	return -1
}

// next is the message of the channel that comes first from entry i on, -1 where there is none, and whether a gap comes before.
func (m *naive) next(i int, channel string) (message int, direct bool) {
	direct = true
	for ; i < len(m.entries); i++ {
		switch e := m.entries[i]; {
		case e.gap != nil && e.gap.Channel == channel:
			direct = false
		case e.class != nil && e.item.Channel == channel:
			return i, direct
		}
	}
	return -1, direct
}

func (m *naive) gap(class *Class, stamp int, item *Item, reason string) waiting {
	return waiting{stamp: stamp, missing: []*Item{item}, gap: &Gap{Channel: item.Channel, Reason: reason, Recoverable: class.History}}
}

func (m *naive) drop(class *Class, reason string) {
	m.counts.Dropped++
	if m.losses == nil {
		m.losses = make(map[string]uint64)
	}
	m.losses[class.Policy.String()+" "+reason]++
}

// lose drops the waiting message i.
func (m *naive) lose(i int, reason string) {
	if reason == "conflated" {
		m.counts.Conflated++
	} else {
		m.drop(m.entries[i].class, reason)
	}
	lost := m.entries[i]
	if g := m.gapOf(lost.item.Channel); g >= 0 {
		m.entries[g].missing = append(m.entries[g].missing, lost.item)
		m.entries = append(m.entries[:i], m.entries[i+1:]...)
		return
	}
	m.entries[i] = m.gap(lost.class, lost.stamp, lost.item, reason)
}

// newest is the last message of the class and channel that may be dropped; -1 where there is none.
func (m *naive) newest(class *Class, channel string) int {
	for i := len(m.entries) - 1; i >= 0; i-- {
		if e := m.entries[i]; e.class == class && e.item.Channel == channel && !e.promised {
			return i
		}
	}
	return -1
}

// replace drops what waits of the channel while the class conflates.
func (m *naive) replace(class *Class, channel string) {
	if i := m.newest(class, channel); m.conflating[class] && i >= 0 {
		m.lose(i, "conflated")
	}
}

// conflate leaves of each channel of the class the newest message.
func (m *naive) conflate(class *Class) {
	for i := 0; !m.conflating[class] && i < len(m.entries); i++ {
		if e := m.entries[i]; e.class == class && !e.promised && m.newest(class, e.item.Channel) != i {
			m.lose(i, "conflated")
			i = -1 // from the start again
		}
	}
	m.conflating[class] = true
}

// refuse drops a message that does not get in.
func (m *naive) refuse(class *Class, stamp int, item *Item) {
	m.counts.Offered++
	reason := class.Policy
	if reason == Conflate {
		reason = DropNewest
	}
	m.drop(class, reason.String())
	if g := m.gapOf(item.Channel); g >= 0 {
		if next, _ := m.next(g, item.Channel); next < 0 {
			m.entries[g].missing = append(m.entries[g].missing, item)
			return
		}
	}
	m.entries = append(m.entries, m.gap(class, stamp, item, reason.String()))
}

func (m *naive) push(class *Class, stamp int, item *Item) Verdict {
	m.replace(class, item.Channel)
	if !m.fits(class, len(item.Bytes)) {
		oldest := func(reason string) {
			for i := m.oldest(class); i >= 0 && !m.fits(class, len(item.Bytes)); i = m.oldest(class) {
				m.lose(i, reason)
			}
		}
		switch class.Policy {
		case Block:
			return Blocked
		case Disconnect:
			m.counts.Offered++
			m.drop(class, "disconnect")
			return Overflow
		case DropOldest:
			oldest("drop_oldest")
		case DropAll:
			for i := m.oldest(class); i >= 0; i = m.oldest(class) {
				m.lose(i, "drop_all")
			}
		case Conflate:
			m.conflate(class)
			m.replace(class, item.Channel)
			oldest("drop_oldest")
		}
		if !m.fits(class, len(item.Bytes)) {
			m.refuse(class, stamp, item)
			return Dropped
		}
	}
	m.counts.Offered++
	m.entries = append(m.entries, waiting{stamp: stamp, class: class, item: item})
	return Queued
}

func (m *naive) pop() (waiting, bool) {
	if len(m.entries) == 0 {
		return waiting{}, false
	}
	first := m.entries[0]
	m.entries = m.entries[1:]
	if first.class != nil {
		if messages, _ := m.usage(first.class); messages == 0 {
			m.conflating[first.class] = false
		}
	}
	if first.gap != nil {
		if i, direct := m.next(0, first.gap.Channel); i >= 0 && direct && m.entries[i].item.Offset > 0 {
			first.gap.Before = m.entries[i].item.Offset
			m.entries[i].promised = true
		}
		first.gap.Dropped = uint64(len(first.missing))
	}
	return first, true
}

// source is a channel that messages come from.
type source struct {
	name  string
	class *Class
	from  uint64 // offset behind which the client has subscribed
	last  uint64 // newest offset

	pushed  []*Item // and due
	settled int     // how many of pushed have been delivered or told of
	seen    uint64  // newest offset that the client has got
	next    uint64  // that a gap has promised; 0 for none
	foreign bool    // gaps from elsewhere were pushed: what stands before later ones need not be known
}

// scene runs a queue and the naive one side by side, and plays a client that holds every promise of the protocol.
type scene struct {
	*rapid.T
	queue   Queue
	model   naive
	classes []*Class
	sources []*source
	offset  uint64
	stamp   int
	taken   int // stamp of what was taken last
	replies int // bytes
	got     uint64
}

func drawScene(t *rapid.T) *scene {
	s := &scene{T: t, offset: 100, model: naive{conflating: make(map[*Class]bool)}}
	for i := range rapid.IntRange(1, 3).Draw(t, "classes") {
		s.classes = append(s.classes, &Class{
			MaxMessages: rapid.IntRange(1, 5).Draw(t, fmt.Sprint("messages of ", i)),
			MaxBytes:    rapid.SampledFrom([]int{8, 20, 1000}).Draw(t, fmt.Sprint("bytes of ", i)),
			Policy:      Policy(rapid.IntRange(int(DropOldest), int(Conflate)).Draw(t, fmt.Sprint("policy of ", i))),
			History:     rapid.Bool().Draw(t, fmt.Sprint("history of ", i)),
		})
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "channels") {
		src := &source{name: fmt.Sprint("channel ", i), class: rapid.SampledFrom(s.classes).Draw(t, fmt.Sprint("class of channel ", i))}
		if src.class.History {
			// Some channels had messages before: the client has got them, or it subscribed later.
			src.last = rapid.SampledFrom([]uint64{0, 10, 20}).Draw(t, fmt.Sprint("last of channel ", i))
			src.from = rapid.SampledFrom([]uint64{0, 15, 20, 90}).Draw(t, fmt.Sprint("from of channel ", i))
			if src.last > src.from {
				src.seen = src.last
			}
		}
		s.sources = append(s.sources, src)
	}
	return s
}

func (s *scene) push() {
	src := rapid.SampledFrom(s.sources).Draw(s.T, "channel")
	item := &Item{Channel: src.name, Bytes: make([]byte, rapid.IntRange(1, 12).Draw(s.T, "size"))}
	if src.class.History {
		s.offset++
		item.Offset, item.Prev = s.offset, src.last
	}
	s.stamp++
	if fits := s.queue.Fits(src.class, len(item.Bytes)); fits != s.model.fits(src.class, len(item.Bytes)) {
		s.Fatalf("fits is %v", fits)
	}
	got, want := s.queue.Push(src.class, item, src.from), s.model.push(src.class, s.stamp, item)
	if got != want {
		s.Fatalf("verdict %v, want %v", got, want)
	}
	if got == Queued || got == Dropped {
		src.last = item.Offset
		src.pushed = append(src.pushed, item)
	}
}

func (s *scene) reply() {
	item := &Item{Bytes: make([]byte, rapid.IntRange(0, 9).Draw(s.T, "size"))}
	s.stamp++
	s.queue.PushReply(item)
	s.model.entries = append(s.model.entries, waiting{stamp: s.stamp, item: item})
	s.replies += len(item.Bytes)
}

func (s *scene) foreignGap() {
	src := rapid.SampledFrom(s.sources).Draw(s.T, "channel")
	src.foreign = true
	s.stamp++
	s.queue.PushGap(&Gap{Channel: src.name, Reason: "history_trimmed"})
	s.model.entries = append(s.model.entries, waiting{stamp: s.stamp, gap: &Gap{Channel: src.name, Reason: "history_trimmed"}})
}

func (s *scene) pop() {
	peek := s.queue.Peek()
	item, gap := s.queue.Pop()
	want, any := s.model.pop()
	switch {
	case !any:
		if item != nil || gap != nil || peek != 0 {
			s.Fatalf("got %v and %v, peeked %d, of an empty queue", item, gap, peek)
		}
		return
	case item != want.item || (gap == nil) != (want.gap == nil):
		s.Fatalf("got %v, %v; want %v, %v", item, gap, want.item, want.gap)
	case want.stamp <= s.taken:
		s.Fatalf("%d came behind %d", want.stamp, s.taken)
	}
	s.taken = want.stamp
	switch {
	case gap != nil:
		s.toldGap(gap, want)
	case want.class == nil:
		s.replies -= len(item.Bytes)
	default:
		s.delivered(item)
	}
	if item != nil && peek != len(item.Bytes) || gap != nil && peek != 0 {
		s.Fatalf("peeked %d", peek)
	}
}

func (s *scene) sourceOf(channel string) *source {
	for _, src := range s.sources {
		if src.name == channel {
			return src
		}
	}
	s.Fatalf("unknown channel %q", channel)
	return nil
}

// delivered is the client with a message: it must be the next that is neither delivered nor told of.
func (s *scene) delivered(item *Item) {
	src := s.sourceOf(item.Channel)
	if src.pushed[src.settled] != item {
		s.Fatalf("%v was delivered before %v was settled", item, src.pushed[src.settled])
	}
	if src.next != 0 && src.next != item.Offset {
		s.Fatalf("%d came where a gap had promised %d", item.Offset, src.next)
	}
	s.got++
	src.settled++
	src.seen, src.next = item.Offset, 0
}

// toldGap is the client with a gap.
func (s *scene) toldGap(gap *Gap, want waiting) {
	src := s.sourceOf(gap.Channel)
	for _, lost := range want.missing {
		if src.pushed[src.settled] != lost {
			s.Fatalf("the gap of %v stands where %v is to be settled", lost, src.pushed[src.settled])
		}
		src.settled++
	}
	if src.next != 0 && src.next != gap.Before {
		s.Fatalf("%+v came where a gap had promised %d", gap, src.next)
	}
	src.next = gap.Before
	want.gap.After = src.seen
	if src.foreign && gap.After == 0 || want.missing == nil {
		want.gap.After = gap.After
	}
	if *gap != *want.gap {
		s.Fatalf("gap %+v, want %+v", *gap, *want.gap)
	}
}

// check holds the queue's figures against the model's, and its bounds.
func (s *scene) check() {
	bytes := 0
	for _, e := range s.model.entries {
		if e.item != nil {
			bytes += len(e.item.Bytes)
		}
	}
	q := &s.queue
	if q.Len() != len(s.model.entries) || q.Bytes() != bytes || q.ReplyBytes() != s.replies {
		s.Fatalf("%d of %d bytes, %d of replies; want %d of %d, %d", q.Len(), q.Bytes(), q.ReplyBytes(), len(s.model.entries), bytes, s.replies)
	}
	if q.Counts() != s.model.counts {
		s.Fatalf("counts %+v, want %+v", q.Counts(), s.model.counts)
	}
	if losses := q.Losses(); losses != nil || len(s.model.losses) > 0 {
		losses.Each(func(policy, reason string, n uint64) {
			if want := s.model.losses[policy+" "+reason]; n != want {
				s.Fatalf("%d lost to %s for %s, want %d", n, policy, reason, want)
			}
		})
	}
	for _, class := range s.classes {
		messages, bytes := s.model.usage(class)
		if q.Waiting(class) != messages {
			s.Fatalf("%d messages of a class, want %d", q.Waiting(class), messages)
		}
		if messages > class.MaxMessages || messages > 1 && bytes > class.MaxBytes {
			s.Fatalf("%d messages of %d bytes for %+v", messages, bytes, *class)
		}
	}
	if q.Len() == 0 && (cap(q.nodes) > keepNodes || len(q.nodes) > 0 || len(q.gaps) > 0) {
		s.Fatalf("an empty queue holds %d nodes and %d gaps", cap(q.nodes), len(q.gaps))
	}
}

func TestQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		step := func(f func()) func(*rapid.T) { return func(*rapid.T) { f() } }
		t.Repeat(map[string]func(*rapid.T){
			"push": step(s.push), "and push": step(s.push), "and again": step(s.push),
			"pop": step(s.pop), "and pop": step(s.pop), "reply": step(s.reply), "foreign gap": step(s.foreignGap), "": step(s.check),
		})
		for s.queue.Len() > 0 {
			s.pop()
			s.check()
		}
		if c := s.queue.Counts(); c.Offered != c.Dropped+c.Conflated+s.got {
			t.Fatalf("%+v, but %d were delivered", c, s.got)
		}
		for _, src := range s.sources {
			if src.settled != len(src.pushed) {
				t.Fatalf("%d of %d messages were lost without a word", len(src.pushed)-src.settled, len(src.pushed))
			}
		}
	})
}
