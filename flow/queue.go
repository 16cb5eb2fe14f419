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
	losses     *Losses // nil until the first

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
		q.lost(lossOf(class.Policy, class.Policy.String()), 1)
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

// Peek is the size of the item that stands first, 0 where that is a gap or nothing.
func (q *Queue) Peek() int {
	if q.head == 0 || q.nodes[q.head-1].item == nil {
		return 0
	}
	return len(q.nodes[q.head-1].item.Bytes)
}

// Clear drops everything without a word: the connection is ending.
func (q *Queue) Clear() {
	waiting := 0
	for i := range q.classes {
		waiting += q.classes[i].messages
	}
	if waiting > 0 {
		q.lost(closed, waiting)
	}
	*q = Queue{counts: q.counts, losses: q.losses}
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
