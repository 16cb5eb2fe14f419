package stream

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Registry knows all streams of a hub. It is safe for concurrent use.
type Registry struct {
	log  *zap.Logger
	seed maphash.Seed // of the hashes over rows

	counters counters
	metrics  metrics
	groups   atomic.Uint64 // made so far

	mu      sync.Mutex
	running map[string]*stream // by id; from Start to the ending
	watches int                // how many of them are watches
	users   map[string]int     // how many of the others each user runs
	shelf   shelf
}

type counters struct {
	started, completed, cancelled, failed atomic.Int64
	resumed, refused                      atomic.Int64
	rows, batches, bytes                  atomic.Int64
}

// Totals counts what a Registry's streams did since it was made.
type Totals struct {
	Started   int64 `json:"started"` // resumed ones included
	Resumed   int64 `json:"resumed"`
	Refused   int64 `json:"refused"` // because too many ran, of one user or in all
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
	Watch        bool      `json:"watch,omitempty"` // it is watched, and ends only when the client says so
	Status       string    `json:"status"`          // initializing, streaming or paused
	Progress     *float64  `json:"progress"`
	Rows         int64     `json:"rows_sent"`
	Batches      int64     `json:"batches_sent"`
	Bytes        int64     `json:"bytes"`
	Started      time.Time `json:"started"`
	ElapsedMS    int64     `json:"elapsed_ms"`
	StalledMS    int64     `json:"stalled_ms"` // how long it waited for its client
}

// NewRegistry makes a Registry. Failures of queries go to log, nil logs nothing.
func NewRegistry(log *zap.Logger) *Registry {
	if log == nil {
		log = zap.NewNop()
	}
	return &Registry{log: log, seed: maphash.MakeSeed(), running: make(map[string]*stream), users: make(map[string]int)}
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
		Resumed:   c.resumed.Load(),
		Refused:   c.refused.Load(),
		Completed: c.completed.Load(),
		Cancelled: c.cancelled.Load(),
		Failed:    c.failed.Load(),
		Rows:      c.rows.Load(),
		Batches:   c.batches.Load(),
		Bytes:     c.bytes.Load(),
	}
}

// Watches is the number of running watches.
func (r *Registry) Watches() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.watches
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

// add takes a place for s, and what remains of the stream that it resumes; the error is a *protocol.Error. A stream that is taken over
// gives its place to s.
func (r *Registry) add(s *stream) error {
	user := s.owner.User
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.resume != nil {
		if old := r.running[s.id]; old != nil && old.left.user == user {
			if old.group.number > s.group.number {
				return protocol.Errorf(protocol.InvalidStreamID, "this query goes on on a connection that was made later")
			}
			s.before, s.left = old, old.left
		} else if r.shelf.find(s.id, user) < 0 {
			return notResumable()
		}
	}
	if s.watch != nil {
		return r.addWatchLocked(s)
	}
	if s.before == nil {
		switch {
		case len(r.running)-r.watches >= s.options.MaxStreamsTotal:
			r.counters.refused.Add(1)
			return protocol.Errorf(protocol.LimitExceeded, "too many queries are running; try again later")
		case user != "" && r.users[user] >= s.options.MaxStreamsPerUser:
			r.counters.refused.Add(1)
			return protocol.Errorf(protocol.LimitExceeded, "at most %d queries of one user may run at once", s.options.MaxStreamsPerUser)
		case s.resume != nil:
			s.left = r.shelf.take(s.id, user)
		}
	}
	r.running[s.id] = s
	if user != "" {
		r.users[user]++
	}
	r.counters.started.Add(1)
	s.counted = r.metrics.of(s.query)
	s.counted.started.Add(1)
	if s.resume != nil {
		r.counters.resumed.Add(1)
	}
	return nil
}

// addWatchLocked is add for a watch. One that goes on with another has its id, unless that is taken; one that still runs on another
// connection of the user's is stopped.
func (r *Registry) addWatchLocked(s *stream) error {
	if r.watches >= s.options.MaxWatchesTotal {
		r.counters.refused.Add(1)
		return protocol.Errorf(protocol.LimitExceeded, "too many queries are watched; try again later")
	}
	if id, ok := parseStreamID(s.watch.StreamID); ok && r.shelf.find(id, s.left.user) < 0 {
		old := r.running[id]
		if old != nil && old.watch != nil && old.left.user == s.left.user && old.group.number < s.group.number {
			s.before = old
		}
		if old == nil || s.before != nil {
			s.id, s.left.id = id, id
		}
	}
	r.running[s.id] = s
	r.watches++
	r.counters.started.Add(1)
	s.counted = r.metrics.of(s.query)
	s.counted.started.Add(1)
	return nil
}

// remove gives the place of s back, counts how it ended, and keeps what remains of it where it can be resumed and was not taken over.
func (r *Registry) remove(s *stream, end *ending) {
	r.mu.Lock()
	if r.running[s.id] == s {
		delete(r.running, s.id)
		if s.watch == nil && end.keeps && (s.left.complete || s.left.trail.length() > 0) {
			r.shelf.put(s.left, time.Now(), r.sweepShelf)
		}
	}
	if s.watch != nil {
		r.watches--
	} else if user := s.owner.User; user != "" {
		if r.users[user]--; r.users[user] == 0 {
			delete(r.users, user)
		}
	}
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
