package client

// buffer holds what waits for a subscription's Next. Full, it drops the oldest and tells so at their place, which is always its front.
type buffer struct {
	limit, byteLimit int

	waiting []waiting
	bytes   int
	next    Event  // stands before lost: what the last gap has named as its other side, and so is not dropped any more
	lost    *Gap   // stands before all that waits
	last    uint64 // the offset of the last message that was taken out
}

type waiting struct {
	event Event
	size  int
}

func (b *buffer) push(event Event, size int) {
	for len(b.waiting) > 0 && (len(b.waiting) >= b.limit || b.bytes+size > b.byteLimit) {
		b.drop()
	}
	b.waiting = append(b.waiting, waiting{event, size})
	b.bytes += size
}

// drop gives up the oldest event. What it told of a loss is told by the gap.
func (b *buffer) drop() {
	event := b.shift()
	if b.lost == nil {
		b.lost = &Gap{Reason: ReasonClient, Recoverable: true}
	}
	dropped := int64(1)
	switch e := event.(type) {
	case *Message:
		b.lost.Recoverable = b.lost.Recoverable && e.Offset > 0
	case *Gap:
		dropped = e.Dropped
		b.lost.Recoverable = b.lost.Recoverable && e.Recoverable
	case *Resumed:
		dropped = 0
		if !e.Recovered {
			dropped, b.lost.Recoverable = -1, false
		}
	default: // presence is nowhere kept, but the list can be asked for
		b.lost.Recoverable = false
	}
	if dropped < 0 || b.lost.Dropped < 0 {
		b.lost.Dropped = -1
	} else {
		b.lost.Dropped += dropped
	}
}

func (b *buffer) shift() Event {
	first := b.waiting[0]
	b.waiting[0] = waiting{}
	b.bytes -= first.size
	if b.waiting = b.waiting[1:]; len(b.waiting) == 0 {
		b.waiting = nil
	}
	return first.event
}

func (b *buffer) pop() (Event, bool) {
	event := b.next
	switch {
	case event != nil:
		b.next = nil
	case b.lost != nil:
		gap := b.lost
		b.lost, gap.After = nil, b.last
		b.next = b.shift() // what it was dropped for is there
		if m, ok := b.next.(*Message); ok {
			gap.Before = m.Offset
		}
		return gap, true
	case len(b.waiting) > 0:
		event = b.shift()
	default:
		return nil, false
	}
	if m, ok := event.(*Message); ok {
		b.last = m.Offset
	}
	return event, true
}
