package live

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Watch is how a query is kept true.
type Watch struct {
	// Key are the columns that tell a result's rows apart.
	Key []string
	// Triggers say when to look for changes.
	Triggers []stream.Trigger
	// Debounce is the least time between two runs. Default: 100 ms.
	Debounce time.Duration
	// MaxRows is the most rows that a result may have. Default: 10,000.
	MaxRows int
	// MaxDuration is the longest that a run may take. Default: 1 minute.
	MaxDuration time.Duration
}

// WithDefaults gives the watch with every zero field at its default.
func (w Watch) WithDefaults() Watch {
	if w.Debounce == 0 {
		w.Debounce = 100 * time.Millisecond
	}
	if w.MaxRows == 0 {
		w.MaxRows = 10_000
	}
	if w.MaxDuration == 0 {
		w.MaxDuration = time.Minute
	}
	return w
}

const (
	// logChanges is how many changes of a result are remembered at most, and at least as many as it has rows.
	logChanges = 1000
	// maxResultBytes is the most that the rows of one result may take.
	maxResultBytes = 64 << 20
	// firstRetry and lastRetry bound the time after which a run that failed is tried again.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// errTooManyRows ends a result.
func errTooManyRows(limit int) error {
	return protocol.Errorf(protocol.QueryFailed, "the result has more than %d rows, which is too many to be watched", limit)
}

// Result is a query's result for certain values, kept true for all who watch it. It implements stream.Live for each of them through
// Engine.Watch.
type Result struct {
	engine *Engine
	key    string
	run    stream.Run

	// Guarded by the engine's lock; query and watch do not change while keep runs.
	query    *stream.Query
	watch    Watch
	watchers int
	expires  time.Time // while nobody watches

	wake chan struct{} // holds a token when a run is due

	mu       sync.Mutex
	version  *stream.Version // nil before the first run
	rows     map[string]*stream.LiveRow
	bytes    int
	log      []stream.Change // the latest changes: all behind logFrom
	logFrom  int64
	runs     int // that began
	done     int // of which so many have ended: the last of them is that of this number
	failures stream.Failure
	ended    error         // why the result is not kept any more
	news     chan struct{} // closed when any of this changes

	// Guarded by the engine's lock.
	stop    func()        // of keep
	stopped chan struct{} // closed when keep has ended
}

// start begins to keep the result true, once an earlier keep has ended. The engine's lock is held.
func (r *Result) start() {
	ctx, cancel := context.WithCancel(context.Background())
	before := r.stopped
	r.stop, r.stopped = cancel, make(chan struct{})
	stopped, query, watch := r.stopped, r.query, r.watch
	r.trigger() // the first run, behind the beginning of the triggers
	go func() {
		defer close(stopped)
		if before != nil {
			<-before
		}
		(&keeper{r, query, watch}).keep(ctx)
	}()
}

// replaceLocked goes on under another configuration. The engine's lock is held.
func (r *Result) replaceLocked(q Query) {
	r.stop()
	r.query, r.watch = q.Query, q.Watch.WithDefaults()
	r.start()
}

// trigger has the query run again. It never waits.
func (r *Result) trigger() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// keeper keeps a result true under one configuration.
type keeper struct {
	*Result
	query *stream.Query
	watch Watch
}

// keep runs the query whenever it may have changed, one run at a time, until ctx ends.
func (r *keeper) keep(ctx context.Context) {
	var stops []func()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for _, t := range r.watch.Triggers {
		stops = append(stops, t.Start(r.trigger))
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	retry := firstRetry
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		err := r.update(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := r.watch.Debounce - time.Since(began)
		switch {
		case err == nil:
			retry = firstRetry
		case r.hasEnded():
			return
		default:
			wait = retry
			retry = min(2*retry, lastRetry)
			r.trigger()
		}
		// What changes meanwhile is seen by the next run.
		if wait > 0 {
			pause.Reset(wait)
			select {
			case <-pause.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (r *Result) hasEnded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended != nil
}

// update runs the query once and takes in what has changed.
func (r *keeper) update(ctx context.Context) error {
	r.mu.Lock()
	r.runs++
	number := r.runs
	r.mu.Unlock()
	r.engine.counters.runs.Add(1)
	limited, cancel := context.WithTimeout(ctx, r.watch.MaxDuration)
	defer cancel()
	fresh, err := r.read(limited)
	if ctx.Err() != nil {
		return ctx.Err() // nobody wants it any more
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		return r.ended
	}
	r.done = number
	if err == nil {
		err = r.acceptLocked(fresh)
	}
	if err != nil {
		r.failLocked(r.query.Name, err)
	}
	close(r.news)
	r.news = make(chan struct{})
	return err
}

// reading is the result of a run.
type reading struct {
	columns []protocol.QueryColumn
	rows    []*stream.LiveRow
	byKey   map[string]*stream.LiveRow
	bytes   int
}

// read runs the query. A row that is as it was is the same in memory.
func (r *keeper) read(ctx context.Context) (*reading, error) {
	rows, err := r.query.Statement.Query(ctx, r.run)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	encoder := stream.NewRowEncoder(rows.Columns(), false)
	key, err := keyColumns(encoder.Columns(), r.watch.Key)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	known := r.rows // it is replaced, never changed
	r.mu.Unlock()
	out := &reading{columns: encoder.Columns(), byKey: make(map[string]*stream.LiveRow, len(known))}
	var text, name []byte
	for rows.Next() {
		if len(out.rows) == r.watch.MaxRows {
			return nil, errTooManyRows(r.watch.MaxRows)
		}
		text = encoder.Append(text[:0], rows)
		name = appendKey(name[:0], rows, key)
		row := known[string(name)]
		if row == nil || !bytes.Equal(row.Text, text) {
			row = &stream.LiveRow{Key: bytes.Clone(name), Text: bytes.Clone(text)}
		}
		if out.byKey[string(name)] != nil {
			return nil, fmt.Errorf("two rows have the key %.100s: the columns of `key` do not tell the rows apart", name)
		}
		out.byKey[string(row.Key)] = row
		out.rows = append(out.rows, row)
		if out.bytes += len(row.Text) + len(row.Key); out.bytes > maxResultBytes {
			return nil, protocol.Errorf(protocol.QueryFailed, "the result is too large to be watched")
		}
	}
	return out, rows.Err()
}

// keyColumns finds the columns of the key.
func keyColumns(columns []protocol.QueryColumn, names []string) ([]int, error) {
	at := make([]int, len(names))
	for i, name := range names {
		at[i] = -1
		for j, c := range columns {
			if c.Name == name {
				at[i] = j
			}
		}
		if at[i] < 0 {
			return nil, fmt.Errorf("the result has no column %q, which is part of the key", name)
		}
	}
	return at, nil
}

// appendKey appends a row's key: the value of its column, or an array where it has several.
func appendKey(dst []byte, rows stream.Rows, columns []int) []byte {
	if len(columns) == 1 {
		return rows.AppendValue(dst, columns[0])
	}
	for i, column := range columns {
		if i == 0 {
			dst = append(dst, '[')
		} else {
			dst = append(dst, ',')
		}
		dst = rows.AppendValue(dst, column)
	}
	return append(dst, ']')
}

// acceptLocked makes a reading the newest version, if it differs.
func (r *Result) acceptLocked(fresh *reading) error {
	if err := r.engine.resize(fresh.bytes - r.bytes); err != nil {
		return err
	}
	r.bytes = fresh.bytes
	if r.version == nil {
		r.rows = fresh.byKey
		r.version = &stream.Version{Revision: r.engine.firstRevision(), Columns: fresh.columns, Rows: fresh.rows}
		r.logFrom = r.version.Revision
		return nil
	}
	changes := difference(r.rows, r.version.Rows, fresh, r.version.Revision)
	if len(changes) == 0 {
		return nil // the order of the rows is not told
	}
	r.rows = fresh.byKey
	r.version = &stream.Version{Revision: changes[len(changes)-1].Revision, Columns: fresh.columns, Rows: fresh.rows}
	r.log = append(r.log, changes...)
	if limit := max(logChanges, len(fresh.rows)); len(r.log) > limit {
		r.trimLocked(limit)
	}
	r.engine.counters.changes.Add(int64(len(changes)))
	return nil
}

// trimLocked forgets the oldest changes. It makes a new log: others may be reading the old one.
func (r *Result) trimLocked(limit int) {
	drop := len(r.log) - limit
	r.logFrom = r.log[drop-1].Revision
	r.log = append([]stream.Change(nil), r.log[drop:]...)
}

// difference is what leads from one result to another: what went, then what came or changed, in the order of the rows. Each change has
// a revision of its own behind the given one, so that a client can go on from any of them.
func difference(old map[string]*stream.LiveRow, order []*stream.LiveRow, fresh *reading, revision int64) []stream.Change {
	var changes []stream.Change
	add := func(op string, row *stream.LiveRow) {
		revision += 2
		changes = append(changes, stream.Change{Revision: revision, Op: op, Row: row})
	}
	for _, row := range order {
		if fresh.byKey[string(row.Key)] == nil {
			add(protocol.OpDelete, row)
		}
	}
	for _, row := range fresh.rows {
		switch was := old[string(row.Key)]; {
		case was == nil:
			add(protocol.OpInsert, row)
		case was != row:
			add(protocol.OpUpdate, row)
		}
	}
	return changes
}

// failLocked notes that a run failed. What is for clients ends the result: it would not go otherwise the next time. All else is told
// and tried again.
func (r *Result) failLocked(name string, err error) {
	r.engine.counters.failures.Add(1)
	if told, ok := protocol.AsError(err); ok && told.Code == protocol.QueryFailed {
		r.ended = told
		return
	}
	told, ok := protocol.AsError(err)
	if !ok {
		var random [4]byte
		rand.Read(random[:]) // it never fails: see crypto/rand
		reference := hex.EncodeToString(random[:])
		told = protocol.Errorf(protocol.QueryFailed, "the query failed (reference %s)", reference)
		r.engine.log.Error("a watched query failed", zap.String("query", name), zap.String("reference", reference), zap.Error(err))
	}
	retry := *told
	if retry.RetryAfter == 0 {
		retry.RetryAfter = firstRetry
	}
	r.failures = stream.Failure{Number: r.failures.Number + 1, Told: &retry}
}
