package nats

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// This file is the part of a recovery that reads the stream. Any server that holds the stream may answer a request, and may lag behind: a
// part counts as read up to a place only where an answer shows that its server had come that far.

// errLags: the server that answered has not come far enough.
var errLags = errors.New("the stream's server lags behind")

// read reads what is due up to low at least, where the ring begins, or as much of it as one answer holds.
func (r *recovery) read(ctx context.Context, low uint64) error {
	select {
	case r.reads <- struct{}{}:
		defer func() { <-r.reads }()
	case <-ctx.Done():
		return unavailable("waiting to read history", ctx.Err())
	}
	wait := lagWait
	for {
		err := r.attempt(ctx, low)
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrUnavailable) && !r.conn.IsConnected() || !pause(ctx, wait) {
			return unavailable("reading history", err)
		}
		wait = min(2*wait, maxLagWait)
	}
}

// attempt is read without patience for servers that lag behind.
func (r *recovery) attempt(ctx context.Context, low uint64) error {
	info, err := r.info(ctx)
	if err != nil {
		return err
	}
	if epochOf(info) != r.epoch {
		r.look()
		return errRenewed
	}
	r.far, r.first = true, info.State.FirstSeq
	floor := r.through
	if r.q.Since == nil && !r.asked {
		if floor, err = r.floor(ctx, info, low); err != nil {
			return err
		}
	}
	found, through, cut, err := r.forward(ctx, max(floor, r.first-min(1, r.first)), low, info)
	if err != nil {
		return err
	}
	if r.q.Since != nil {
		if err := r.witness(ctx, found, info); err != nil {
			return err
		}
	}
	r.asked = true
	r.known = append(r.known, r.messages(found)...)
	r.through, r.cut = max(through, r.through), cut
	return nil
}

// messages makes the hub's messages of what was found, without those of channels that keep nothing.
func (r *recovery) messages(found []stored) []*hub.Message {
	out := make([]*hub.Message, 0, len(found))
	last := make(map[string]uint64)
	for _, s := range found {
		s.prev = last[s.channel]
		last[s.channel] = s.sequence
		if m := r.message(s); m != nil && m.Offset > 0 {
			out = append(out, m)
		}
	}
	return out
}

// forward reads what is due behind a place. It gives it in order, how far it is complete, and whether one answer holds no more.
func (r *recovery) forward(
	ctx context.Context, floor, low uint64, info *jetstream.StreamInfo,
) (found []stored, through uint64, cut bool, err error) {
	lasts, through, err := r.lasts(ctx, floor+1, low, info)
	if errors.Is(err, errTooMany) {
		return r.dense(ctx, floor, low)
	}
	if err != nil {
		return nil, 0, false, err
	}
	// Subject filters may hold channels that the patterns do not.
	lasts = slices.DeleteFunc(lasts, func(s stored) bool { return !r.matcher.match(s.channel) })
	if len(lasts) == 0 {
		return nil, max(through, floor), false, nil
	}
	all := make(map[uint64]stored)
	for _, f := range r.q.Filters {
		if !slices.ContainsFunc(lasts, func(s stored) bool { return f.Match(s.channel) }) {
			continue
		}
		end, err := r.filter(ctx, r.names.in(r.token)+filterOf(f), floor+1, all)
		if err != nil {
			return nil, 0, false, err
		}
		if end > 0 {
			through, cut = min(through, end), true
		}
	}
	newest := make(map[string]uint64)
	for sequence, s := range all {
		newest[s.channel] = max(newest[s.channel], sequence)
		if sequence <= through && r.matcher.match(s.channel) {
			found = append(found, s)
		}
	}
	for _, s := range lasts {
		if s.sequence <= through && newest[s.channel] < s.sequence {
			return nil, 0, false, errLags
		}
	}
	slices.SortFunc(found, func(x, y stored) int { return int(int64(x.sequence) - int64(y.sequence)) })
	return found, through, cut, nil
}

// lasts asks for the newest message of each channel that is due anything from a sequence on, and tells up to where that is complete.
func (r *recovery) lasts(ctx context.Context, from, low uint64, info *jetstream.StreamInfo) ([]stored, uint64, error) {
	q := request{Seq: from}
	for _, f := range r.q.Filters {
		q.LastFor = append(q.LastFor, r.names.in(r.token)+filterOf(f))
	}
	got, err := r.ask(ctx, r.token, q)
	if errors.Is(err, errNothing) {
		for _, subject := range q.LastFor {
			if some, err := r.holds(ctx, from, subject); err != nil || some {
				return nil, 0, errors.Join(err, errLags)
			}
		}
		return nil, info.State.LastSeq, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if got.upTo < low {
		return nil, 0, errLags
	}
	return got.messages, got.upTo, nil
}

// filter reads all messages that a filter holds from a sequence on into found. Where there are more than one answer holds, it gives the
// sequence up to which they were read.
func (r *recovery) filter(ctx context.Context, filter string, from uint64, found map[uint64]stored) (end uint64, err error) {
	bytes := 0
	for n := 0; ; {
		got, err := r.ask(ctx, r.token, request{Seq: from, NextFor: filter, Batch: batchSize, MaxBytes: batchBytes})
		if errors.Is(err, errNothing) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		for _, s := range got.messages {
			found[s.sequence] = s
			from = s.sequence + 1
			bytes += len(s.data)
		}
		if got.pending == 0 || len(got.messages) == 0 {
			return 0, nil
		}
		if n += len(got.messages); n > r.q.Limit || bytes > maxReplayBytes {
			return from - 1, nil
		}
	}
}

// maxReplayBytes is how many bytes of messages are read for one answer.
const maxReplayBytes = 16 << 20

// dense reads everything behind a place, whatever its channel: as each sequence shows how far the server that answers has come, nothing
// can be missing. That is for patterns that match more channels than the stream looks up at once.
func (r *recovery) dense(ctx context.Context, floor, low uint64) (found []stored, through uint64, cut bool, err error) {
	bytes := 0
	through = floor
	for through < low {
		got, err := r.ask(ctx, r.token, request{
			Seq: through + 1, NextFor: r.names.in(r.token) + ">", Batch: batchSize, MaxBytes: batchBytes,
		})
		if errors.Is(err, errNothing) {
			some, err := r.holds(ctx, through+1, r.names.in(r.token)+">")
			if err != nil || some {
				return nil, 0, false, errors.Join(err, errLags)
			}
			return found, low, false, nil
		}
		if err != nil {
			return nil, 0, false, err
		}
		for _, s := range got.messages {
			through = s.sequence
			if r.matcher.match(s.channel) {
				found = append(found, s)
				bytes += len(s.data)
			}
		}
		if len(found) > r.q.Limit || bytes > maxReplayBytes {
			return found, through, r.q.Since != nil, nil
		}
	}
	return found, through, false, nil
}

// floor looks backwards for a place behind which each filter has as many messages as are asked for.
func (r *recovery) floor(ctx context.Context, info *jetstream.StreamInfo, low uint64) (uint64, error) {
	floor := max(low, info.State.LastSeq)
	for _, f := range r.q.Filters {
		filter := r.names.in(r.token) + filterOf(f)
		end := max(low, info.State.LastSeq)
		if !f.IsPattern() { // it may be long since the last
			got, err := r.ask(ctx, r.token, request{LastFor: []string{filter}})
			if errors.Is(err, errNothing) {
				continue
			}
			if err != nil {
				return 0, err
			}
			end = got.messages[len(got.messages)-1].sequence
		}
		for window := uint64(4 * r.q.Last); ; window *= 8 {
			from := uint64(1)
			if end > window {
				from = end - window
			}
			found := make(map[uint64]stored)
			if _, err := r.filter(ctx, filter, from, found); err != nil {
				return 0, err
			}
			if from == 1 || from <= info.State.FirstSeq || r.shown(f.Match, found) >= r.q.Last {
				floor = min(floor, from-1)
				break
			}
		}
	}
	return floor, nil
}

// shown counts those of the messages that their channels' rules keep.
func (r *recovery) shown(match func(string) bool, found map[uint64]stored) (n int) {
	counts := make(map[string]int)
	for _, s := range found {
		rule := r.rules(s.channel)
		if s.transient || rule == nil || !match(s.channel) {
			continue
		}
		if counts[s.channel]++; counts[s.channel] <= rule.History.Messages {
			n++
		}
	}
	return n
}

// witness finds out what can be said of messages that are gone: of which channels something is left from before since, as the oldest goes
// first, and from when the messages behind since are.
func (r *recovery) witness(ctx context.Context, found []stored, info *jetstream.StreamInfo) error {
	var subjects []string
	seen := make(map[string]bool)
	look := func(channel string) {
		if !seen[channel] {
			seen[channel] = true
			subjects = append(subjects, r.names.in(r.token)+string(appendSubject(nil, channel)))
		}
	}
	for _, s := range found {
		look(s.channel)
	}
	for _, f := range r.q.Filters {
		if !f.IsPattern() {
			look(f.String())
		}
	}
	for ; len(subjects) > 0 && r.since > 0; subjects = subjects[min(len(subjects), maxSubjects):] {
		got, err := r.ask(ctx, r.token, request{LastFor: subjects[:min(len(subjects), maxSubjects)], UpTo: r.since})
		if errors.Is(err, errNothing) {
			continue
		}
		if err != nil {
			return err
		}
		for _, s := range got.messages {
			r.kept[s.channel] = true
		}
	}
	var err error
	r.after, err = r.timeOf(ctx, info)
	return err
}

// timeOf gives a time before which no message behind since was stored; zero where none is known.
func (r *recovery) timeOf(ctx context.Context, info *jetstream.StreamInfo) (time.Time, error) {
	if r.since == 0 {
		return info.Created, nil
	}
	got, err := r.ask(ctx, r.token, request{Seq: r.since, NextFor: r.names.in(r.token) + ">", Batch: 1})
	switch {
	case err == nil && len(got.messages) > 0 && got.messages[0].sequence == r.since:
		return got.messages[0].time, nil
	case err != nil && !errors.Is(err, errNothing):
		return time.Time{}, err
	case info.State.FirstSeq <= r.since:
		return info.State.FirstTime, nil
	}
	return time.Time{}, nil
}
