package flow

// Lane holds the messages of a client's query streams that wait for its socket. It never drops: who finds no room waits for it.
// Waiters are served in the order in which they came, so that a connection's streams take turns.
//
// The zero Lane has no room; set Max first.
type Lane struct {
	Max int // bytes that may wait; a single message may be larger when nothing waits

	messages [][]byte
	bytes    int
	waiters  []chan struct{}
	turn     chan struct{} // closed, of the one whose turn it is until it has come by Retry or Leave; nil where nobody's is
}

// Len is how many messages wait.
func (l *Lane) Len() int { return len(l.messages) }

// Bytes is the size of all that waits.
func (l *Lane) Bytes() int { return l.bytes }

// Fill is the share of the lane in use, from 0 to 1.
func (l *Lane) Fill() float64 { return min(1, float64(l.bytes)/float64(max(1, l.Max))) }

// Push appends msg if there is room and nobody waits before; otherwise it gives a channel that is closed when the caller should
// try again by Retry.
func (l *Lane) Push(msg []byte) (wait chan struct{}) {
	if l.turn == nil && len(l.waiters) == 0 && l.fits(msg) {
		l.add(msg)
		return nil
	}
	wait = make(chan struct{})
	l.waiters = append(l.waiters, wait)
	return wait
}

// Retry appends msg for the caller whose turn has come. Where there still is no room the caller waits on the channel that it gives,
// still the first in line.
func (l *Lane) Retry(msg []byte) (wait chan struct{}) {
	l.turn = nil
	if l.fits(msg) {
		l.add(msg)
		l.wake()
		return nil
	}
	wait = make(chan struct{})
	l.waiters = append([]chan struct{}{wait}, l.waiters...)
	return wait
}

// Leave takes a caller out of the line who no longer waits on its channel; one whose turn had just come passes it on.
func (l *Lane) Leave(wait chan struct{}) {
	if wait == l.turn {
		l.turn = nil
		l.wake()
		return
	}
	for i, w := range l.waiters {
		if w == wait {
			l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
			return
		}
	}
}

// Pop takes the first message, nil where none waits.
func (l *Lane) Pop() []byte {
	if len(l.messages) == 0 {
		return nil
	}
	msg := l.messages[0]
	l.messages[0] = nil
	l.messages = l.messages[1:]
	if len(l.messages) == 0 {
		l.messages = nil
	}
	l.bytes -= len(msg)
	l.wake()
	return msg
}

// Clear drops everything and sends all who wait away to find the connection closed.
func (l *Lane) Clear() {
	for _, w := range l.waiters {
		close(w)
	}
	l.messages, l.bytes, l.waiters, l.turn = nil, 0, nil, nil
}

func (l *Lane) fits(msg []byte) bool { return len(l.messages) == 0 || l.bytes+len(msg) <= l.Max }

func (l *Lane) add(msg []byte) {
	l.messages = append(l.messages, msg)
	l.bytes += len(msg)
}

// wake gives the first in line its turn. There is one turn at a time: of two that are woken the second could be the faster.
func (l *Lane) wake() {
	if l.turn != nil || len(l.waiters) == 0 || l.bytes >= l.Max {
		return
	}
	l.turn = l.waiters[0]
	close(l.turn)
	l.waiters = l.waiters[1:]
}
