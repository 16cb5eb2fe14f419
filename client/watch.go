package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"sync"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// WatchOptions say how to watch a query.
type WatchOptions struct {
	// Key are the columns that tell the rows apart: those of `key` in the query's `watch` block at the site. Required.
	Key []string
	// BatchSize is how many rows of a first result come in one batch. Default: the server's, 100.
	BatchSize int
	// MaxBytes bounds the copy: keys and rows, as JSON. A larger result ends the watch with ErrTooLarge. Default: 64 MiB, which is what
	// the server keeps of a result.
	MaxBytes int
}

// Op is what became of a row.
type Op string

// The operations of a Change.
const (
	Insert Op = protocol.OpInsert
	Update Op = protocol.OpUpdate
	Delete Op = protocol.OpDelete
)

// Change is what became of a row.
type Change struct {
	Op  Op
	Key json.RawMessage // the key's value as JSON; an array where it has several columns
	Row Row             // as it is now; nil with Delete
}

// Live is a copy of a query's result that stays true, over all the Client's connections. Changes is for one goroutine at a time; all else
// is safe for concurrent use. It must be closed, unless the Client is.
type Live struct {
	// Static.
	c       *Client
	query   request
	key     []string
	started chan struct{} // is closed with the first result
	ended   chan struct{}
	release func() bool // lets go of the context

	// Guarded by c.mu. What comes is put together here first.
	taken          takeovers
	streamID       string
	batch          int64          // the number of the next batch
	fresh          *keyed         // a result that is not complete yet; nil where none is on its way
	pendingChanges []stagedChange // changes whose last has not come: they lead from one state to another only together
	pendingBytes   int
	revision       int64 // the revision of the copy, -1 where there is none to go on from

	mu      sync.Mutex
	copy    keyed
	changes changes // that Changes has not given yet
	stale   *Error
	err     error
	signal  chan struct{}
}

type stagedChange struct {
	op  Op
	key string
	row Row
}

// Watch follows a query that the site lets be watched. It returns once the first result is there, or with an *Error. ctx is for all of the
// watch: when it ends, so does the watch.
//
// After the loss of a connection it goes on behind the last revision, or with a fresh result where the server no longer knows what changed
// since: for Changes that makes no difference, as it gives what differs.
func (c *Client) Watch(ctx context.Context, query string, params any, o WatchOptions) (*Live, error) {
	encoded, err := encodeParams(params)
	if err != nil {
		return nil, err
	}
	switch {
	case len(o.Key) == 0:
		return nil, errors.New("client: a watch needs the Key")
	case o.BatchSize < 0 || o.MaxBytes < 0:
		return nil, errors.New("client: an option is negative")
	}
	setDefault(&o.MaxBytes, 64<<20)
	l := &Live{
		c: c, query: request{Type: "watch", Query: query, Params: encoded, BatchSize: o.BatchSize}, key: o.Key, revision: -1,
		started: make(chan struct{}), ended: make(chan struct{}), signal: make(chan struct{}, 1),
		copy: newKeyed(o.MaxBytes), changes: newChanges(),
	}
	if err := c.addStream(ctx, l); err != nil {
		return nil, err
	}
	if err := c.awaitStart(ctx, l, l.started, l.ended, func() error { return l.err }); err != nil {
		return nil, err
	}
	l.release = context.AfterFunc(ctx, func() { c.dropStream(l, context.Cause(ctx)) })
	return l, nil
}

// Changes gives what leads from an empty collection to the copy as it is, and then what becomes of it, without end: first an Insert for
// each row, then changes in the order in which they came. Whoever applies them has the copy. Of a row that changes again before it was
// taken, one Change is given, that leads to how it is by then: so nothing piles up, however slow the caller is.
//
// It ends when ctx or the watch does, which is the last pair's error. Breaking off ends nothing: the next call goes on where this one stopped.
func (l *Live) Changes(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for {
			change, err := l.next(ctx)
			if !yield(change, err) || err != nil {
				return
			}
		}
	}
}

func (l *Live) next(ctx context.Context) (Change, error) {
	for {
		l.mu.Lock()
		change, ok := l.changes.pop(l.copy.rows)
		err := l.err
		l.mu.Unlock()
		switch {
		case ok:
			return change, nil
		case err != nil:
			return Change{}, err
		}
		select {
		case <-l.signal:
		case <-l.ended:
		case <-ctx.Done():
			return Change{}, context.Cause(ctx)
		}
	}
}

// Snapshot is the copy as it is, by the rows' keys as JSON. It always is a state that the result was in, never one between two.
func (l *Live) Snapshot() map[string]Row {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.copy.rows)
}

// Get is the row whose key encodes as the given value does; with several key columns that is a slice. ok is false where there is none.
func (l *Live) Get(key any) (row Row, ok bool) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // nor does a server
	if err := encoder.Encode(key); err != nil {
		return nil, false
	}
	name, err := compact(text.Bytes())
	if err != nil {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	row, ok = l.copy.rows[name]
	return row, ok
}

// Len is how many rows the copy has.
func (l *Live) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.copy.rows)
}

// Stale is why the copy may be behind although the server is there: the query failed, and is tried again. nil where all is well.
func (l *Live) Stale() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale == nil {
		return nil
	}
	return l.stale
}

// Close ends the watch. The copy stays as it was. It is idempotent; the error is always nil.
func (l *Live) Close() error {
	l.release()
	l.c.dropStream(l, ErrClosed)
	return nil
}

func (l *Live) requestLocked() request {
	q := l.query
	if l.streamID != "" {
		at := l.revision
		q.Resume = &resume{StreamID: l.streamID, Revision: &at}
	}
	return q
}

func (l *Live) startedLocked(m *message) {
	l.streamID = m.StreamID
	if !m.Resumed {
		l.renewLocked()
	}
}

// renewLocked begins a fresh result. The copy stays as it is until that is complete.
func (l *Live) renewLocked() {
	fresh := newKeyed(l.copy.limit)
	fresh.ordered = true
	l.fresh, l.batch, l.pendingChanges, l.pendingBytes, l.revision = &fresh, 0, nil, 0, -1
}

// lostLocked forgets what was half told: a resumed watch goes on behind the copy.
func (l *Live) lostLocked() {
	l.unstageLocked()
	l.taken = takeovers{}
}

func (l *Live) unstageLocked() { l.fresh, l.pendingChanges, l.pendingBytes = nil, nil, 0 }

// failLocked ends the watch for what is wrong here.
func (l *Live) failLocked(err error) {
	l.unstageLocked()
	l.c.dropStreamLocked(l, err)
}

func (l *Live) refusedLocked(s *session, refusal *Error) {
	established := l.streamID != ""
	switch {
	case s.goingAway != nil: // the next connection will do
	case established && (retryable(refusal) || limited(refusal) || refusal.Code == protocol.Internal):
		l.c.restartLocked(s, l, refusal)
	default:
		l.c.endLocked(l, refusal)
	}
}

// limited says that there was no room: that may pass.
func limited(e *Error) bool { return e.Code == protocol.LimitExceeded }

func (l *Live) finish(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		close(l.ended)
	}
}

func (l *Live) wakeLocked() {
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

func (l *Live) takeLocked(s *session, m *message) error {
	switch m.Type {
	case "query_batch":
		return l.takeBatchLocked(m)
	case "query_ready":
		l.taken = takeovers{}
		return l.takeReadyLocked(m)
	case "query_change":
		return l.takeChangeLocked(m)
	case "query_reset":
		l.renewLocked()
	case "query_cancelled":
		l.unstageLocked()
		l.c.cancelledLocked(s, l, m, &l.taken)
	case "error":
		failure := m.err()
		if failure.RetryAfter == 0 {
			l.c.endLocked(l, failure)
			break
		}
		l.mu.Lock()
		l.stale = failure
		l.mu.Unlock()
	}
	return nil
}

func (l *Live) takeBatchLocked(m *message) error {
	if l.fresh == nil || m.BatchNumber != l.batch {
		return protocolError("batch %d of a watch comes where %d is due", m.BatchNumber, l.batch)
	}
	l.batch++
	for _, row := range m.Rows {
		key, err := keyOf(row, l.key)
		if err != nil {
			l.failLocked(err)
			return nil
		}
		if _, twice := l.fresh.rows[key]; twice {
			l.failLocked(errWrongKey)
			return nil
		}
		if !l.fresh.put(key, row) {
			l.failLocked(ErrTooLarge)
			return nil
		}
	}
	return nil
}

// takeReadyLocked puts a result in the copy's place.
func (l *Live) takeReadyLocked(m *message) error {
	if l.fresh == nil {
		return protocolError("a query_ready without a result")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes.replace(l.copy.rows, l.fresh)
	l.copy, l.fresh, l.revision, l.stale = *l.fresh, nil, m.Revision, nil
	select {
	case <-l.started:
	default:
		close(l.started)
	}
	l.wakeLocked()
	return nil
}

// takeChangeLocked applies changes once they lead to a state that was: revisions between two such states are odd.
func (l *Live) takeChangeLocked(m *message) error {
	if l.fresh != nil {
		return protocolError("a query_change before the result is complete")
	}
	key, err := compact(m.Key)
	if err != nil {
		return protocolError("a key that is no JSON")
	}
	change := stagedChange{op: Op(m.Op), key: key, row: m.Row}
	if change.op == Delete {
		change.row = nil
	} else if named, err := keyOf(m.Row, l.key); err != nil || named != key {
		l.failLocked(errWrongKey)
		return nil
	}
	l.pendingChanges, l.pendingBytes = append(l.pendingChanges, change), l.pendingBytes+len(key)+len(change.row)
	if m.Revision%2 != 0 && l.pendingBytes <= 2*l.copy.limit {
		return nil
	}
	if !l.apply() {
		l.failLocked(ErrTooLarge)
		return nil
	}
	l.pendingChanges, l.pendingBytes, l.revision, l.taken = nil, 0, m.Revision, takeovers{}
	return nil
}

// apply puts the staged changes into the copy; false where that is too large then.
func (l *Live) apply() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pendingBytes > 2*l.copy.limit { // all rows gone, and as many come
		return false
	}
	for _, change := range l.pendingChanges {
		l.changes.note(change.key, l.copy.rows)
		if !l.copy.put(change.key, change.row) {
			return false
		}
	}
	l.stale = nil
	l.wakeLocked()
	return true
}
