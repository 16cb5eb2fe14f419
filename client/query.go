package client

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"
)

// QueryOptions say how a query runs. nil is as good as the zero value.
type QueryOptions struct {
	// BatchSize is how many rows come in one batch. Default: the server's, 100.
	BatchSize int
	// Window is how many batches may be on their way or wait here: the server sends no more until one is done with (credit). Default: 32.
	Window int
	// Arrays asks for rows as arrays in the order of Columns, which is less to send. Default: objects.
	Arrays bool
	// Source is the site's source that a statement of the client's own runs on. It means nothing to a configured query. Default: the first
	// that is open to the client.
	Source string
	// OnProgress is called with the server's reports, by the goroutine that takes the rows, between two batches and while it waits for
	// one; where several have come, with the last. Default: none.
	OnProgress func(Progress)
}

// Progress is how far a query is.
type Progress struct {
	Rows       int64         // taken from the database
	Percentage *float64      // 0 to 100, at most 99 until the end unless the total is exact; nil where it is not known
	Throughput float64       // rows per second
	Elapsed    time.Duration // since the request
	ETA        *time.Duration
	Bytes      int64         // of JSON sent
	Stalled    time.Duration // how long, of Elapsed, it waited for this client
	State      string        // streaming, throttled or paused
}

// Batch is some rows, in the order of the result.
type Batch struct {
	Number int64 // from 0
	Rows   []Row
	Last   bool
}

// Result is what the server says of a query that is complete.
type Result struct {
	Rows, Batches int64
	Elapsed       time.Duration
}

// Rows are the rows of a running query. They are taken once, by All or Batches, by one goroutine; all else is safe for concurrent use. Rows
// that were not taken to their end must be closed.
type Rows struct {
	// Static.
	c       *Client
	query   request
	o       QueryOptions
	started chan struct{} // is closed with the first query_started
	ended   chan struct{} // is closed once nothing more comes
	release func() bool   // lets go of the context

	taken takeovers // guarded by c.mu

	mu       sync.Mutex
	streamID string
	columns  []Column
	total    *int64
	kind     string
	last     int64   // the last batch that came, -1 before the first
	waiting  []Batch // at most o.Window
	inHand   bool    // the one before these was taken and is not done with
	owed     int     // batches that are done with and were not granted anew
	progress *Progress
	told     bool // OnProgress knows progress
	result   *Result
	err      error     // why it ended; errDone where it is complete
	lost     time.Time // since when it stands still; zero while it goes on, and before it began
	signal   chan struct{}
}

// errDone is the err of Rows that are complete.
var errDone = errors.New("complete")

// Query runs a query that the site has configured, by its name, or where the site allows it a select of the client's own. params is what
// encodes as a JSON object, such as a map or a struct; nil for none. It returns once the server has begun, or with an *Error. ctx is for
// all of the query: when it ends, so does the query, in the database too.
//
// Where the connection is lost the query goes on over the next, with no row twice and none left out, if that comes within a minute and
// the server still knows of it; else the rows end with an *Error (INVALID_STREAM_ID, STREAM_ERROR), and the query must be begun again.
func (c *Client) Query(ctx context.Context, query string, params any, o *QueryOptions) (*Rows, error) {
	encoded, err := encodeParams(params)
	if err != nil {
		return nil, err
	}
	r := &Rows{
		c: c, query: request{Type: "stream_query", Query: query, Params: encoded}, last: -1,
		started: make(chan struct{}), ended: make(chan struct{}), signal: make(chan struct{}, 1),
	}
	if o != nil {
		r.o = *o
	}
	if r.o.BatchSize < 0 || r.o.Window < 0 {
		return nil, errors.New("client: an option is negative")
	}
	setDefault(&r.o.Window, 32)
	r.query.BatchSize, r.query.Source = r.o.BatchSize, r.o.Source
	if r.o.Arrays {
		r.query.Format = "arrays"
	}
	if err := c.addStream(ctx, r); err != nil {
		return nil, err
	}
	if err := c.awaitStart(ctx, r, r.started, r.ended, func() error { return r.err }); err != nil {
		return nil, err
	}
	r.release = context.AfterFunc(ctx, func() { r.drop(context.Cause(ctx)) })
	return r, nil
}

// Columns are the result's.
func (r *Rows) Columns() []Column {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.columns
}

// Total is how many rows the server expects, and whether that is exact, estimate or unknown (and then 0).
func (r *Rows) Total() (rows int64, kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.total != nil {
		rows = *r.total
	}
	return rows, r.kind
}

// StreamID is the server's id of the query.
func (r *Rows) StreamID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.streamID
}

// Progress is the server's last report; false before the first.
func (r *Rows) Progress() (Progress, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.progress == nil {
		return Progress{}, false
	}
	return *r.progress, true
}

// Result is what the server says at the end; false before it, and where the query was not completed.
func (r *Rows) Result() (Result, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.result == nil {
		return Result{}, false
	}
	return *r.result, true
}

// Status asks the server how far the query is. Of a query that goes on after the loss of a connection it knows once that has happened.
func (r *Rows) Status(ctx context.Context) (*QueryStatus, error) {
	return r.c.QueryStatus(ctx, r.StreamID())
}

// Close ends the query, in the database too, where it is not complete. It is idempotent; the error is always nil.
func (r *Rows) Close() error {
	r.release()
	r.drop(ErrClosed)
	return nil
}

// drop ends the query here; what waits is of no interest any more.
func (r *Rows) drop(err error) {
	r.c.dropStream(r, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = nil
}

// All gives all rows. An error is the last pair: an *Error of the server, a *CancelledError, the end of the query's context or of the
// Client. Breaking off ends the query.
func (r *Rows) All() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for batch, err := range r.Batches() {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, row := range batch.Rows {
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// Batches gives all rows batch by batch, with errors as All. A batch counts as done with, and another is asked for, when the next is taken.
func (r *Rows) Batches() iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		defer r.Close()
		for {
			batch, err := r.next()
			if errors.Is(err, errDone) {
				return
			}
			if !yield(batch, err) || err != nil {
				return
			}
		}
	}
}

func (r *Rows) next() (Batch, error) {
	r.doneWith()
	for {
		r.mu.Lock()
		progress := r.reportLocked()
		var batch Batch
		ok := len(r.waiting) > 0
		if ok {
			batch, r.waiting[0] = r.waiting[0], Batch{}
			r.waiting, r.inHand = r.waiting[1:], true
		}
		err := r.err
		r.mu.Unlock()
		if progress != nil {
			r.o.OnProgress(*progress)
		}
		switch {
		case ok:
			return batch, nil
		case err != nil:
			return Batch{}, err
		}
		select {
		case <-r.signal:
		case <-r.ended:
		}
	}
}

// reportLocked gives a report that OnProgress does not know; nil where there is none.
func (r *Rows) reportLocked() *Progress {
	if r.o.OnProgress == nil || r.told || r.progress == nil {
		return nil
	}
	r.told = true
	return r.progress
}

func (r *Rows) requestLocked() request {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.query
	credits := r.o.Window - len(r.waiting)
	if r.inHand {
		credits--
	}
	q.Credits, r.owed = &credits, 0
	if r.streamID != "" {
		batch := r.last
		q.Resume = &resume{StreamID: r.streamID, Batch: &batch}
	}
	return q
}

func (r *Rows) startedLocked(m *message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streamID, r.lost = m.StreamID, time.Time{}
	r.columns, r.total, r.kind = m.Columns, m.Estimated, m.TotalKind
	select {
	case <-r.started:
	default:
		close(r.started)
	}
}

// resumeTime is for how long a server can go on with a query.
const resumeTime = time.Minute

func (r *Rows) refusedLocked(s *session, refusal *Error) {
	r.mu.Lock()
	resuming := r.streamID != ""
	// The server may find room yet, as long as it knows of the query. What never began is the caller's to try again.
	patient := (retryable(refusal) || limited(refusal)) && !r.lost.IsZero() && time.Since(r.lost) < resumeTime
	// With no row taken nothing is lost by beginning anew.
	anew := resuming && r.last < 0 && !patient && r.taken.reason == ""
	if anew {
		r.streamID = ""
	}
	r.mu.Unlock()
	switch {
	case s.goingAway != nil: // the next connection will do
	case patient:
		r.c.restartLocked(s, r, refusal)
	case anew:
		r.c.startLocked(s, r)
	case r.taken.reason != "":
		r.c.endLocked(r, &CancelledError{Reason: r.taken.reason})
	default:
		r.c.endLocked(r, refusal)
	}
}

func (r *Rows) lostLocked() {
	r.taken = takeovers{}
	r.stop()
}

// stop notes since when a query that had begun stands still.
func (r *Rows) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.streamID != "" && r.lost.IsZero() {
		r.lost = time.Now()
	}
}

func (r *Rows) takeLocked(s *session, m *message) error {
	switch m.Type {
	case "query_batch":
		r.taken = takeovers{}
		return r.takeBatch(m)
	case "query_progress":
		r.takeProgress(m)
	case "query_completed":
		r.mu.Lock()
		r.result = &Result{Rows: m.TotalRows, Batches: m.Batches, Elapsed: milliseconds(m.ExecutionMS)}
		whole := m.Batches == r.last+1
		r.mu.Unlock()
		if !whole {
			return protocolError("%d batches came of %d", r.last+1, m.Batches)
		}
		r.c.endLocked(r, errDone)
	case "query_cancelled":
		r.stop()
		r.c.cancelledLocked(s, r, m, &r.taken)
	case "error":
		r.c.endLocked(r, m.err())
	}
	return nil
}

func (r *Rows) takeBatch(m *message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.err != nil:
		return nil
	case m.BatchNumber != r.last+1:
		return protocolError("batch %d comes behind %d", m.BatchNumber, r.last)
	case len(r.waiting) >= r.o.Window:
		return protocolError("batch %d was not granted", m.BatchNumber)
	}
	r.last = m.BatchNumber
	r.waiting = append(r.waiting, Batch{Number: m.BatchNumber, Rows: m.Rows, Last: !m.HasMore})
	r.wakeLocked()
	return nil
}

func (r *Rows) takeProgress(m *message) {
	p := &Progress{
		Rows: m.RowsProcessed, Percentage: m.Percentage, Throughput: m.Throughput, Elapsed: milliseconds(m.ElapsedMS), Bytes: m.Bytes,
		Stalled: milliseconds(m.StalledMS), State: m.State,
	}
	if m.ETA != nil {
		eta := milliseconds(*m.ETA)
		p.ETA = &eta
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress, r.told = p, false
	r.wakeLocked()
}

func (r *Rows) wakeLocked() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

func (r *Rows) finish(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
		close(r.ended)
	}
}
