package flow

// This file is the part of Queue that drops messages and leaves gaps in their places.

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

// conflated is the reason of gaps that Conflate leaves where a newer message of the channel follows.
const conflated = "conflated"

// maxGaps bounds the gaps that wait in a queue, each of which holds a channel's name. A client past it loses messages of more
// channels than it can be told of.
const maxGaps = 1024

// PushGap appends a gap that the queue did not cause itself, such as for messages no longer in a history.
func (q *Queue) PushGap(gap *Gap) {
	n := q.link(none)
	q.nodes[n].gap = gap
	q.nodes[n].sealed = true
	// How far the client got before is not known here.
	q.remember(gap.Channel, gap.After)
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

// dropNewest refuses item and leaves a gap at the end, or lengthens the one that stands there.
func (q *Queue) dropNewest(c int32, item *Item, after uint64) Verdict {
	q.counts.Offered++
	reason := q.classes[c].class.Policy
	if reason == Conflate {
		reason = DropNewest
	}
	q.lost(lossOf(q.classes[c].class.Policy, reason.String()), 1)
	if g, ok := q.gaps[item.Channel]; ok && !q.sealed(g) {
		q.nodes[g].gap.Dropped++
		return Dropped
	}
	n := q.link(none)
	q.nodes[n].after = q.delivered(item, after)
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
		q.lost(lossOf(q.classes[q.nodes[n].class].class.Policy, reason), 1)
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
