package stream

import (
	"context"
	"sync"
)

// Trigger tells when the rows of a query may have changed. It is safe for concurrent use.
type Trigger interface {
	// Start has changed called after each change from then on, until stop is called. changed must not wait, and may be called where
	// nothing has changed: after a time in which it could not be told, it is. stop waits for a call that is under way.
	Start(changed func()) (stop func())
}

// TableTeller is a Source that can tell of changes to a table.
type TableTeller interface {
	// OnTable gives the Trigger of a table; its error is for the operator.
	OnTable(ctx context.Context, table string) (Trigger, error)
}

// NotifyTeller is a Source that can tell of a database's notifications.
type NotifyTeller interface {
	// OnNotify gives the Trigger of a channel of the database's; its error is for the operator.
	OnNotify(channel string) (Trigger, error)
}

// Share makes a Trigger of run for any number of listeners: run is one goroutine as long as there are any, and calls changed until its
// ctx ends.
func Share(run func(ctx context.Context, changed func())) Trigger {
	return &shared{run: run, listeners: make(map[*listener]struct{})}
}

type shared struct {
	run func(ctx context.Context, changed func())

	mu        sync.Mutex
	listeners map[*listener]struct{}
	stop      context.CancelFunc // of run; nil while there are no listeners
	done      chan struct{}      // closed when run has ended
}

type listener struct{ changed func() }

// Start implements Trigger.
func (s *shared) Start(changed func()) (stop func()) {
	l := &listener{changed}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[l] = struct{}{}
	if s.stop == nil {
		ctx, cancel := context.WithCancel(context.Background())
		before, done := s.done, make(chan struct{})
		s.stop, s.done = cancel, done
		go func() {
			defer close(done)
			if before != nil {
				<-before
			}
			s.run(ctx, s.tell)
		}()
	}
	return func() { s.leave(l) }
}

// tell calls all listeners, under the lock, so that none is called after it has left.
func (s *shared) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		l.changed()
	}
}

func (s *shared) leave(l *listener) {
	s.mu.Lock()
	delete(s.listeners, l)
	var done chan struct{}
	if len(s.listeners) == 0 && s.stop != nil {
		s.stop()
		s.stop, done = nil, s.done
	}
	s.mu.Unlock()
	if done != nil {
		<-done
	}
}
