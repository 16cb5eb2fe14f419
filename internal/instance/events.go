package instance

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

const (
	// maxEventsWaiting is how many events may wait to be published to a hub.
	maxEventsWaiting = 1000
	// eventTimeout is the longest that publishing an event may take, and publishing what waits when the hub ends.
	eventTimeout = 5 * time.Second
)

var (
	errEventsFull   = errors.New("too many events wait to be published")
	errEventsClosed = errors.New("the hub has ended")
)

// Event is what a request has to tell.
type Event struct {
	Channel string
	Data    []byte
	Trace   string // the traceparent of the request; empty where that is not traced
}

// eventCounts counts what became of events.
type eventCounts struct {
	published, failed atomic.Uint64 // the broker did not take it
	dropped           atomic.Uint64 // too many waited, or the hub had ended
	invalid           atomic.Uint64 // no channel or no data could be made of the request
}

// eventQueue publishes what requests have to tell without making them wait. It belongs to the hub and not to a handler: requests may go on
// for long after the configuration of their handler has been replaced.
type eventQueue struct {
	hub     *hub.Hub
	log     *zap.Logger
	waiting chan Event
	counts  eventCounts
	stop    context.CancelFunc
	done    chan struct{} // closed when run has ended

	mu     sync.Mutex
	closed bool
}

func newEventQueue(h *hub.Hub, log *zap.Logger) *eventQueue {
	ctx, cancel := context.WithCancel(context.Background())
	e := &eventQueue{hub: h, log: log, waiting: make(chan Event, maxEventsWaiting), stop: cancel, done: make(chan struct{})}
	go e.run(ctx)
	return e
}

// add never waits.
func (e *eventQueue) add(one Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		e.counts.dropped.Add(1)
		return errEventsClosed
	}
	select {
	case e.waiting <- one:
		return nil
	default:
		e.counts.dropped.Add(1)
		return errEventsFull
	}
}

// run publishes events, one after the other, so that they keep their order.
func (e *eventQueue) run(ctx context.Context) {
	defer close(e.done)
	for ctx.Err() == nil {
		select {
		case one := <-e.waiting:
			e.publish(context.Background(), one)
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.Background(), eventTimeout)
	defer cancel()
	for {
		select {
		case one := <-e.waiting:
			e.publish(last, one)
		default:
			return
		}
	}
}

func (e *eventQueue) publish(ctx context.Context, one Event) {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	err := ctx.Err()
	if err == nil {
		_, err = e.hub.Publish(ctx, hub.Publication{Channel: one.Channel, Data: one.Data, Trace: one.Trace})
	}
	if err == nil {
		e.counts.published.Add(1)
	} else {
		e.counts.failed.Add(1)
		e.log.Warn("an event could not be published", zap.String("channel", one.Channel), zap.Error(err))
	}
}

// close publishes what waits and ends run.
func (e *eventQueue) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.stop()
	<-e.done
}

// PublishLater publishes an event without making its caller wait. It fails where too many events wait, or the hub has ended.
func (p *Instance) PublishLater(e Event) error { return p.events.add(e) }

// CountInvalidEvent counts an event that could not be made of its request.
func (p *Instance) CountInvalidEvent() { p.events.counts.invalid.Add(1) }
