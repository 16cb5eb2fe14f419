package nats

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// fill moves the order on to a sequence with what the stream holds. The line waits: nobody sees what comes behind before. It fails only
// where the stream cannot be followed any more.
func (b *Broker) fill(to uint64) error {
	if b.options.Dynamic {
		return b.fillSparse(to)
	}
	wait := lagWait
	for b.next() <= to {
		if b.life.Err() != nil {
			return b.life.Err()
		}
		from := b.next()
		got, err := b.ask(b.life, b.token, request{Seq: from, NextFor: b.names.in(b.token) + ">", Batch: batchSize, MaxBytes: batchBytes})
		if err == nil {
			wait = lagWait
			b.fillWith(from, got.messages)
			continue
		}
		if errors.Is(err, errNothing) {
			var gone bool
			if gone, err = b.gone(from, to); err == nil && gone {
				b.skip(to)
				continue
			}
		}
		if info, err := b.info(b.life); err == nil && b.note(info) {
			return errRenewed
		} else if errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		b.log.Debug("what was missed cannot be read yet", zap.Uint64("from", from), zap.Uint64("to", to), zap.Error(err))
		if !pause(b.life, wait) {
			return b.life.Err()
		}
		wait = min(2*wait, maxLagWait)
	}
	return nil
}

// fillWith delivers what the stream held from a sequence on, and tells where something is gone.
func (b *Broker) fillWith(from uint64, messages []stored) {
	last := make(map[string]uint64) // newest sequence of each channel in these
	hole := false
	var told map[string]bool
	for _, s := range messages {
		if s.sequence != from && b.vanished(from) {
			b.skip(s.sequence - 1)
		}
		hole = hole || s.sequence != from
		from = s.sequence + 1
		prev, seen := last[s.channel]
		if hole && !seen && told == nil {
			told = b.unwitnessed(messages)
		}
		if hole && !seen && told[s.channel] {
			b.missing(s.channel)
		}
		s.prev = prev
		last[s.channel] = s.sequence
		b.advance(s)
	}
}

// vanished tells whether channels may have lost all that they had from a sequence on, and not only their oldest: then nothing that is left
// shows it.
func (b *Broker) vanished(from uint64) bool {
	info, err := b.info(b.life)
	if err != nil || info.State.FirstSeq > from {
		return true
	}
	least := time.Duration(0)
	if keep := b.keeps.Load(); keep.Least != nil {
		least = keep.Least(everything)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return least > 0 && b.serverNow().Sub(b.at) >= least
}

// everything is the pattern **.
var everything = func() protocol.Pattern {
	p, err := protocol.ParsePattern("**")
	if err != nil {
		panic(err)
	}
	return p
}()

// unwitnessed tells of which of the messages' channels something may be gone between what was delivered here and these: a channel loses
// its oldest first, so that where one is left that was delivered, nothing behind it is gone.
func (b *Broker) unwitnessed(messages []stored) map[string]bool {
	upTo := b.next() - 1
	out := make(map[string]bool)
	var subjects []string
	for _, s := range messages {
		if !out[s.channel] && !s.transient {
			out[s.channel] = true
			subjects = append(subjects, b.names.in(b.token)+string(appendSubject(nil, s.channel)))
		}
	}
	if upTo == 0 {
		return out
	}
	for len(subjects) > 0 {
		n := min(len(subjects), maxSubjects)
		got, err := b.ask(b.life, b.token, request{LastFor: subjects[:n], UpTo: upTo})
		if err == nil {
			for _, s := range got.messages {
				delete(out, s.channel)
			}
		}
		subjects = subjects[n:]
	}
	return out
}

// missing tells the hub that messages of a channel are lost, at this place in the order.
func (b *Broker) missing(channel string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host.Missing(channel)
}

// skip moves the order over messages that the stream no longer holds. As it is not known of which channels they were, all clients are
// sent away: when they come back with the position that they have, each is told what it lost.
func (b *Broker) skip(to uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.delivered >= to {
		return
	}
	b.log.Warn("messages of the stream were gone before they came here", zap.Uint64("messages", to-b.delivered))
	b.delivered = to
	b.ring = ring{limit: b.ring.limit, low: to}
	b.host.Renewed(b.positionLocked())
	b.movedLocked()
}

// gone tells whether the stream has given all sequences up to one and holds none from another on any more.
func (b *Broker) gone(from, to uint64) (bool, error) {
	info, err := b.info(b.life)
	if err != nil || info.State.LastSeq < to {
		return false, err
	}
	some, err := b.holds(b.life, from, b.names.in(b.token)+">")
	return err == nil && !some, err
}
