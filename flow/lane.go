package flow

// Lane holds the messages of a client's query streams that wait for its socket. It never drops: a message that finds no room waits
// for it.
//
// Streams share the client by start-time fair queuing (Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996): each gets the
// same number of bytes, whatever the sizes of its messages, and what one does not use goes to the others. Of two streams that always
// have messages in the lane, neither is ever ahead by more than the largest message of each. So that a stream of small messages has
// as much in the lane as one of large messages, they share its room as well.
//
// The zero Lane has no room; set Max first.
type Lane struct {
	Max int // bytes that may be in it; a single message may be larger when nothing else is

	busy    []*Share // that have messages in it
	count   int      // of messages in it
	bytes   int      // and their size
	waiting []arrival
	now     uint64 // the virtual time: the start of the message that went out last
}

// Share is one stream's part of a Lane. The zero Share is that of a new stream. It belongs to the Lane: nobody else may touch it.
type Share struct {
	messages []arrival // in the lane
	bytes    int
	end      uint64 // of its last message in virtual time, in bytes
}

// arrival is a message in a Lane or before it.
type arrival struct {
	share *Share
	msg   []byte
	start uint64        // in virtual time: the smallest goes first
	wait  chan struct{} // closed once it is in; nil where nobody waits
}

// Len is how many messages are in the lane.
func (l *Lane) Len() int { return l.count }

// Bytes is the size of all that is in the lane.
func (l *Lane) Bytes() int { return l.bytes }

// Fill is the part of the lane in use, from 0 to 1.
func (l *Lane) Fill() float64 { return min(1, float64(l.bytes)/float64(max(1, l.Max))) }

// Push puts a message of the stream that share belongs to into the lane, or before it where there is no room: then it gives a channel
// that is closed when the message is in.
func (l *Lane) Push(share *Share, msg []byte) (wait chan struct{}) {
	a := arrival{share: share, msg: msg, start: max(l.now, share.end)}
	share.end = a.start + uint64(len(msg))
	l.waiting = append(l.waiting, a)
	l.admit()
	for i := range l.waiting {
		if w := &l.waiting[i]; w.share == share && w.wait == nil {
			w.wait = make(chan struct{})
			return w.wait
		}
	}
	return nil
}

// Leave takes back a message that waits. It reports false where the message is in, or gone with Clear.
func (l *Lane) Leave(wait chan struct{}) bool {
	for i := range l.waiting {
		if l.waiting[i].wait == wait {
			l.drop(i)
			l.admit() // those behind it may fit
			return true
		}
	}
	return false
}

// Pop takes the next message, nil where none is in the lane.
func (l *Lane) Pop() []byte {
	if l.count == 0 {
		return nil
	}
	next := 0
	for i, s := range l.busy {
		if s.messages[0].start < l.busy[next].messages[0].start {
			next = i
		}
	}
	s := l.busy[next]
	a := s.messages[0]
	s.messages[0] = arrival{}
	if s.messages = s.messages[1:]; len(s.messages) == 0 {
		s.messages = nil
		l.busy = append(l.busy[:next], l.busy[next+1:]...)
	}
	s.bytes -= len(a.msg)
	l.bytes -= len(a.msg)
	l.count--
	l.now = a.start
	l.admit()
	return a.msg
}

// Clear drops everything, also what waits, and lets all who wait go on to find the connection closed.
func (l *Lane) Clear() {
	for i := range l.waiting {
		close(l.waiting[i].wait)
	}
	for _, s := range l.busy {
		s.messages, s.bytes = nil, 0
	}
	l.busy, l.count, l.bytes, l.waiting = nil, 0, 0, nil
}

// admit lets in what there is room for. A message that its stream's own part has no room for is passed by; one that the lane has no
// room for is not, or it would wait for ever behind smaller ones.
func (l *Lane) admit() {
	for len(l.waiting) > 0 {
		part := l.Max / l.streams()
		first := -1
		for i := range l.waiting {
			a := &l.waiting[i]
			own := len(a.share.messages) == 0 || a.share.bytes+len(a.msg) <= part
			if own && (first < 0 || a.start < l.waiting[first].start) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		a := l.waiting[first]
		if l.count > 0 && l.bytes+len(a.msg) > l.Max {
			return
		}
		l.drop(first)
		l.add(a)
	}
}

// streams is how many streams have messages in the lane or before it.
func (l *Lane) streams() int {
	n := len(l.busy)
	for i := range l.waiting {
		if len(l.waiting[i].share.messages) == 0 {
			n++
		}
	}
	return n
}

func (l *Lane) add(a arrival) {
	if len(a.share.messages) == 0 {
		l.busy = append(l.busy, a.share)
	}
	if a.wait != nil {
		close(a.wait)
		a.wait = nil
	}
	a.share.messages = append(a.share.messages, a)
	a.share.bytes += len(a.msg)
	l.count++
	l.bytes += len(a.msg)
}

func (l *Lane) drop(i int) {
	copy(l.waiting[i:], l.waiting[i+1:])
	l.waiting[len(l.waiting)-1] = arrival{}
	l.waiting = l.waiting[:len(l.waiting)-1]
}
