package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"
)

// readers are the readers of this process by database and publication, counted by the sources that use them: those of the old and the
// new configuration share one, so that a feed can go on over a reload.
var readers = caddy.NewUsagePool()

// reader reads a database's change feed, over one connection for all who listen, as long as anybody does. It is safe for concurrent use.
type reader struct {
	config      *pgconn.Config
	publication string
	types       *types
	log         atomic.Pointer[zap.Logger] // of the newest listener: those of earlier ones may write to files that are closed
	counts      feedCounts

	auditInterval time.Duration // constant

	mu        sync.Mutex
	listeners map[*listener]struct{}
	changed   int                // counts changes of listeners
	stop      context.CancelFunc // nil while nobody listens
	done      chan struct{}      // closed when run has ended
}

// listener wants to know of a table. One of changed and take is set.
type listener struct {
	table   tableName // without a schema any fits
	log     *zap.Logger
	changed func()        // after each transaction that wrote to it, once that can be seen, and after times in which it could not be told
	take    func(*change) // for each row

	check func(context.Context) error // that the publication tells of the table
	lost  string                      // why it does not; the audit's own

	busy sync.Mutex // while take runs
	gone bool       // guarded by busy
}

// openReader gives the reader of a database and a publication. Each must be closed by closeReader.
func openReader(key string, config *pgconn.Config, publication string) (*reader, error) {
	r, _, err := readers.LoadOrNew(key, func() (caddy.Destructor, error) {
		return &reader{config: config, publication: publication, types: newTypes(), listeners: make(map[*listener]struct{}), auditInterval: auditInterval}, nil
	})
	if err != nil {
		return nil, err
	}
	return r.(*reader), nil
}

func closeReader(key string) error {
	_, err := readers.Delete(key)
	return err
}

// Destruct implements caddy.Destructor.
func (r *reader) Destruct() error {
	r.mu.Lock()
	clear(r.listeners)
	done := r.endLocked()
	r.mu.Unlock()
	if done != nil {
		<-done
	}
	return nil
}

// listen has a listener told from now on, until leave is called, which waits for a call that is under way.
func (r *reader) listen(l *listener) (leave func()) {
	r.log.Store(l.log)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners[l] = struct{}{}
	r.changed++
	if r.stop == nil {
		ctx, cancel := context.WithCancel(context.Background())
		before, done := r.done, make(chan struct{})
		r.stop, r.done = cancel, done
		go func() {
			defer close(done)
			if before != nil {
				<-before
			}
			r.run(ctx)
		}()
	}
	return func() { r.leave(l) }
}

func (r *reader) leave(l *listener) {
	r.mu.Lock()
	delete(r.listeners, l)
	r.changed++
	var done chan struct{}
	if len(r.listeners) == 0 {
		done = r.endLocked()
	}
	r.mu.Unlock()
	l.busy.Lock()
	l.gone = true
	l.busy.Unlock()
	if done != nil {
		<-done
	}
}

func (r *reader) endLocked() (done chan struct{}) {
	if r.stop == nil {
		return nil
	}
	r.stop()
	r.stop = nil
	return r.done
}

// run keeps a session of the change feed up until ctx ends.
func (r *reader) run(ctx context.Context) {
	var audit sync.WaitGroup
	defer audit.Wait()
	audit.Go(func() { r.audit(ctx) })
	pause := firstPause
	var down time.Time // since when nothing is read; zero before the first session
	for {
		s := &session{reader: r, down: down}
		began := time.Now()
		err := s.run(ctx)
		r.counts.up.Store(false)
		if ctx.Err() != nil {
			return
		}
		r.counts.interruptions.Add(1)
		if time.Since(began) > lastPause {
			pause = firstPause
		}
		if s.up {
			down = time.Now()
		}
		r.log.Load().Warn("the change feed is interrupted; trying again",
			zap.String("publication", r.publication), zap.Duration("after", pause), zap.Error(failure(ctx, err)))
		// Queries that are watched run at this pace meanwhile.
		r.tellAll()
		select {
		case <-time.After(pause + rand.N(pause)):
			pause = min(2*pause, lastPause)
		case <-ctx.Done():
			return
		}
	}
}

// tellAll calls all who only want to know that something may have changed.
func (r *reader) tellAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.listeners {
		if l.changed != nil {
			l.changed()
		}
	}
}

// tell calls those of the listeners that have not left.
func (r *reader) tell(touched map[*listener]struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range touched {
		if _, there := r.listeners[l]; there {
			l.changed()
		}
	}
}

// interested gives the listeners of a table that changes under the given names, and the number of the state of all listeners.
func (r *reader) interested(names *tableNames) (matched []*listener, state int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.listeners {
		if names.match(l.table, l.changed != nil) {
			matched = append(matched, l)
		}
	}
	return matched, r.changed
}

// state is the number of the state of all listeners.
func (r *reader) state() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

// feeds are the tables whose rows are listened to.
func (r *reader) feeds() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for l := range r.listeners {
		if l.take != nil {
			out = append(out, l.table.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// give gives a change to a listener, unless it has left.
func (l *listener) give(c *change) {
	l.busy.Lock()
	defer l.busy.Unlock()
	if !l.gone {
		l.take(c)
	}
}

// slotName is a name for a slot that no other process has.
func slotName() string { return fmt.Sprintf("neuroquantum_ws_%016x", rand.Uint64()) }
