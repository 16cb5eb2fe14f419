package stream

import (
	"slices"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// A stream can be gone on with on another connection of the same user. The database is not kept waiting for that: closing a connection
// ends its queries at once. What remains of a stream is a trail (see there). A result whose end was sent is gone on with from the texts
// in the trail where these reach back far enough. Else the query runs once more: the rows that the client has are read over, and only
// if their text is the same to the letter, which a hash over it tells, do the others follow. So nothing comes twice and nothing is left
// out, whatever has become of the table meanwhile.

const (
	// resumeTime is how long the remains of a stream are kept.
	resumeTime = time.Minute
	// maxRemains and maxRemainsBytes bound what is kept of all streams; the oldest go first.
	maxRemains      = 4096
	maxRemainsBytes = 16 << 20
)

// Resume asks to go on with a stream that began on another connection.
type Resume struct {
	// StreamID is the stream's, as query_started told it.
	StreamID string
	// Batch is the last batch that the client has; -1 where it has none. The next one follows.
	Batch int64
}

// remains is what is needed to go on with a stream.
type remains struct {
	// Static.
	id        string
	user      string
	name      string // of the query, as the client called it
	params    []byte
	args      []Value
	batchSize int
	arrays    bool

	trail trail

	// Owned by the stream's goroutine.
	columns  []protocol.QueryColumn
	complete bool // all batches are in the trail, and the query ended well

	until time.Time // on the shelf
}

// size is about how much memory the remains take.
func (r *remains) size() int {
	const fixed = 1024 // fields, arguments, columns
	return fixed + len(r.params) + len(r.name) + r.trail.size()
}

// shelf holds the remains of streams that have ended. It is guarded by the Registry's lock.
type shelf struct {
	items []*remains // the oldest first
	bytes int
	timer *time.Timer
}

// take gives the remains of a user's stream, and they are the caller's; nil where there are none.
func (s *shelf) take(id, user string) *remains {
	at := s.find(id, user)
	if at < 0 {
		return nil
	}
	r := s.items[at]
	s.drop(at)
	return r
}

func (s *shelf) find(id, user string) int {
	return slices.IndexFunc(s.items, func(r *remains) bool { return r.id == id && r.user == user })
}

// put takes in what remains of a stream; sweep is called when it has been kept for long enough.
func (s *shelf) put(r *remains, now time.Time, sweep func()) {
	r.until = now.Add(resumeTime)
	s.items = append(s.items, r)
	s.bytes += r.size()
	for len(s.items) > maxRemains || s.bytes > maxRemainsBytes && len(s.items) > 1 {
		s.drop(0)
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(resumeTime, sweep)
	}
}

func (s *shelf) drop(at int) {
	s.bytes -= s.items[at].size()
	s.items = slices.Delete(s.items, at, at+1)
}

// sweep drops what has been kept for long enough.
func (s *shelf) sweep(now time.Time, again func()) {
	for len(s.items) > 0 && !now.Before(s.items[0].until) {
		s.drop(0)
	}
	s.timer = nil
	if len(s.items) > 0 {
		s.timer = time.AfterFunc(s.items[0].until.Sub(now), again)
	}
}

// Resumable gives the query that a stream of the user runs or ran, as its client called it, and the parameters that it gave, where the
// stream can be resumed. The error is a *protocol.Error.
func (r *Registry) Resumable(streamID, user string) (query string, params []byte, err error) {
	left, err := r.remainsOf(streamID, user)
	if err != nil {
		return "", nil, err
	}
	return left.name, left.params, nil
}

// remainsOf gives what is static of a stream that can be resumed; it stays where it is.
func (r *Registry) remainsOf(streamID, user string) (*remains, error) {
	id, ok := parseStreamID(streamID)
	if !ok {
		return nil, invalidStreamID()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.running[id]; s != nil && s.left.user == user {
		return s.left, nil
	}
	if at := r.shelf.find(id, user); at >= 0 {
		return r.shelf.items[at], nil
	}
	return nil, notResumable()
}

func notResumable() error {
	return protocol.Errorf(protocol.InvalidStreamID, "there is no such query to resume, or no longer: start it again")
}

// resumed is how a stream goes on: it replaces execute.
func (s *stream) resumed() error {
	left := s.left
	at, known := left.trail.markOf(s.resume.Batch)
	switch {
	case s.resume.Batch >= left.trail.length():
		return protocol.Errorf(protocol.InvalidParams, "batch %d was not sent", s.resume.Batch)
	case !known:
		return protocol.Errorf(protocol.StreamError, "batch %d is too far back to go on from: start the query again", s.resume.Batch)
	}
	left.trail.goBack(s.resume.Batch)
	s.number = s.resume.Batch + 1
	s.progress.batches.Store(s.number)
	s.progress.sent.Store(at.rows)
	if left.complete && slices.Equal(left.args, s.args) && left.trail.holds(s.resume.Batch) {
		return s.replay(at)
	}
	left.complete = false
	left.trail.cut(s.resume.Batch)
	return s.runQuery(at)
}

// replay sends the batches that are kept.
func (s *stream) replay(at mark) error {
	end, _ := s.left.trail.markOf(s.left.trail.length() - 1)
	s.progress.rows.Store(end.rows)
	if err := s.tellStarted(s.left.columns, end.rows, KindExact); err != nil {
		return err
	}
	return s.withProgress(func() error {
		for ; s.number < s.left.trail.length(); s.number++ {
			if err := s.admit(); err != nil {
				return err
			}
			// Sending copies it, and only this goroutine puts anything in its place.
			text := s.left.trail.text(s.number)
			if err := s.send(text); err != nil {
				return err
			}
			behind, _ := s.left.trail.markOf(s.number)
			s.sent(int(behind.rows-at.rows), len(text))
			at = behind
		}
		return nil
	})
}

// readOver reads the rows that the client has, and checks that they are the same as then.
func (s *stream) readOver(rows Rows, at mark) error {
	changed := protocol.Errorf(protocol.StreamError, "the result is not the same any more: start the query again")
	buf := s.buf[:0]
	for n := int64(0); n < at.rows; n++ {
		if !s.next(rows) {
			if err := s.failed(rows); err != nil {
				return err
			}
			return changed
		}
		buf = append(s.rows.Append(buf, rows), ',')
		if len(buf) > maxKept {
			s.text.Write(buf)
			buf = buf[:0]
		}
	}
	s.text.Write(buf)
	s.buf = buf[:0]
	if at.rows > 0 && s.text.Sum64() != at.sum {
		return changed
	}
	return nil
}

func (r *Registry) sweepShelf() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shelf.sweep(time.Now(), r.sweepShelf)
}
