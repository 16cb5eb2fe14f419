package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// Recover implements hub.Broker. What is due is read from the stream up to where the ring begins, which holds all that came behind; the
// two are joined under the order's lock, which gives the call of at its one place.
func (b *Broker) Recover(ctx context.Context, q hub.Recovery, at func(hub.Recovered)) error {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, b.options.ReadTimeout)
	defer cancel()
	err := b.recover(ctx, q, at)
	if err == nil || errors.Is(err, hub.ErrClosed) || q.Strict || !b.options.LiveOnly || outer.Err() != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at(b.unknownLocked(q))
	return nil
}

func (b *Broker) recover(ctx context.Context, q hub.Recovery, at func(hub.Recovered)) error {
	select {
	case b.reads <- struct{}{}:
		defer func() { <-b.reads }()
	case <-ctx.Done():
		return unavailable("waiting to read history", ctx.Err())
	}
	r := recovery{Broker: b, q: q}
	if err := r.begin(ctx); err != nil {
		return err
	}
	for {
		low, done, err := r.join(at)
		if done || err != nil {
			return err
		}
		if err := r.read(ctx, low); err != nil {
			return err
		}
	}
}

// unknownLocked is the answer where nothing is known of what is asked for.
func (b *Broker) unknownLocked(q hub.Recovery) hub.Recovered {
	return hub.Recovered{Position: b.positionLocked(), Through: b.delivered, Complete: make([]bool, len(q.Filters))}
}

// recovery is a Recover under way.
type recovery struct {
	*Broker
	q       hub.Recovery
	epoch   string
	token   string
	unknown bool                // the position asked for is of no use here
	since   uint64              // behind it messages are due
	through uint64              // up to it the stream has been read
	far     bool                // the stream was read: not all that was ever behind since is known by itself
	found   map[uint64]stored   // of the stream
	first   uint64              // the oldest sequence of the stream when it was read
	after   time.Time           // no message behind since is older; zero where it is not known
	kept    map[string]struct{} // channels of which something is left from before since
	looked  map[string]struct{} // of which that was asked
}

// begin waits until the order has come to all that the client can know of: what was published here, and what it got elsewhere.
func (r *recovery) begin(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return hub.ErrClosed
	}
	r.epoch, r.token = r.Broker.epoch, r.Broker.token
	target := r.acked
	if r.q.Since != nil && r.q.Since.Epoch == r.epoch {
		target = max(target, min(r.q.Since.Offset, r.acked+maxAhead+r.delivered))
	}
	r.mu.Unlock()
	r.found = make(map[uint64]stored)
	ahead, cancel := context.WithTimeout(ctx, aheadTime)
	defer cancel()
	r.awaits(ahead, target)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.q.Since == nil:
		r.since = 0
	case r.q.Since.Epoch != r.epoch || r.q.Since.Offset > r.delivered:
		r.unknown = true
	default:
		r.since = r.q.Since.Offset
	}
	r.through = r.since
	return nil
}

const (
	// aheadTime is how long a node is given to come to a place in the order that a client has seen on another.
	aheadTime = time.Second
	// maxAhead is how far ahead such a place may be; beyond it it was never there.
	maxAhead = 1 << 20
)

// join calls at where the ring holds all that has not been read. Otherwise it gives the place up to which the stream is to be read.
func (r *recovery) join(at func(hub.Recovered)) (low uint64, done bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return 0, false, hub.ErrClosed
	case r.Broker.epoch == "":
		return 0, false, fmt.Errorf("reading history: %w", ErrUnavailable)
	case r.unknown, r.Broker.epoch != r.epoch:
		at(r.unknownLocked(r.q))
		return 0, true, nil
	case r.through < r.ring.low && !r.enoughLocked():
		return r.ring.low, false, nil
	}
	at(r.resultLocked())
	return 0, true, nil
}

// matches tells whether any filter holds the channel.
func (r *recovery) matches(channel string) bool {
	for _, f := range r.q.Filters {
		if f.Match(channel) {
			return true
		}
	}
	return false
}

// candidatesLocked are all messages that are due, as far as they are known, each channel's in order. Of the stream's those are taken that
// the ring does not hold.
func (r *recovery) candidatesLocked() map[string][]*hub.Message {
	out := make(map[string][]*hub.Message)
	sequences := make([]uint64, 0, len(r.found))
	for sequence := range r.found {
		if sequence <= r.ring.low {
			sequences = append(sequences, sequence)
		}
	}
	slices.Sort(sequences)
	for _, sequence := range sequences {
		s := r.found[sequence]
		if list := out[s.channel]; len(list) > 0 {
			s.prev = list[len(list)-1].Offset
		}
		if m := r.message(s); m != nil && m.Offset > 0 && m.Rule.History.Keeps() {
			out[s.channel] = append(out[s.channel], m)
		}
	}
	from := sort.Search(len(r.ring.messages), func(i int) bool { return r.ring.messages[i].Sequence > r.since })
	for _, m := range r.ring.messages[from:] {
		if m.Offset > 0 && r.matches(m.Channel) {
			if rule := r.rules(m.Channel); rule != nil && rule.History.Keeps() {
				out[m.Channel] = append(out[m.Channel], m)
			}
		}
	}
	return out
}

// resultLocked is the answer at this place in the order.
func (r *recovery) resultLocked() hub.Recovered {
	out := hub.Recovered{Position: r.positionLocked(), Through: r.delivered, Complete: make([]bool, len(r.q.Filters))}
	channels := r.candidatesLocked()
	trimmed := make(map[string]uint64)
	for channel, list := range channels {
		kept := r.clip(list)
		if n := len(list) - len(kept); n > 0 {
			trimmed[channel] = list[n-1].Offset
		} else if r.far && r.mayLack(channel, list[0].Time) {
			trimmed[channel] = list[0].Offset - 1
		}
		channels[channel] = kept
	}
	for i, f := range r.q.Filters {
		var list []*hub.Message
		out.Complete[i] = true
		for channel, kept := range channels {
			if f.Match(channel) {
				list = append(list, kept...)
				_, lacks := trimmed[channel]
				out.Complete[i] = out.Complete[i] && !lacks
			}
		}
		if r.q.Since == nil {
			out.Complete[i] = true
			slices.SortFunc(list, byOffset)
			list = list[max(0, len(list)-r.q.Last):]
		} else if r.far && r.mayHaveVanished(f.String(), f.IsPattern(), r.leastAge(i)) {
			if _, there := channels[f.String()]; !there {
				out.Complete[i] = false
				name := ""
				if !f.IsPattern() {
					name = f.String()
				}
				trimmed[name] = max(trimmed[name], r.ring.low)
			}
		}
		out.Messages = append(out.Messages, list...)
	}
	if r.q.Since != nil {
		for channel, through := range trimmed {
			out.Trimmed = append(out.Trimmed, hub.Trim{Channel: channel, Through: through})
		}
	}
	slices.SortFunc(out.Messages, byOffset)
	out.Messages = slices.CompactFunc(out.Messages, func(x, y *hub.Message) bool { return x.Offset == y.Offset })
	if r.q.Limit > 0 && len(out.Messages) > r.q.Limit {
		out.Messages = out.Messages[:r.q.Limit]
		out.Through = out.Messages[r.q.Limit-1].Offset
	}
	return out
}

func byOffset(x, y *hub.Message) int { return cmp.Compare(x.Offset, y.Offset) }

// clip leaves of a channel's messages what its rule keeps now.
func (b *Broker) clip(list []*hub.Message) []*hub.Message {
	rule := b.rules(list[0].Channel)
	if rule == nil || !rule.History.Keeps() {
		return nil
	}
	list = list[max(0, len(list)-rule.History.Messages):]
	if age := rule.History.Age; age > 0 {
		oldest := b.serverNow().Add(-age)
		for len(list) > 0 && !list[0].Time.After(oldest) {
			list = list[1:]
		}
	}
	return list
}

// serverNow is the time by the servers' clock, which is that of the messages.
func (b *Broker) serverNow() time.Time { return b.now().Add(time.Duration(b.skew.Load())) }
