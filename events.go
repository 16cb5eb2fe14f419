package neuroquantumws

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

// event is what a request has to tell.
type event struct {
	channel string
	data    []byte
	trace   string // the traceparent of the request; empty where that is not traced
}

// eventCounts counts what became of events.
type eventCounts struct {
	published, failed atomic.Uint64 // the broker did not take it
	dropped           atomic.Uint64 // too many waited, or the hub had ended
	invalid           atomic.Uint64 // no channel or no data could be made of the request
}

// events publishes what requests have to tell without making them wait. It belongs to the hub and not to a handler: requests may go on
// for long after the configuration of their handler has been replaced.
type events struct {
	hub     *hub.Hub
	log     *zap.Logger
	waiting chan event
	counts  eventCounts
	stop    context.CancelFunc
	done    chan struct{} // closed when run has ended

	mu     sync.Mutex
	closed bool
}

func newEvents(h *hub.Hub, log *zap.Logger) *events {
	ctx, cancel := context.WithCancel(context.Background())
	e := &events{hub: h, log: log, waiting: make(chan event, maxEventsWaiting), stop: cancel, done: make(chan struct{})}
	go e.run(ctx)
	return e
}

// add never waits.
func (e *events) add(one event) error {
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
func (e *events) run(ctx context.Context) {
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

func (e *events) publish(ctx context.Context, one event) {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	err := ctx.Err()
	if err == nil {
		_, err = e.hub.Publish(ctx, hub.Publication{Channel: one.channel, Data: one.data, Trace: one.trace})
	}
	if err == nil {
		e.counts.published.Add(1)
	} else {
		e.counts.failed.Add(1)
		e.log.Warn("an event could not be published", zap.String("channel", one.channel), zap.Error(err))
	}
}

// close publishes what waits and ends run.
func (e *events) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.stop()
	<-e.done
}
