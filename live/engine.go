package live

import (
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

const (
	// maxResults is how many different results are kept, those included that nobody watches at the moment.
	maxResults = 1000
	// maxBytes is the most that the rows of all results may take.
	maxBytes = 256 << 20
	// lingerTime is how long a result is remembered that nobody watches, for those who come again.
	lingerTime = time.Minute
)

// Query is a query that can be watched.
type Query struct {
	Query *stream.Query
	Watch Watch
}

// Engine keeps the results that a hub's clients watch. There is one for each query, its values, and the user as far as the query
// depends on it, however many watch it. It is safe for concurrent use.
type Engine struct {
	log      *zap.Logger
	counters counters
	bytes    atomic.Int64

	mu      sync.Mutex
	queries map[string]Query
	results map[string]*Result
	shares  shares
	timer   *time.Timer // of the next result to be forgotten; nil where there is none
	closed  bool
}

type counters struct{ runs, failures, changes atomic.Int64 }

// Stats is an Engine at a moment. Totals count from its beginning.
type Stats struct {
	Results  int   `json:"results"` // that are kept true or remembered
	Bytes    int64 `json:"bytes"`   // of their rows
	Runs     int64 `json:"runs_total"`
	Failures int64 `json:"failures_total"`
	Changes  int64 `json:"changes_total"`
}

// NewEngine makes an Engine, which knows no query before Configure. It must be closed.
func NewEngine(log *zap.Logger) *Engine {
	return &Engine{log: log, results: make(map[string]*Result), shares: newShares()}
}

// Stats tells how the engine stands.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	results := len(e.results)
	e.mu.Unlock()
	c := &e.counters
	return Stats{results, e.bytes.Load(), c.runs.Load(), c.failures.Load(), c.changes.Load()}
}

// Configure puts other queries in force. Results of those that are still there go on under them; those of others end.
func (e *Engine) Configure(queries map[string]Query) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.queries
	e.queries = queries
	for key, r := range e.results {
		was, is := old[r.query.Name], queries[r.query.Name]
		if r.watchers > 0 && is.Query != nil && reflect.DeepEqual(was.Query.Params, is.Query.Params) {
			r.replaceLocked(is)
			continue
		}
		e.endLocked(key, r, protocol.Errorf(protocol.QueryNotFound, "the query is not there any more"))
	}
}

// Lookup tells how a query is watched; false where it cannot be.
func (e *Engine) Lookup(name string) (Watch, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	q := e.queries[name]
	return q.Watch.WithDefaults(), q.Query != nil
}

// Watch gives the result of a query for one who watches it. The values are those of the query's parameters. The error is a
// *protocol.Error. When as many results are kept as may be, one of an owner who has more than its share ends with LIMIT_EXCEEDED.
func (e *Engine) Watch(name string, args []stream.Value, user string, owner Owner) (stream.Live, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	q := e.queries[name]
	switch {
	case e.closed:
		return nil, protocol.Errorf(protocol.Internal, "the server is going away")
	case q.Query == nil:
		return nil, protocol.Errorf(protocol.InvalidParams, "this query cannot be watched")
	}
	if stream.Impersonal(q.Query.Statement) {
		user = ""
	}
	key := keyOf(name, args, user)
	r := e.results[key]
	if r != nil && r.hasEnded() { // the query may do now
		e.endLocked(key, r, nil)
		r = nil
	}
	if r == nil {
		if !e.makeRoomLocked(owner) {
			return nil, tooManyResults()
		}
		r = &Result{
			engine: e, key: key, query: q.Query, watch: q.Watch.WithDefaults(),
			run:  stream.Run{Args: args, Int64Strings: q.Query.Int64Strings, User: user},
			wake: make(chan struct{}, 1), news: make(chan struct{}),
		}
		e.results[key] = r
	}
	w := &watcher{Result: r, owner: owner, after: -1}
	e.shares.add(owner, r)
	if r.watchers++; r.watchers == 1 {
		r.mu.Lock()
		w.after = r.runs
		r.mu.Unlock()
		r.start()
	}
	return w, nil
}

// leave is called by one who no longer watches.
func (e *Engine) leave(r *Result, owner Owner) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shares.remove(owner, r)
	if r.watchers--; r.watchers > 0 || e.results[r.key] != r {
		return
	}
	r.stop()
	r.expires = time.Now().Add(lingerTime)
	if e.timer == nil {
		e.timer = time.AfterFunc(lingerTime, e.sweep)
	}
}

// sweep forgets what nobody has watched for long.
func (e *Engine) sweep() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.timer = nil
	var next time.Time
	for key, r := range e.results {
		switch {
		case r.watchers > 0:
		case !time.Now().Before(r.expires):
			e.endLocked(key, r, nil)
		case next.IsZero() || r.expires.Before(next):
			next = r.expires
		}
	}
	if !next.IsZero() && !e.closed {
		e.timer = time.AfterFunc(time.Until(next), e.sweep)
	}
}

// forgetLocked makes room for another result; it tells whether there was one that nobody watches.
func (e *Engine) forgetLocked() bool {
	var oldest *Result
	for _, r := range e.results {
		if r.watchers == 0 && (oldest == nil || r.expires.Before(oldest.expires)) {
			oldest = r
		}
	}
	if oldest == nil {
		return false
	}
	e.endLocked(oldest.key, oldest, nil)
	return true
}

// endLocked takes a result off the books, and tells those who watch it why.
func (e *Engine) endLocked(key string, r *Result, why error) {
	delete(e.results, key)
	r.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	e.bytes.Add(-int64(r.bytes))
	r.bytes = 0
	if r.ended == nil {
		r.ended = why
	}
	close(r.news)
	r.news = make(chan struct{})
}

// resize counts the bytes of a result that has become larger or smaller.
func (e *Engine) resize(by int) error {
	if e.bytes.Add(int64(by)) > maxBytes && by > 0 {
		e.bytes.Add(-int64(by))
		return protocol.Errorf(protocol.LimitExceeded, "the results that are watched take too much memory")
	}
	return nil
}

// firstRevision is that of a new result: greater than any of a result that was forgotten, so that nobody goes on from there, and even.
func (*Engine) firstRevision() int64 { return 2 * time.Now().UnixMicro() }

// Close ends all results and waits until no query runs any more.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	if e.timer != nil {
		e.timer.Stop()
	}
	var stopped []chan struct{}
	for key, r := range e.results {
		stopped = append(stopped, r.stopped)
		e.endLocked(key, r, protocol.Errorf(protocol.Internal, "the server is going away"))
	}
	e.mu.Unlock()
	for _, s := range stopped {
		<-s
	}
}

// keyOf writes what a result depends on, each part with its length, so that no two have one key.
func keyOf(name string, args []stream.Value, user string) string {
	var b strings.Builder
	for _, part := range []string{name, user} {
		b.WriteString(strconv.Itoa(len(part)))
		b.WriteByte(':')
		b.WriteString(part)
	}
	for _, v := range args {
		text := v.String()
		b.WriteString(strconv.Itoa(len(text)))
		b.WriteByte(':')
		b.WriteString(text)
	}
	return b.String()
}
