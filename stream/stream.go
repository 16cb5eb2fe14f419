package stream

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

const (
	// maxBatchBytes ends a batch early, whatever its number of rows, so that wide rows do not make huge messages.
	maxBatchBytes = 1 << 20
	// maxRowBytes is the longest row that is sent at all.
	maxRowBytes = 16 << 20
	// A batch that has a row waits for others as long as at least slowRows come within each lingerTime.
	lingerTime = 250 * time.Millisecond
	slowRows   = 25
)

// stream is one running query: run reads its rows and sends them, tellProgress speaks beside it while the database or the client
// keeps run waiting.
type stream struct {
	// Static once the stream has started.
	id        string
	request   protocol.ID
	name      string // of the query, as the client called it
	query     *Query
	args      []Value
	options   Options
	batchSize int
	arrays    bool
	resume    *Resume       // nil: the query begins
	watch     *Watch        // nil: the result ends
	ended     func(Ended)   // nil: nobody asks
	left      *remains      // what can be gone on with from another connection; once before has retired it is this stream's
	before    *stream       // the same stream on another connection, which this one takes over; nil where there is none
	retired   chan struct{} // closed once the database is idle and another may take over
	told      chan struct{} // closed once the client has been told of the ending, as far as it can be
	credit    *flow.Credit  // nil: the throttle rules
	group     *Group
	owner     Owner // when it started
	started   time.Time
	ctx       context.Context // done once the stream has been stopped, or has ended
	cancel    context.CancelCauseFunc
	share     flow.Share // of the connection's room: the sender's own
	counted   *kindCounters
	turn      chan struct{} // holds a token while a message is being sent

	// Owned by run.
	buf    []byte
	rows   *RowEncoder
	goesOn bool         // the client has a part of the result, and is told so
	number int64        // of the next batch
	text   maphash.Hash // over all rows that were sent, with a comma behind each
	pacer  flow.Pacer
	stall  *time.Timer // armed while run waits for the client
	linger *time.Timer // makes a batch overdue

	overdue atomic.Bool  // the batch at hand is to go out as it is
	paced   atomic.Int64 // rows taken when the pace was looked at last

	progress progress

	mu        sync.Mutex
	stopped   bool // the ending is settled
	stoppedAt time.Time
	end       *ending
}

// run is the stream's goroutine, from the query to the ending.
func (s *stream) run() {
	defer s.group.release()
	defer close(s.told)
	if s.watch != nil {
		defer s.watch.Live.Leave()
	}
	if s.before != nil {
		<-s.before.retired // it was stopped
		s.before = nil
	}
	s.left.trail.keepLess(s.credit == nil)
	if s.watch == nil {
		deadline := time.AfterFunc(s.options.MaxDuration, func() {
			s.stop(failure(protocol.QueryTimeout, "the query ran longer than %s", s.options.MaxDuration))
		})
		defer deadline.Stop()
	}
	s.stall = time.AfterFunc(s.options.StallTimeout, func() {
		s.stop(failure(protocol.StreamError, "nothing was read and no credit granted for %s", s.options.StallTimeout).resumable())
	})
	s.stall.Stop()
	s.linger = time.AfterFunc(lingerTime, s.lookAtPace)
	s.linger.Stop()

	err := s.execute()
	s.measureIdle()
	s.stall.Stop()
	s.linger.Stop()
	if err == nil {
		s.left.complete = true
	}
	end := s.settle(err)
	s.progress.elapsed = time.Since(s.started)
	s.group.retire(s, end)
	close(s.retired)
	s.tellEnded(end)
	s.tellEnding(end)
}

// execute runs the query and sends its rows. When it returns the database is idle again and tellProgress is gone.
func (s *stream) execute() (err error) {
	defer func() {
		// A fault in a driver must cost its own stream, not the server.
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	switch {
	case s.watch != nil:
		return s.follow()
	case s.resume != nil:
		s.goesOn = true
		return s.resumed()
	default:
		return s.runQuery(mark{})
	}
}

// runQuery runs the query and sends its rows but those that the client has, up to at.
func (s *stream) runQuery(at mark) (err error) {
	if s.query.RawText != "" {
		s.log().Debug("a client's own statement", zap.String("sql", s.query.RawText))
	}
	rows, err := s.query.Statement.Query(s.ctx, Run{
		Args:         s.args,
		Total:        cmp.Or(s.query.Total, TotalNone),
		Int64Strings: s.query.Int64Strings,
		User:         s.owner.User,
	})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := rows.Close(); closeErr != nil && err == nil {
			err = closeErr
		}
	}()
	s.rows = NewRowEncoder(rows.Columns(), s.arrays)
	s.left.columns = s.rows.Columns()
	total, kind := rows.Total()
	if err := s.tellStarted(s.left.columns, total, kind); err != nil {
		return err
	}
	return s.withProgress(func() error {
		if err := s.readOver(rows, at); err != nil {
			return err
		}
		return s.sendRows(rows)
	})
}

// withProgress has progress told while f runs.
func (s *stream) withProgress(f func() error) error {
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tellProgress(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	return f()
}

func (s *stream) tellStarted(columns []protocol.QueryColumn, total int64, kind TotalKind) error {
	started := protocol.QueryStarted{StreamID: s.id, Query: s.name, ID: s.request, Columns: columns, Resumed: s.goesOn}
	if started.TotalKind = string(kind); kind == KindExact || kind == KindEstimate {
		started.Rows = &total
	} else {
		started.TotalKind = string(KindUnknown)
	}
	s.progress.begin(total, kind)
	return s.send(protocol.AppendQueryStarted(s.buf[:0], started))
}

// sendRows sends all rows in batches. It looks one row ahead, so that the last batch can say that it is the last.
func (s *stream) sendRows(rows Rows) error {
	more := s.next(rows)
	for ; more; s.number++ {
		if err := s.admit(); err != nil {
			return err
		}
		s.overdue.Store(false)
		s.paced.Store(s.progress.rows.Load())
		s.linger.Reset(lingerTime)
		count := 0
		buf := protocol.AppendQueryBatchStart(s.buf[:0], s.id, s.number)
		first := len(buf)
		// A batch that is overdue goes out once there is a row behind it: only then is it known not to be the last.
		for more && count < s.batchSize && len(buf) < maxBatchBytes && (count == 0 || !s.overdue.Load()) {
			if count > 0 {
				buf = append(buf, ',')
			}
			start := len(buf)
			buf = s.rows.Append(buf, rows)
			if len(buf)-start > maxRowBytes {
				return protocol.Errorf(protocol.QueryFailed, "a row is longer than %d bytes", maxRowBytes)
			}
			count++
			more = s.next(rows)
		}
		s.linger.Stop()
		if err := s.failed(rows); err != nil {
			return err
		}
		s.text.Write(buf[first:])
		s.text.WriteByte(',')
		buf = protocol.AppendQueryBatchEnd(buf, more)
		s.left.trail.add(buf, mark{s.progress.sent.Load() + int64(count), s.text.Sum64()})
		if err := s.send(buf); err != nil {
			return err
		}
		s.sent(count, len(buf))
		if s.buf = buf; cap(buf) > 2*maxBatchBytes {
			s.buf = nil // a single long row is no reason to hold so much
		}
	}
	return s.failed(rows)
}

// lookAtPace makes the batch at hand overdue where rows come slowly. A machine that is busy still gives many in this time.
func (s *stream) lookAtPace() {
	rows := s.progress.rows.Load()
	if rows-s.paced.Swap(rows) < slowRows {
		s.overdue.Store(true)
		return
	}
	s.linger.Reset(lingerTime)
}

// next moves to the next row unless the stream has been stopped.
func (s *stream) next(rows Rows) bool {
	if s.ctx.Err() != nil || !rows.Next() {
		return false
	}
	if s.progress.rows.Add(1) == 1 {
		s.counted.source.firstRow.Observe(time.Since(s.started))
	}
	return true
}

// failed is why the rows ended, if not regularly.
func (s *stream) failed(rows Rows) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	return rows.Err()
}

// sent counts a batch.
func (s *stream) sent(rows, bytes int) {
	s.progress.sent.Add(int64(rows))
	s.progress.batches.Add(1)
	s.progress.bytes.Add(int64(bytes))
	c := &s.group.registry.counters
	c.rows.Add(int64(rows))
	c.batches.Add(1)
	c.bytes.Add(int64(bytes))
	s.counted.rows.Add(int64(rows))
	s.counted.batches.Add(1)
	s.counted.bytes.Add(int64(bytes))
}

// stop ends the stream from outside. It reports false where its ending was settled before, which then is told instead.
func (s *stream) stop(end *ending) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.stopped, s.end, s.stoppedAt = true, end, time.Now()
	s.cancel(end)
	return true
}

// settle gives the stream's ending: that of who stopped it, otherwise what err says.
func (s *stream) settle(err error) *ending {
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if !stopped {
		s.stop(s.outcome(err)) // or somebody else just now
	}
	return s.end
}
