package stream

import "sync"

const (
	// maxMarks is how many batches back a stream can be resumed.
	maxMarks = 512
	// maxKept is how many bytes of batches a stream keeps that its client may not have yet.
	maxKept = 32 << 10
	// maxKeptUnasked is the same for a stream without credit: nothing is ever acknowledged there.
	maxKeptUnasked = 8 << 10
)

// mark is the place in the result behind a batch.
type mark struct {
	rows int64  // up to there
	sum  uint64 // over their text
}

// trail is what a stream leaves behind, so that it can be gone on with from any of its last batches: a mark for each of them, and the
// text of the latest as long as the client has not acknowledged them. It is used by the stream's goroutine; acknowledge may be called
// beside it.
type trail struct {
	mu    sync.Mutex
	next  int64  // batches that there are
	marks []mark // of the batches from first: that of batch n stands at n % maxMarks
	first int64
	sent  int64 // batches up to which the client was sent all, on its present connection
	acked int64 // batches that it has acknowledged
	kept  [][]byte
	bytes int
	spare []byte // a text that is kept no longer
	less  bool   // the client grants no credit
}

// add notes a batch before it is sent: whether the client gets it is not known if the connection breaks.
func (t *trail) add(text []byte, m mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := int(t.next % maxMarks); at < len(t.marks) {
		t.marks[at] = m
	} else {
		t.marks = append(t.marks, m)
	}
	t.next++
	t.first = max(t.first, t.next-maxMarks)
	t.sent = t.next
	t.kept = append(t.kept, append(t.spare[:0], text...))
	t.spare = nil
	t.bytes += len(text)
	limit := maxKept
	if t.less {
		limit = maxKeptUnasked
	}
	for t.bytes > limit {
		t.dropLocked()
	}
}

// keepLess says whether the client grants no credit.
func (t *trail) keepLess(less bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.less = less
}

// acknowledge is called when the client grants credit for so many batches: it has done with as many of those that it was sent.
func (t *trail) acknowledge(batches int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acked = min(t.acked+batches, t.sent)
	for len(t.kept) > 0 && t.next-int64(len(t.kept)) < t.acked {
		t.dropLocked()
	}
}

func (t *trail) dropLocked() {
	t.bytes -= len(t.kept[0])
	if t.spare = t.kept[0]; cap(t.spare) > maxKept {
		t.spare = nil
	}
	// Few are kept, and moving them costs no memory.
	n := copy(t.kept, t.kept[1:])
	t.kept[n] = nil
	t.kept = t.kept[:n]
}

// length is how many batches there are.
func (t *trail) length() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next
}

// markOf gives the place behind a batch; that behind batch -1 is the beginning. It is false where the trail does not reach back so far.
func (t *trail) markOf(batch int64) (mark, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case batch == -1:
		return mark{}, true
	case batch < t.first || batch >= t.next:
		return mark{}, false
	}
	return t.marks[batch%maxMarks], true
}

// holds tells whether all batches behind the given one are kept.
func (t *trail) holds(behind int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next-int64(len(t.kept)) <= behind+1
}

// text gives a batch that is kept and counts it as sent.
func (t *trail) text(batch int64) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent = max(t.sent, batch+1)
	return t.kept[batch-(t.next-int64(len(t.kept)))]
}

// goBack makes the given batch the last that the client has; those behind it were not sent, as far as the trail knows.
func (t *trail) goBack(batch int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent, t.acked = batch+1, batch+1
	for len(t.kept) > 0 && t.next-int64(len(t.kept)) <= batch {
		t.dropLocked()
	}
}

// cut forgets the batches behind the given one: they are going to be made again.
func (t *trail) cut(batch int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = batch + 1
	t.marks = t.marks[:min(int64(len(t.marks)), t.next)]
	t.sent, t.acked = t.next, t.next
	t.kept, t.bytes = nil, 0
}

// size is about how much memory the trail takes.
func (t *trail) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return 16*cap(t.marks) + t.bytes
}
