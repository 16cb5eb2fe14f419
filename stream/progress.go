package stream

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// state is what a stream is doing.
type state int32

const (
	stateInitializing state = iota // the database has not answered yet
	stateStreaming
	stateThrottled // a delay between two batches
	statePaused    // no credit, or no room
)

func (s state) String() string {
	switch s {
	case stateInitializing:
		return "initializing"
	case stateThrottled:
		return "throttled"
	case statePaused:
		return "paused"
	default:
		return "streaming"
	}
}

// progress is what a stream tells about itself: written by run, read by anyone.
type progress struct {
	state   atomic.Int32
	total   atomic.Int64 // -1: not known
	exact   atomic.Bool
	rows    atomic.Int64 // taken from the database
	sent    atomic.Int64 // in batches sent
	batches atomic.Int64
	bytes   atomic.Int64

	stalled      atomic.Int64 // nanoseconds that run waited for the client, but for the current wait
	waitingSince atomic.Int64 // nanoseconds after the stream's start, plus 1; 0: run does not wait for the client

	elapsed time.Duration // owned by run: the time up to the ending
}

func (p *progress) begin(total int64, kind TotalKind) {
	if kind != KindExact && kind != KindEstimate || total < 0 {
		total = -1
	}
	p.exact.Store(kind == KindExact)
	p.total.Store(total)
	p.state.Store(int32(stateStreaming))
}

func (p *progress) begun() bool { return state(p.state.Load()) != stateInitializing }

// percentage is the share of rows out of the total, nil where that is not known. An estimate may be wrong, so it never says more
// than 99.
func (p *progress) percentage(rows int64) *float64 {
	total := p.total.Load()
	if !p.begun() || total < 0 {
		return nil
	}
	most := 99.0
	if p.exact.Load() {
		most = 100
	}
	share := most
	if total > 0 {
		share = min(most, 100*float64(rows)/float64(total))
	}
	return &share
}

// waited is how long run has waited for the client in all.
func (p *progress) waited(sinceStart time.Duration) time.Duration {
	d := time.Duration(p.stalled.Load())
	if since := p.waitingSince.Load(); since > 0 {
		d += max(0, sinceStart-time.Duration(since-1))
	}
	return d
}

// current is the state, where a send that takes long counts as paused.
func (p *progress) current(sinceStart time.Duration) state {
	now := state(p.state.Load())
	if since := p.waitingSince.Load(); now == stateStreaming && since > 0 && sinceStart-time.Duration(since) > time.Second {
		return statePaused
	}
	return now
}

// meter is a moving average of rows per second.
type meter struct {
	at     time.Duration
	rows   int64
	rate   float64
	primed bool
}

// update takes in the rows counted at a time after the stream's start.
func (m *meter) update(at time.Duration, rows int64) {
	seconds := (at - m.at).Seconds()
	if seconds <= 0 {
		return
	}
	now := float64(rows-m.rows) / seconds
	if m.primed {
		const weight = 0.3 // of the newest interval: after five intervals an old rate counts for less than a fifth
		now = m.rate + weight*(now-m.rate)
	}
	m.at, m.rows, m.rate, m.primed = at, rows, now, true
}

// eta is the time that the remaining rows will take at the present rate; nil where it cannot be told.
func (m *meter) eta(remaining int64) *time.Duration {
	const longest = 30 * 24 * time.Hour // beyond it the number says nothing
	if remaining < 0 || m.rate <= 0 {
		return nil
	}
	seconds := float64(remaining) / m.rate
	if seconds > longest.Seconds() {
		return nil
	}
	d := time.Duration(math.Ceil(seconds * float64(time.Second)))
	return &d
}

// tellProgress sends query_progress every interval until ctx is done, also while run waits for the database or for credit. It
// takes turns with run, so that each message stands whole between two others.
func (s *stream) tellProgress(ctx context.Context) {
	var m meter
	var buf []byte
	interval := time.NewTimer(s.options.ProgressInterval)
	defer interval.Stop()
	for {
		select {
		case <-interval.C:
		case <-ctx.Done():
			return
		}
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return
		}
		buf = s.appendProgress(buf[:0], &m)
		err := s.group.sender.Send(ctx, &s.share, buf)
		<-s.turn
		if err != nil {
			if ctx.Err() == nil {
				s.stop(s.outcome(err))
			}
			return
		}
		interval.Reset(s.options.ProgressInterval)
	}
}

func (s *stream) appendProgress(dst []byte, m *meter) []byte {
	p := &s.progress
	elapsed := time.Since(s.started)
	rows := p.rows.Load()
	m.update(elapsed, rows)
	msg := protocol.QueryProgress{
		StreamID:   s.id,
		Rows:       rows,
		Percentage: p.percentage(rows),
		Throughput: m.rate,
		Elapsed:    elapsed,
		Bytes:      p.bytes.Load(),
		Stalled:    p.waited(elapsed),
		State:      p.current(elapsed).String(),
	}
	if total := p.total.Load(); total >= 0 {
		msg.ETA = m.eta(total - rows)
	}
	return protocol.AppendQueryProgress(dst, msg)
}

func (s *stream) status(now time.Time) protocol.QueryStatus {
	elapsed := now.Sub(s.started)
	status := s.progress.current(elapsed)
	if status == stateThrottled {
		status = stateStreaming
	}
	sent := s.progress.sent.Load()
	return protocol.QueryStatus{
		StreamID: s.id,
		Status:   status.String(),
		Progress: s.progress.percentage(sent),
		Rows:     sent,
		Batches:  s.progress.batches.Load(),
		Elapsed:  elapsed,
	}
}

func (s *stream) info(now time.Time) Info {
	status := s.status(now)
	return Info{
		StreamID:     s.id,
		ConnectionID: s.owner.ConnectionID,
		User:         s.owner.User,
		Query:        s.query.Name,
		Watch:        s.watch != nil,
		Status:       status.Status,
		Progress:     status.Progress,
		Rows:         status.Rows,
		Batches:      status.Batches,
		Bytes:        s.progress.bytes.Load(),
		Started:      s.started,
		ElapsedMS:    status.Elapsed.Milliseconds(),
		StalledMS:    s.progress.waited(status.Elapsed).Milliseconds(),
	}
}
