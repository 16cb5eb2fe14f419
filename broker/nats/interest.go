package nats

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// With dynamic interest a node takes only what its clients are subscribed to. A subscription of NATS takes a moment until every server
// knows of it, and what is published meanwhile on another node does not come. So a new one counts only when it is confirmed: every other
// node has answered a request that was sent behind it, and so has the stream's leader. As both ways lead over the same routes, what these
// send from then on comes here; what the stream took before is fetched. A look at the stream's tail, once a second, finds what was lost
// for other reasons.

const (
	// lingerTime is how long what nobody wants any more goes on to come, so that a client that is back soon finds all in place.
	lingerTime = 10 * time.Second
	// confirmRetry is how long to wait before another attempt to confirm.
	confirmRetry = 100 * time.Millisecond
)

// interest is what a node wants.
type interest struct {
	mu       sync.Mutex
	wanted   map[string]*want // by subject filter
	patterns []*want          // those of wanted that are for more than one channel
	fresh    []*want          // not confirmed yet
	asked    chan struct{}    // there are such
	stream   chan *nats.Msg   // where the messages of the stream go; nil while it is not followed
	live     chan *nats.Msg   // where those past the stream go
	prefix   string           // of the subjects that the stream republishes to
}

// want is the wish for what a filter holds.
type want struct {
	filter    string
	pattern   protocol.Pattern
	count     int
	idle      time.Time          // since when nobody wants it; zero where somebody does
	stream    *nats.Subscription // nil until it is made
	live      *nats.Subscription
	confirmed chan struct{} // closed when it counts
	from      uint64        // what the stream took behind it comes here, once it counts
}

func (w *want) counts() bool {
	select {
	case <-w.confirmed:
		return true
	default:
		return false
	}
}

// Want implements hub.Interested.
func (b *Broker) Want(ctx context.Context, patterns []protocol.Pattern) error {
	if !b.options.Dynamic {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.options.ReadTimeout)
	defer cancel()
	wants := b.interest.add(patterns)
	for _, w := range wants {
		select {
		case <-w.confirmed:
		case <-ctx.Done():
			b.Unwant(patterns)
			return unavailable("subscribing", ctx.Err())
		case <-b.life.Done():
			b.Unwant(patterns)
			return b.life.Err()
		}
	}
	return nil
}

// Unwant implements hub.Interested.
func (b *Broker) Unwant(patterns []protocol.Pattern) {
	if !b.options.Dynamic {
		return
	}
	i := &b.interest
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, p := range patterns {
		if w := i.wanted[filterOf(p)]; w != nil {
			if w.count--; w.count == 0 {
				w.idle = b.now()
			}
		}
	}
}

func (i *interest) add(patterns []protocol.Pattern) (wants []*want) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, p := range patterns {
		filter := filterOf(p)
		w := i.wanted[filter]
		if w == nil {
			w = &want{filter: filter, pattern: p, confirmed: make(chan struct{})}
			i.wanted[filter] = w
			if p.IsPattern() {
				i.patterns = append(i.patterns, w)
			}
			i.fresh = append(i.fresh, w)
			i.ask()
		}
		w.count++
		w.idle = time.Time{}
		wants = append(wants, w)
	}
	return wants
}

// ask has the fresh confirmed.
func (i *interest) ask() {
	select {
	case i.asked <- struct{}{}:
	default:
	}
}

// of tells from where on the channel's messages come here; false where they do not.
func (i *interest) of(channel string) (from uint64, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if w := i.wanted[string(appendSubject(nil, channel))]; w != nil && w.counts() {
		from, ok = w.from, true
	}
	for _, w := range i.patterns {
		if w.counts() && (!ok || w.from < from) && w.pattern.Match(channel) {
			from, ok = w.from, true
		}
	}
	return from, ok
}

// ofAll tells from where on all that the patterns hold comes here; false where some does not.
func (i *interest) ofAll(patterns []protocol.Pattern) (from uint64, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, p := range patterns {
		w := i.wanted[filterOf(p)]
		if w == nil || !w.counts() {
			return 0, false
		}
		from = max(from, w.from)
	}
	return from, true
}

// filters are those of the wants that count.
func (i *interest) filters() (filters []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for filter, w := range i.wanted {
		if w.counts() {
			filters = append(filters, filter)
		}
	}
	return filters
}

// follow has the stream's messages of all that is wanted go to another channel, under the subjects of its epoch. All of it is to be
// confirmed again.
func (i *interest) follow(stream chan *nats.Msg, prefix string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stream, i.prefix = stream, prefix
	i.fresh = i.fresh[:0]
	for _, w := range i.wanted {
		if w.stream != nil {
			_ = w.stream.Unsubscribe() // fails only where the connection is closed
			w.stream = nil
		}
		if w.counts() {
			w.confirmed = make(chan struct{})
		}
		i.fresh = append(i.fresh, w)
	}
	i.ask()
}

// subscribe makes the subscriptions of the fresh, and gives these.
func (i *interest) subscribe(conn *nats.Conn, livePrefix string) ([]*want, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stream == nil {
		return nil, ErrUnavailable
	}
	for _, w := range i.fresh {
		var err error
		if w.stream == nil {
			if w.stream, err = conn.ChanSubscribe(i.prefix+w.filter, i.stream); err != nil {
				return nil, unavailable("subscribing", err)
			}
		}
		if w.live == nil {
			if w.live, err = conn.ChanSubscribe(livePrefix+w.filter, i.live); err != nil {
				return nil, unavailable("subscribing", err)
			}
		}
	}
	return append([]*want(nil), i.fresh...), nil
}

// confirm lets these count.
func (i *interest) confirm(wants []*want, from uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, w := range wants {
		if w.stream != nil && !w.counts() {
			w.from = from
			close(w.confirmed)
		}
	}
	kept := i.fresh[:0]
	for _, w := range i.fresh {
		if !w.counts() {
			kept = append(kept, w)
		}
	}
	i.fresh = kept
}

// drop ends what nobody has wanted for a while.
func (i *interest) drop(now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for filter, w := range i.wanted {
		if w.count > 0 || !w.counts() || now.Sub(w.idle) < lingerTime {
			continue
		}
		for _, sub := range []*nats.Subscription{w.stream, w.live} {
			if sub != nil {
				_ = sub.Unsubscribe() // fails only where the connection is closed
			}
		}
		delete(i.wanted, filter)
		for at, other := range i.patterns {
			if other == w {
				i.patterns = append(i.patterns[:at], i.patterns[at+1:]...)
				break
			}
		}
	}
}

// care confirms what is newly wanted and ends what is no longer, until the broker closes.
func (b *Broker) care() {
	sweep := time.NewTicker(lingerTime / 4)
	defer sweep.Stop()
	for {
		select {
		case <-b.interest.asked:
			if err := b.confirm(); err != nil {
				b.log.Debug("a subscription cannot be confirmed yet", zap.Error(err))
				if !pause(b.life, confirmRetry) {
					return
				}
				b.interest.ask()
			}
		case <-sweep.C:
			b.interest.drop(b.now())
		case <-b.life.Done():
			return
		}
	}
}

// confirm makes the subscriptions that are wanted, and waits until all who send know of them.
func (b *Broker) confirm() error {
	wants, err := b.interest.subscribe(b.conn, b.names.live())
	if err != nil || len(wants) == 0 {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	if err := b.peers.sync(b.life, b.conn, b.names.sync()); err != nil {
		return err
	}
	info, err := b.info(b.life)
	if err != nil {
		return err
	}
	b.interest.confirm(wants, info.State.LastSeq)
	return nil
}
