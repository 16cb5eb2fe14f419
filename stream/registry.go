package stream

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Registry knows all streams of a hub. It is safe for concurrent use.
type Registry struct {
	log *zap.Logger
	max int

	counters counters
	metrics  metrics

	mu      sync.Mutex
	running map[string]*stream // by id; from Start to the ending
}

type counters struct {
	started, completed, cancelled, failed atomic.Int64
	rows, batches, bytes                  atomic.Int64
}

// Totals counts what a Registry's streams did since it was made.
type Totals struct {
	Started   int64 `json:"started"`
	Completed int64 `json:"completed"`
	Cancelled int64 `json:"cancelled"` // by the client, an operator or the end of the connection
	Failed    int64 `json:"failed"`    // ended by an error: of the database, max_duration or stall_timeout
	Rows      int64 `json:"rows"`      // sent
	Batches   int64 `json:"batches"`   // sent
	Bytes     int64 `json:"bytes"`     // of JSON in these batches
}

// Info describes a running stream.
type Info struct {
	StreamID     string    `json:"stream_id"`
	ConnectionID string    `json:"connection_id"`
	User         string    `json:"user,omitempty"`
	Query        string    `json:"query"`
	Status       string    `json:"status"` // initializing, streaming or paused
	Progress     *float64  `json:"progress"`
	Rows         int64     `json:"rows_sent"`
	Batches      int64     `json:"batches_sent"`
	Bytes        int64     `json:"bytes"`
	Started      time.Time `json:"started"`
	ElapsedMS    int64     `json:"elapsed_ms"`
	StalledMS    int64     `json:"stalled_ms"` // how long it waited for its client
}

// NewRegistry makes a Registry. maxStreams bounds the streams that run at once on all connections; 0 leaves that to the limits of
// each connection. Failures of queries go to log, nil logs nothing.
func NewRegistry(log *zap.Logger, maxStreams int) *Registry {
	if log == nil {
		log = zap.NewNop()
	}
	return &Registry{log: log, max: maxStreams, running: make(map[string]*stream)}
}

// Active is the number of running streams.
func (r *Registry) Active() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running)
}

// Totals counts since the Registry was made.
func (r *Registry) Totals() Totals {
	c := &r.counters
	return Totals{
		Started:   c.started.Load(),
		Completed: c.completed.Load(),
		Cancelled: c.cancelled.Load(),
		Failed:    c.failed.Load(),
		Rows:      c.rows.Load(),
		Batches:   c.batches.Load(),
		Bytes:     c.bytes.Load(),
	}
}

// List describes the running streams, the oldest first.
func (r *Registry) List() []Info {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Info, 0, len(r.running))
	for _, s := range r.running {
		list = append(list, s.info(now))
	}
	slices.SortFunc(list, func(a, b Info) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.StreamID, b.StreamID))
	})
	return list
}

// Cancel ends a stream for an operator: its client gets query_cancelled with the reason "operator". It reports whether the stream
// ran.
func (r *Registry) Cancel(streamID string) bool {
	streamID, ok := parseStreamID(streamID)
	if !ok {
		return false
	}
	r.mu.Lock()
	s := r.running[streamID]
	r.mu.Unlock()
	return s != nil && s.stop(&ending{kind: endCancelled, reason: "operator"})
}

// add takes a place for s; false where the Registry is full.
func (r *Registry) add(s *stream) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.max > 0 && len(r.running) >= r.max {
		return false
	}
	r.running[s.id] = s
	r.counters.started.Add(1)
	s.counted = r.metrics.of(s.query)
	s.counted.started.Add(1)
	return true
}

// remove gives the place of s back and counts how it ended.
func (r *Registry) remove(s *stream, end *ending) {
	r.mu.Lock()
	delete(r.running, s.id)
	r.mu.Unlock()
	s.counted.ended(end)
	switch end.kind {
	case endCompleted:
		r.counters.completed.Add(1)
	case endCancelled, endGone:
		r.counters.cancelled.Add(1)
	case endFailed:
		r.counters.failed.Add(1)
	}
}
