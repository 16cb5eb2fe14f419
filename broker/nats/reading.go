package nats

import (
	"context"
	"errors"
	"time"
)

// This file is the part of a recovery that reads the stream.

// errTooMany: more channels match than the stream looks up at once.
var errTooMany = errors.New("too many channels")

// read reads what is due up to low, where the ring begins, and what is needed to tell whether all of it is there.
func (r *recovery) read(ctx context.Context, low uint64) error {
	r.far = true
	info, err := r.info(ctx)
	if err != nil {
		return err
	}
	r.first = info.State.FirstSeq
	if r.through < r.first-min(1, r.first) {
		r.through = r.first - 1 // nothing is kept before
	}
	wait := lagWait
	for r.through < low {
		err := r.readPart(ctx, low)
		if err == nil {
			continue
		}
		if !errors.Is(err, errNothing) && !errors.Is(err, ErrUnavailable) || !pause(ctx, wait) {
			return unavailable("reading history", err)
		}
		wait = min(2*wait, maxLagWait)
	}
	if r.q.Since == nil {
		return nil
	}
	return r.witness(ctx, info.State.FirstTime, info.Created)
}

// readPart reads everything from where reading stands on, whatever its channel: as each sequence shows how far the server that answers
// has come, nothing can be missing.
func (r *recovery) readPart(ctx context.Context, low uint64) error {
	from := r.through + 1
	got, err := r.ask(ctx, r.token, request{Seq: from, NextFor: r.names.in(r.token) + ">", Batch: batchSize, MaxBytes: batchBytes})
	if errors.Is(err, errNothing) {
		some, last, err := r.holds(ctx, from)
		if err != nil {
			return err
		}
		if some || last < low {
			return errNothing // the server that was asked lags behind
		}
		r.through = last
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range got.messages {
		r.through = s.sequence
		if !s.transient && r.matches(s.channel) {
			r.found[s.sequence] = s
		}
	}
	return nil
}

// enoughLocked tells whether what is known is enough for the newest messages that were asked for.
func (r *recovery) enoughLocked() bool {
	return r.q.Since == nil && r.q.Last <= 0
}

// witness asks of which channels something is left from before since: of those nothing behind it is gone, as the oldest goes first.
func (r *recovery) witness(ctx context.Context, firstTime, created time.Time) error {
	if r.since == 0 {
		r.after = created
		return nil
	}
	return nil
}

// mayLack tells whether messages of a channel behind since may be gone, the oldest left of which is of the given time.
func (r *recovery) mayLack(channel string, _ time.Time) bool {
	if _, ok := r.kept[channel]; ok {
		return false
	}
	rule := r.rules(channel)
	return rule == nil || r.mayHaveVanished(channel, false, rule.History.Age)
}

// mayHaveVanished tells whether a channel may have had messages behind since none of which is left.
func (r *recovery) mayHaveVanished(_ string, _ bool, age time.Duration) bool {
	if r.first > r.since+1 {
		return true
	}
	if age == 0 {
		return false
	}
	return r.after.IsZero() || r.serverNow().Sub(r.after) >= age
}

// leastAge is the shortest age of the channels that filter i holds.
func (r *recovery) leastAge(i int) time.Duration {
	f := r.q.Filters[i]
	if !f.IsPattern() {
		if rule := r.rules(f.String()); rule != nil {
			return rule.History.Age
		}
		return 0
	}
	if keep := r.keeps.Load(); keep.Least != nil {
		return keep.Least(f)
	}
	return 0
}
