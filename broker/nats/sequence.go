package nats

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

const (
	// incoming is how many messages may wait for the order to be moved on. What is beyond is dropped by NATS's client, and read from the
	// stream afterwards.
	incoming = 8192
	// checkInterval is how often the stream is asked whether its newest message has come: the last of a channel may be missing without
	// anything behind it that would show it.
	checkInterval = time.Second
)

// Errors by which following a stream ends.
var errRenewed = errors.New("the stream is another one")

// keep follows the stream until the broker closes.
func (b *Broker) keep() {
	live := make(chan *nats.Msg, incoming)
	if b.options.Dynamic {
		b.interest.live = live
		b.work.Go(b.care)
		b.work.Go(func() { _ = b.peers.run(b.life, b.conn, b.names.alive(), b.names.sync()) }) // fails only where the connection is closed
	} else if _, err := b.conn.ChanSubscribe(b.names.live()+">", live); err != nil {
		b.log.Error("subscribing to messages without history", zap.Error(err))
		return // the connection is closed
	}
	b.work.Go(func() { b.relay(live) })
	wait := reconnectWait
	for b.life.Err() == nil {
		started := b.now()
		err := b.follow()
		if b.life.Err() != nil {
			return
		}
		b.log.Warn("the stream of the hub cannot be followed now", zap.String("stream", b.names.stream), zap.Error(err))
		if b.now().Sub(started) > maxReconnect {
			wait = reconnectWait
		}
		if !errors.Is(err, errRenewed) && !pause(b.life, wait+rand.N(wait)) {
			return
		}
		wait = min(2*wait, maxReconnect)
	}
}

// follow takes the messages of the stream as it is now, until it is another one or cannot be asked any more.
func (b *Broker) follow() error {
	info, err := b.ensure(b.life)
	if err != nil {
		return err
	}
	if err := b.limit(b.life, info); err != nil {
		return err
	}
	messages := make(chan *nats.Msg, incoming)
	prefix := b.names.out(info.Config.Metadata[metaEpoch])
	if b.options.Dynamic {
		b.interest.follow(messages, prefix)
	} else {
		sub, err := b.conn.ChanSubscribe(prefix+">", messages)
		if err != nil {
			return unavailable("subscribing to the stream", err)
		}
		defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is closed
		b.mu.Lock()
		b.sub = sub
		b.mu.Unlock()
	}
	if err := b.flush(); err != nil {
		return err
	}
	// What was stored before the subscription is in place is behind the place where the order begins here.
	if info, err = b.info(b.life); err != nil {
		return err
	}
	if err := b.begin(info); err != nil {
		return err
	}
	return b.sequence(messages, prefix)
}

// flush waits until the server has taken all that was sent to it.
func (b *Broker) flush() error {
	ctx, cancel := context.WithTimeout(b.life, answerTime)
	defer cancel()
	if err := b.conn.FlushWithContext(ctx); err != nil {
		return unavailable("waiting for NATS", err)
	}
	return nil
}

// begin moves the order to the stream's newest place where the stream is new to this node.
func (b *Broker) begin(info *jetstream.StreamInfo) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = info.State
	epoch := epochOf(info)
	if epoch == b.epoch {
		return nil
	}
	b.token, b.epoch = info.Config.Metadata[metaEpoch], epoch
	b.delivered, b.acked = info.State.LastSeq, 0
	b.verified = b.delivered
	b.ring = ring{limit: b.ring.limit, low: b.delivered}
	b.at = b.serverNow()
	b.host.Renewed(b.positionLocked())
	if !b.Ready() {
		close(b.settled)
	}
	b.log.Info("following the stream of the hub", zap.String("stream", b.names.stream), zap.String("epoch", epoch),
		zap.Uint64("offset", b.delivered))
	return nil
}

// sequence puts what comes into the stream's order. It is the only goroutine that moves the order on.
func (b *Broker) sequence(messages <-chan *nats.Msg, prefix string) error {
	ctx, cancel := context.WithCancel(b.life)
	states := make(chan state)
	var watching sync.WaitGroup
	watching.Go(func() { b.watch(ctx, states) })
	defer watching.Wait()
	defer cancel()
	var due uint64 // the stream's newest sequence at the last check
	for {
		select {
		case m := <-messages:
			s, err := parse(m, m.Subject, prefix)
			if err != nil {
				b.log.Warn("a message of the stream cannot be read", zap.String("subject", m.Subject), zap.Error(err))
				continue
			}
			s.prev, _ = strconv.ParseUint(m.Header.Get(jetstream.LastSequenceHeader), 10, 64)
			if err := b.take(s); err != nil {
				return err
			}
		case s := <-states:
			if s.err != nil {
				return s.err
			}
			if s.now {
				due = s.info.State.LastSeq
			}
			if err := b.fill(due); err != nil {
				return err
			}
			due = s.info.State.LastSeq
		case <-b.life.Done():
			return b.life.Err()
		}
	}
}

// state is how the stream stood at a check; with err it cannot be followed any more.
type state struct {
	info *jetstream.StreamInfo
	now  bool // what is there must be fetched now: there is reason to believe that it does not come
	err  error
}

// watch asks the stream's leader, from time to time and when it is asked to, how the stream stands. What was there at one check must have
// come by the next.
func (b *Broker) watch(ctx context.Context, states chan<- state) {
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	for short := 0; ; {
		now := false
		select {
		case <-check.C:
		case <-b.poke:
			now = true
		case <-ctx.Done():
			return
		}
		came := b.next() - 1 // before the question: the answer is older than what comes meanwhile
		info, err := b.info(ctx)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
		case err != nil:
			continue // a later check will tell; what comes meanwhile is in order
		case b.note(info):
			err = errRenewed
		case info.State.LastSeq < came:
			if short++; short == shrunkChecks {
				err = b.renew(ctx, info)
			}
		default:
			short = 0
		}
		if err == nil && b.changed.Swap(false) {
			if err := b.limit(ctx, info); err != nil {
				b.changed.Store(true)
				b.log.Warn("the stream's limits cannot be changed now", zap.Error(err))
			}
		}
		select {
		case states <- state{info, now, err}:
		case <-ctx.Done():
			return
		}
	}
}

// note remembers how the stream stands; it tells whether it is another one than that which is followed.
func (b *Broker) note(info *jetstream.StreamInfo) (renewed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = info.State
	return epochOf(info) != b.epoch
}

// take delivers a message at its place: what came before is dropped, and what is missing before it is fetched first.
func (b *Broker) take(s stored) error {
	if b.options.Dynamic {
		return b.takeSparse(s)
	}
	next := b.next()
	if s.sequence > next {
		if err := b.fill(s.sequence - 1); err != nil {
			return err
		}
		next = b.next()
	}
	if s.sequence == next {
		b.advance(s)
	}
	return nil
}

// next is the sequence that the order goes on with.
func (b *Broker) next() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.delivered + 1
}

// advance moves the order on to a message.
func (b *Broker) advance(s stored) {
	b.host.Room()
	m := b.message(s)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delivered, b.at = s.sequence, s.time
	if m != nil {
		b.ring.add(m)
		b.deliver(m)
	}
	b.movedLocked()
}

// movedLocked wakes those who wait for the order to move on.
func (b *Broker) movedLocked() {
	if b.moved != nil {
		close(b.moved)
		b.moved = nil
	}
}

// awaits waits until the order has come to a sequence; it tells whether it has.
func (b *Broker) awaits(ctx context.Context, sequence uint64) bool {
	for {
		b.mu.Lock()
		if b.delivered >= sequence {
			b.mu.Unlock()
			return true
		}
		if b.moved == nil {
			b.moved = make(chan struct{})
		}
		moved := b.moved
		b.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		case <-b.life.Done():
			return false
		}
	}
}
