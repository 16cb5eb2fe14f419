package nats

import (
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// This file is the order of a node with dynamic interest, to which the stream's sequence numbers alone do not show what is missing: most of
// them are of no concern to it. Each message names the one before it in its channel. What turns out to be missing only when others have
// been delivered behind it is told as lost, as it would come out of order.

// takeSparse delivers a message at its place.
func (b *Broker) takeSparse(s stored) error {
	if s.channel == "" || s.sequence <= b.verified {
		return nil // a look at the tail has seen to it
	}
	if s.sequence < b.next() {
		if !b.has(s.sequence) {
			b.missed(s)
		}
		return nil
	}
	from, wanted := b.interest.of(s.channel)
	if wanted && s.prev > max(from, b.verified) && !b.has(s.prev) {
		if s.prev < b.next() {
			b.missing(s.channel)
		} else if err := b.fillSparse(s.sequence - 1); err != nil {
			return err
		}
	}
	if s.sequence >= b.next() {
		b.advance(s)
	}
	return nil
}

// has tells whether a message was delivered, as far as the ring knows: of older ones it is taken for granted.
func (b *Broker) has(sequence uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ring.has(sequence)
}

// missed tells of a message that is too late to be delivered, where it was to come.
func (b *Broker) missed(s stored) {
	if from, wanted := b.interest.of(s.channel); wanted && s.sequence > from && !s.transient {
		b.missing(s.channel)
	}
}

// fillSparse moves the order on to a sequence: all that is wanted up to there has been delivered or is told as lost.
func (b *Broker) fillSparse(to uint64) error {
	wait := lagWait
	for b.verified < to {
		found, through, err := b.tail(to)
		if err == nil {
			b.settleTail(found, through)
			continue
		}
		if b.life.Err() != nil {
			return b.life.Err()
		}
		if info, err := b.info(b.life); err == nil && b.note(info) {
			return errRenewed
		} else if errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		b.log.Debug("the stream's tail cannot be read yet", zap.Uint64("to", to), zap.Error(err))
		if !pause(b.life, wait) {
			return b.life.Err()
		}
		wait = min(2*wait, maxLagWait)
	}
	return nil
}

// settleTail delivers what a look at the tail has found, as far as it is new, and moves the order on.
func (b *Broker) settleTail(found []stored, through uint64) {
	slices.SortFunc(found, func(x, y stored) int { return int(int64(x.sequence) - int64(y.sequence)) })
	told := make(map[string]bool)
	for _, s := range found {
		from, wanted := b.interest.of(s.channel)
		switch {
		case !wanted || s.sequence <= from || s.sequence > through || b.has(s.sequence):
		case s.sequence >= b.next():
			b.advance(s)
		case !told[s.channel] && !s.transient:
			told[s.channel] = true
			b.missing(s.channel)
		}
	}
	b.verified = through
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.delivered < through {
		b.delivered = through
		b.movedLocked()
	}
}

// tail looks for what is wanted behind the place up to which that was done before. It gives how far it has looked.
func (b *Broker) tail(to uint64) (found []stored, through uint64, err error) {
	filters := b.interest.filters()
	through = to
	for len(filters) > 0 {
		n := min(len(filters), maxSubjects)
		q := request{Seq: b.verified + 1}
		for _, filter := range filters[:n] {
			q.LastFor = append(q.LastFor, b.names.in(b.token)+filter)
		}
		filters = filters[n:]
		got, err := b.ask(b.life, b.token, q)
		switch {
		case errors.Is(err, errNothing), errors.Is(err, errTooMany):
			return b.denseTail(to)
		case err != nil:
			return nil, 0, err
		case got.upTo < to:
			return nil, 0, errLags
		}
		for _, s := range got.messages {
			if b.has(s.sequence) {
				continue // each names the one before it, so that none before is missing
			}
			subject := b.names.in(b.token) + string(appendSubject(nil, s.channel))
			more, err := b.ask(b.life, b.token, request{Seq: b.verified + 1, NextFor: subject, Batch: batchSize, MaxBytes: batchBytes})
			if err != nil {
				return nil, 0, err
			}
			found = append(found, more.messages...)
			if more.pending > 0 {
				through = min(through, more.messages[len(more.messages)-1].sequence)
			}
		}
	}
	return found, through, nil
}

// denseTail reads all of the tail, a part at a time, whatever its channel.
func (b *Broker) denseTail(to uint64) (found []stored, through uint64, err error) {
	from := b.verified + 1
	got, err := b.ask(b.life, b.token, request{Seq: from, NextFor: b.names.in(b.token) + ">", Batch: batchSize, MaxBytes: batchBytes})
	if errors.Is(err, errNothing) {
		gone, err := b.gone(from, to)
		if err != nil || !gone {
			return nil, 0, errors.Join(err, errLags)
		}
		return nil, to, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return got.messages, min(to, got.messages[len(got.messages)-1].sequence), nil
}
