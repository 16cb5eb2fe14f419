package flow

// Item is a message on its way to any number of clients: made once, shared by all their queues and never changed. Its bytes are
// ready to be written to a socket.
type Item struct {
	Bytes   []byte
	Channel string
	Offset  uint64 // place in the order; 0 for a message that is not in any history
	Prev    uint64 // Offset of the message before it in its channel; 0 where there is none
}

// Class is a kind of message with a share of the queue of its own. One Class serves all clients; it must not change.
type Class struct {
	MaxMessages int // messages of this class that may wait
	MaxBytes    int // and their bytes; a single message may be larger when nothing of its class waits
	Policy      Policy
	History     bool // its messages can be fetched again, so that a gap is recoverable
}

// Gap stands in the queue where messages are missing.
type Gap struct {
	Channel string
	After   uint64 // Offset of the channel's newest message delivered before; 0 where there is none or it is not known
	Before  uint64 // Offset of the channel's next message, which is delivered for certain; 0 where none waits yet or
	// another gap comes before it
	Dropped     uint64 // how many are missing; 0 where it cannot be known
	Reason      string // a Policy's name, "conflated", or what else the pusher of the gap says
	Recoverable bool   // the messages may still be fetched from history
}

// Verdict is what became of a pushed message.
type Verdict uint8

// The verdicts.
const (
	Queued   Verdict = iota // it waits; older ones may have been dropped for it
	Dropped                 // it was dropped, and a Gap waits in its place
	Blocked                 // it was not taken: the client must catch up from history once the queue has drained
	Overflow                // the client must be disconnected: its class says so, or its losses can no longer be told one by one
)

// Counts are what a queue has seen in its life. Offered = Dropped + Conflated + what was or will be delivered.
type Counts struct {
	Offered   uint64 // messages of classes pushed, but for Blocked ones
	Dropped   uint64
	Conflated uint64 // replaced by a newer one of their channel
}

// conflated is the reason of gaps that Conflate leaves where a newer message of the channel follows.
const conflated = "conflated"

// maxGaps bounds the gaps that wait in a queue, each of which holds a channel's name. A client past it loses messages of more
// channels than it can be told of.
const maxGaps = 1024

// none is the index of no node.
const none = int32(-1)

// node is a place in the queue. Nodes live in one slice and link to each other by index, so that dropping from the middle costs
// the same as from the front, and a queue that is empty holds next to nothing.
type node struct {
	item         *Item  // nil in a gap
	gap          *Gap   // nil in a message
	class        int32  // index into classes; none for replies
	sealed       bool   // of a gap: a message of its channel waits behind it
	promised     bool   // of a message: a gap has named it as the next, so that it cannot be dropped any more
	after        uint64 // of a message: what After is in a gap in its place
	prev, next   int32  // in the queue
	prevC, nextC int32  // in its class; nextC also links free nodes
}

// usage is how much of a class waits.
type usage struct {
	class      *Class
	messages   int
	bytes      int
	head, tail int32 // of the messages that may be dropped

	// latest is, while the class conflates, the newest message of each channel that may be dropped; nil while it does not.
	latest map[string]int32
}

// Queue holds what waits for one client, in order: messages of channels, each counted against its class, gaps where messages were
// dropped, and replies, which are never dropped and which the caller bounds by not reading on while ReplyBytes is high.
//
// The zero Queue is ready for use.
type Queue struct {
	nodes      []node
	free       int32 // first free node, biased by one: 0 is none
	head, tail int32 // biased by one as well, so that the zero Queue is empty
	length     int
	bytes      int
	replyBytes int
	classes    []usage
	gaps       map[string]int32 // the last gap of each channel that has one waiting
	counts     Counts

	// told is, for channels whose newest message is missing and told of, the After of that gap. It has at most maxGaps entries; of
	// messages up to doubt it is not known any more whether they were delivered.
	told   map[string]uint64
	doubt  uint64
	newest uint64 // Offset pushed so far
}

// Len is how many messages, replies and gaps wait.
func (q *Queue) Len() int { return q.length }

// Bytes is the size of all that waits.
func (q *Queue) Bytes() int { return q.bytes }

// ReplyBytes is the size of the replies that wait.
func (q *Queue) ReplyBytes() int { return q.replyBytes }

// Counts is what the queue has seen so far.
func (q *Queue) Counts() Counts { return q.counts }

// PushReply appends an answer to the client's own request. It is never dropped.
func (q *Queue) PushReply(item *Item) {
	n := q.link(none)
	q.nodes[n].item = item
	q.bytes += len(item.Bytes)
	q.replyBytes += len(item.Bytes)
}

// PushGap appends a gap that the queue did not cause itself, such as for messages no longer in a history.
func (q *Queue) PushGap(gap *Gap) {
	n := q.link(none)
	q.nodes[n].gap = gap
	q.nodes[n].sealed = true
	// How far the client got before is not known here.
	q.remember(gap.Channel, gap.After)
}

// Push appends a message of the given class, or does what the class's policy says. after is the newest offset that the client
// cannot have got in item's channel because it subscribed behind it; a gap does not name such a message as delivered.
func (q *Queue) Push(class *Class, item *Item, after uint64) Verdict {
	c := q.usageOf(class)
	q.newest = max(q.newest, item.Offset)
	if q.classes[c].latest != nil {
		q.replace(c, item.Channel)
	}
	if q.fits(c, item) {
		q.append(c, item, after)
		return Queued
	}
	switch class.Policy {
	case Block:
		return Blocked
	case Disconnect:
		q.counts.Offered++
		q.counts.Dropped++
		return Overflow
	case DropNewest:
		return q.dropNewest(c, item, after)
	case DropAll:
		for q.classes[c].head != none {
			q.drop(q.classes[c].head, class.Policy.String())
		}
	case Conflate:
		q.conflate(c)
		q.replace(c, item.Channel)
		q.makeRoom(c, item, DropOldest)
	default:
		q.makeRoom(c, item, class.Policy)
	}
	if !q.fits(c, item) {
		// All that waits has been promised by gaps.
		return q.dropNewest(c, item, after)
	}
	q.append(c, item, after)
	if len(q.gaps) > maxGaps {
		return Overflow
	}
	return Queued
}

// makeRoom drops the oldest messages of a class until item fits or none is left that may be dropped.
func (q *Queue) makeRoom(c int32, item *Item, reason Policy) {
	for q.classes[c].head != none && !q.fits(c, item) {
		q.drop(q.classes[c].head, reason.String())
	}
}

// conflate drops all messages of a class but the newest of each channel and has the class conflate from now on. That it goes over
// all that waits once, and not at every message, is what latest is for.
func (q *Queue) conflate(c int32) {
	u := &q.classes[c]
	if u.latest != nil {
		return
	}
	u.latest = make(map[string]int32)
	for n := u.head; n != none; n = q.nodes[n].nextC {
		u.latest[q.nodes[n].item.Channel] = n
	}
	for n := u.head; n != none; {
		next := q.nodes[n].nextC
		if u.latest[q.nodes[n].item.Channel] != n {
			q.drop(n, conflated)
		}
		n = next
	}
}

// replace drops the message of a conflating class that waits for the channel, if there is one: a newer one comes.
func (q *Queue) replace(c int32, channel string) {
	if n, ok := q.classes[c].latest[channel]; ok {
		q.drop(n, conflated)
	}
}

// Fits tells whether a message of this size could be pushed without anything being dropped.
func (q *Queue) Fits(class *Class, size int) bool {
	for i := range q.classes {
		if u := &q.classes[i]; u.class == class {
			return u.messages == 0 || u.messages < class.MaxMessages && u.bytes+size <= class.MaxBytes
		}
	}
	return true
}

// Waiting is how many messages of the class wait.
func (q *Queue) Waiting(class *Class) int {
	for i := range q.classes {
		if q.classes[i].class == class {
			return q.classes[i].messages
		}
	}
	return 0
}

func (q *Queue) fits(c int32, item *Item) bool {
	u := &q.classes[c]
	return u.messages == 0 || u.messages < u.class.MaxMessages && u.bytes+len(item.Bytes) <= u.class.MaxBytes
}

// Pop takes what stands first. Exactly one of its results is set; both are nil when the queue is empty.
func (q *Queue) Pop() (*Item, *Gap) {
	if q.head == 0 {
		return nil, nil
	}
	n := q.head - 1
	item, gap, class := q.nodes[n].item, q.nodes[n].gap, q.nodes[n].class
	if gap != nil {
		q.tell(n, gap)
	}
	q.unlink(n)
	if class != none && q.classes[class].messages == 0 {
		q.classes[class].latest = nil
	}
	return item, gap
}

// tell completes the gap of node n, which is about to be taken, and sees to it that what it says stays true.
func (q *Queue) tell(n int32, gap *Gap) {
	next, direct := q.nextOf(n, gap.Channel)
	if next != none && direct && q.nodes[next].item.Offset > 0 {
		gap.Before = q.nodes[next].item.Offset
		q.promise(next)
	}
	if last, ok := q.gaps[gap.Channel]; !ok || last != n {
		return
	}
	delete(q.gaps, gap.Channel)
	switch {
	case next != none:
		q.nodes[next].after = gap.After
	case gap.Recoverable:
		q.remember(gap.Channel, gap.After)
	}
}

// promise takes message n out of those that may be dropped.
func (q *Queue) promise(n int32) {
	if !q.nodes[n].promised {
		q.unlinkClass(n)
		q.nodes[n].promised = true
	}
}

// remember notes that the newest message of a channel is missing and that the client was told so.
func (q *Queue) remember(channel string, after uint64) {
	if len(q.told) >= maxGaps {
		clear(q.told)
		q.doubt = q.newest
	}
	if q.told == nil {
		q.told = make(map[string]uint64)
	}
	q.told[channel] = after
}

// delivered is the newest offset of item's channel that the client will have got before it; item is the next that it is due there.
func (q *Queue) delivered(item *Item, after uint64) uint64 {
	before, told := item.Prev, false
	if len(q.told) > 0 {
		var last uint64
		if last, told = q.told[item.Channel]; told {
			before = last
			delete(q.told, item.Channel)
		}
	}
	if before <= after || !told && before <= q.doubt {
		return 0
	}
	return before
}

// Peek is the size of the item that stands first, 0 where that is a gap or nothing.
func (q *Queue) Peek() int {
	if q.head == 0 || q.nodes[q.head-1].item == nil {
		return 0
	}
	return len(q.nodes[q.head-1].item.Bytes)
}

// Clear drops everything without a word: the connection is ending.
func (q *Queue) Clear() {
	for i := range q.classes {
		q.counts.Dropped += uint64(q.classes[i].messages)
	}
	*q = Queue{counts: q.counts}
}

// nextOf is the next message of channel behind node n, none where there is none; direct tells that no other gap of the channel
// stands before it.
func (q *Queue) nextOf(n int32, channel string) (message int32, direct bool) {
	direct = true
	for i := q.nodes[n].next; i != none; i = q.nodes[i].next {
		at := &q.nodes[i]
		switch {
		case at.gap != nil && at.gap.Channel == channel:
			direct = false
		case at.class != none && at.item.Channel == channel:
			return i, direct
		}
	}
	return none, direct
}

func (q *Queue) append(c int32, item *Item, after uint64) {
	n := q.link(c)
	q.nodes[n].item = item
	q.nodes[n].after = q.delivered(item, after)
	u := &q.classes[c]
	u.messages++
	u.bytes += len(item.Bytes)
	q.bytes += len(item.Bytes)
	if u.latest != nil {
		u.latest[item.Channel] = n
	}
	q.counts.Offered++
	if len(q.gaps) > 0 {
		if g, ok := q.gaps[item.Channel]; ok {
			q.nodes[g].sealed = true
		}
	}
}

// dropNewest refuses item and leaves a gap at the end, or lengthens the one that stands there.
func (q *Queue) dropNewest(c int32, item *Item, after uint64) Verdict {
	q.counts.Offered++
	q.counts.Dropped++
	if g, ok := q.gaps[item.Channel]; ok && !q.sealed(g) {
		q.nodes[g].gap.Dropped++
		return Dropped
	}
	n := q.link(none)
	q.nodes[n].after = q.delivered(item, after)
	reason := q.classes[c].class.Policy
	if reason == Conflate {
		reason = DropNewest
	}
	q.makeGap(n, q.classes[c].class, item, reason.String())
	if len(q.gaps) > maxGaps {
		return Overflow
	}
	return Dropped
}

// sealed tells whether a message of its channel waits behind gap n, the last of the channel, so that it cannot be lengthened there.
func (q *Queue) sealed(n int32) bool {
	if !q.nodes[n].sealed {
		return false
	}
	next, _ := q.nextOf(n, q.nodes[n].gap.Channel)
	return next != none
}

// drop removes message n, the oldest of its channel that may be dropped, and leaves a gap in its place. As it is the oldest, nothing
// of its channel that could be lost waits before it but a gap, which then is lengthened instead.
func (q *Queue) drop(n int32, reason string) {
	if reason == conflated {
		q.counts.Conflated++
	} else {
		q.counts.Dropped++
	}
	item := q.nodes[n].item
	if g, ok := q.gaps[item.Channel]; ok {
		q.nodes[g].gap.Dropped++
		q.unlink(n)
		return
	}
	u := &q.classes[q.nodes[n].class]
	u.messages--
	u.bytes -= len(item.Bytes)
	q.bytes -= len(item.Bytes)
	q.unlinkClass(n)
	q.nodes[n].item = nil
	q.nodes[n].class = none
	q.makeGap(n, u.class, item, reason)
	q.nodes[n].sealed = true
}

// makeGap makes of node n a gap in the place of message first.
func (q *Queue) makeGap(n int32, class *Class, first *Item, reason string) {
	q.nodes[n].gap = &Gap{
		Channel: first.Channel, After: q.nodes[n].after, Dropped: 1, Reason: reason,
		Recoverable: class.History && first.Offset > 0,
	}
	q.nodes[n].sealed = false
	if q.gaps == nil {
		q.gaps = make(map[string]int32)
	}
	q.gaps[first.Channel] = n
}

// usageOf is the index of the class's usage, which it makes where the class is new to this queue.
func (q *Queue) usageOf(class *Class) int32 {
	unused := none
	for i := range q.classes {
		if q.classes[i].class == class {
			return int32(i)
		}
		if q.classes[i].messages == 0 {
			unused = int32(i)
		}
	}
	fresh := usage{class: class, head: none, tail: none}
	if unused != none {
		// Classes of an older configuration make room for those of the newer one.
		q.classes[unused] = fresh
		return unused
	}
	q.classes = append(q.classes, fresh)
	return int32(len(q.classes) - 1)
}

// link takes a free node and puts it at the end of the queue and of its class.
func (q *Queue) link(class int32) int32 {
	var n int32
	if q.free > 0 {
		n = q.free - 1
		q.free = q.nodes[n].nextC
	} else {
		n = int32(len(q.nodes))
		q.nodes = append(q.nodes, node{})
	}
	q.nodes[n] = node{class: class, prev: q.tail - 1, next: none, prevC: none, nextC: none}
	if q.tail > 0 {
		q.nodes[q.tail-1].next = n
	} else {
		q.head = n + 1
	}
	q.tail = n + 1
	q.length++
	if class != none {
		u := &q.classes[class]
		q.nodes[n].prevC = u.tail
		if u.tail != none {
			q.nodes[u.tail].nextC = n
		} else {
			u.head = n
		}
		u.tail = n
	}
	return n
}

// unlink takes node n out of the queue and its class and frees it.
func (q *Queue) unlink(n int32) {
	at := q.nodes[n]
	if at.prev != none {
		q.nodes[at.prev].next = at.next
	} else {
		q.head = at.next + 1
	}
	if at.next != none {
		q.nodes[at.next].prev = at.prev
	} else {
		q.tail = at.prev + 1
	}
	q.length--
	if at.item != nil {
		q.bytes -= len(at.item.Bytes)
	}
	if at.class != none {
		if !at.promised {
			q.unlinkClass(n)
		}
		u := &q.classes[at.class]
		u.messages--
		if at.item != nil {
			u.bytes -= len(at.item.Bytes)
		}
	} else if at.item != nil {
		q.replyBytes -= len(at.item.Bytes)
	}
	q.nodes[n] = node{nextC: q.free}
	q.free = n + 1
	if q.length == 0 {
		q.release()
	}
}

func (q *Queue) unlinkClass(n int32) {
	u := &q.classes[q.nodes[n].class]
	prev, next := q.nodes[n].prevC, q.nodes[n].nextC
	if prev != none {
		q.nodes[prev].nextC = next
	} else {
		u.head = next
	}
	if next != none {
		q.nodes[next].prevC = prev
	} else {
		u.tail = prev
	}
	q.nodes[n].prevC, q.nodes[n].nextC = none, none
	if u.latest != nil && u.latest[q.nodes[n].item.Channel] == n {
		delete(u.latest, q.nodes[n].item.Channel)
	}
}

// keepNodes is how many nodes an empty queue keeps, so that a client that is served at once costs no allocation per message.
const keepNodes = 4

// release gives back what a full queue had grown to.
func (q *Queue) release() {
	q.free = 0
	if cap(q.nodes) > keepNodes {
		q.nodes = nil
	} else {
		q.nodes = q.nodes[:0]
	}
	q.gaps = nil
}
