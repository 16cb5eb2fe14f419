package stream

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/histogram"
)

// Kind is what streams are counted by: configured names, never a text of a client's.
type Kind struct{ Source, Query string }

// maxKinds bounds the kinds, which grow with each reload that brings new names. Beyond it all are counted as others.
const maxKinds = 1000

// others are the streams of kinds that have no counters of their own.
var others = Kind{"other", "other"}

// kindCounters counts the streams of a kind.
type kindCounters struct {
	started, completed, cancelled, failed, gone atomic.Int64
	rows, batches, bytes                        atomic.Int64
	stalled                                     atomic.Int64 // nanoseconds
	source                                      *sourceTimes
}

// sourceTimes measures a source.
type sourceTimes struct {
	firstRow *histogram.Histogram // from the request to its first row
	idle     *histogram.Histogram // from the stop of a running query to the end of its work
}

// The buckets of both.
var (
	firstRowBounds = []time.Duration{
		time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
		50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
		2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
	}
	idleBounds = []time.Duration{
		time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
		100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second,
	}
)

// metrics counts what the streams of a Registry did, by their kinds.
type metrics struct {
	mu      sync.Mutex
	kinds   map[Kind]*kindCounters
	sources map[string]*sourceTimes
}

// of gives the counters for streams of a query.
func (m *metrics) of(q *Query) *kindCounters {
	m.mu.Lock()
	defer m.mu.Unlock()
	kind := Kind{q.Source, q.Name}
	if c := m.kinds[kind]; c != nil {
		return c
	}
	if len(m.kinds) >= maxKinds {
		kind = others
		if c := m.kinds[kind]; c != nil {
			return c
		}
	}
	if m.kinds == nil {
		m.kinds, m.sources = make(map[Kind]*kindCounters), make(map[string]*sourceTimes)
	}
	times := m.sources[kind.Source]
	if times == nil {
		times = &sourceTimes{histogram.New(firstRowBounds...), histogram.New(idleBounds...)}
		m.sources[kind.Source] = times
	}
	c := &kindCounters{source: times}
	m.kinds[kind] = c
	return c
}

// ended counts how a stream ended.
func (c *kindCounters) ended(end *ending) {
	switch end.kind {
	case endCompleted:
		c.completed.Add(1)
	case endCancelled:
		c.cancelled.Add(1)
	case endFailed:
		c.failed.Add(1)
	case endGone:
		c.gone.Add(1)
	}
}

// measureIdle is for when the database is idle again: it measures how long that took for a stream that was stopped from outside.
func (s *stream) measureIdle() {
	s.mu.Lock()
	stopped, at := s.stopped, s.stoppedAt
	s.mu.Unlock()
	if stopped {
		s.counted.source.idle.Observe(time.Since(at))
	}
}

// KindTotals is what the streams of a kind did since the Registry was made, and do now.
type KindTotals struct {
	Kind
	Started                            int64
	Completed, Cancelled, Failed, Gone int64 // Gone: the connection ended before
	Rows, Batches, Bytes               int64 // sent
	Stalled                            time.Duration
	Initializing, Streaming, Paused    int
}

// Kinds gives the totals of all kinds, in the order of their names.
func (r *Registry) Kinds() []KindTotals {
	now := time.Now()
	active := make(map[*kindCounters]map[string]int)
	r.mu.Lock()
	for _, s := range r.running {
		if active[s.counted] == nil {
			active[s.counted] = make(map[string]int)
		}
		active[s.counted][s.status(now).Status]++
	}
	r.mu.Unlock()
	r.metrics.mu.Lock()
	defer r.metrics.mu.Unlock()
	totals := make([]KindTotals, 0, len(r.metrics.kinds))
	for kind, c := range r.metrics.kinds {
		totals = append(totals, KindTotals{
			Kind: kind, Started: c.started.Load(), Completed: c.completed.Load(), Cancelled: c.cancelled.Load(), Failed: c.failed.Load(),
			Gone: c.gone.Load(), Rows: c.rows.Load(), Batches: c.batches.Load(), Bytes: c.bytes.Load(),
			Stalled: time.Duration(c.stalled.Load()), Initializing: active[c][stateInitializing.String()],
			Streaming: active[c][stateStreaming.String()], Paused: active[c][statePaused.String()],
		})
	}
	slices.SortFunc(totals, func(a, b KindTotals) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Query, b.Query))
	})
	return totals
}

// SourceTimes is how long the queries of a source took.
type SourceTimes struct {
	Source string
	// FirstRow is from the request to its first row, Idle from stopping a running query until the database is done with it.
	FirstRow, Idle histogram.Snapshot
}

// Sources gives the times of all sources, in the order of their names.
func (r *Registry) Sources() []SourceTimes {
	r.metrics.mu.Lock()
	defer r.metrics.mu.Unlock()
	times := make([]SourceTimes, 0, len(r.metrics.sources))
	for name, t := range r.metrics.sources {
		times = append(times, SourceTimes{name, t.firstRow.Snapshot(), t.idle.Snapshot()})
	}
	slices.SortFunc(times, func(a, b SourceTimes) int { return cmp.Compare(a.Source, b.Source) })
	return times
}
