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
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

const (
	// aheadTime is how long a node is given to come to a place in the order that a client has seen on another.
	aheadTime = time.Second
	// maxReplay is how many messages one answer holds at most; Recovered.Through tells how far they go.
	maxReplay = 10_000
	// maxJoin is how many messages are looked through under the order's lock.
	maxJoin = 64
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
	if q.Limit <= 0 || q.Limit > maxReplay {
		q.Limit = maxReplay
	}
	r := recovery{Broker: b, q: q, matcher: newMatcher(q.Filters), kept: make(map[string]bool)}
	if err := r.begin(ctx); err != nil {
		return err
	}
	for {
		low, done, err := r.join(at)
		if done || err != nil {
			return err
		}
		if low == 0 {
			continue // the ring held what came meanwhile
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
	matcher matcher
	epoch   string
	token   string
	unknown bool           // the position asked for is of no use here
	since   uint64         // behind it messages are due
	through uint64         // up to it all that is due is known
	need    uint64         // with dynamic interest: what is before it did not come here, or not all
	cut     bool           // there is more behind through than one answer holds
	known   []*hub.Message // what is due, in order

	// Of what was read from the stream: all that was ever behind since is not known by itself, as some may be gone.
	far   bool
	first uint64          // the oldest sequence that the stream holds
	after time.Time       // no message behind since is older; zero where that is not known
	kept  map[string]bool // channels of which something is left from before since
	asked bool            // newest: it is known where they begin
}

// begin waits until the order has come to all that the client can know of: what was published here, and what it got elsewhere.
func (r *recovery) begin(ctx context.Context) error {
	if err := r.start(ctx); err != nil || r.need == 0 {
		return err
	}
	// What was stored before it was wanted here does not come: the order must be behind it, so that it is read.
	r.look()
	if !r.awaits(ctx, r.need) {
		return unavailable("waiting for the order", ctx.Err())
	}
	return nil
}

func (r *recovery) start(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return hub.ErrClosed
	}
	r.epoch, r.token = r.Broker.epoch, r.Broker.token
	target := r.acked
	same := r.q.Since != nil && r.q.Since.Epoch == r.epoch
	if same && r.q.Since.Offset > r.delivered {
		target = max(target, r.q.Since.Offset)
	}
	if same && target > r.delivered || r.options.Dynamic && target > r.delivered {
		r.look()
	}
	r.mu.Unlock()
	if r.epoch == "" {
		return fmt.Errorf("reading history: %w", ErrUnavailable)
	}
	ahead, cancel := context.WithTimeout(ctx, aheadTime)
	defer cancel()
	r.awaits(ahead, target)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.q.Since == nil:
	case !same || r.q.Since.Offset > r.delivered:
		r.unknown = true
	default:
		r.since = r.q.Since.Offset
	}
	r.through = r.since
	if r.options.Dynamic {
		var all bool
		if r.need, all = r.interest.ofAll(r.q.Filters); !all {
			r.need = r.delivered
		}
	}
	return nil
}

// join calls at where all that is due is known up to this place in the order. Otherwise it gives the place up to which the stream is to
// be read, or 0 where it only has to be called again.
func (r *recovery) join(at func(hub.Recovered)) (low uint64, done bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return 0, false, hub.ErrClosed
	case r.unknown, r.Broker.epoch != r.epoch:
		at(r.unknownLocked(r.q))
		return 0, true, nil
	case r.q.Since == nil && !r.asked:
		if !r.newestLocked() {
			return max(1, r.ring.low, r.need), false, nil
		}
		r.asked = true
	case r.through < max(r.ring.low, r.need) && !r.cut:
		return max(r.ring.low, r.need), false, nil
	}
	// What was read may go beyond this node's place in the order: that is still to be delivered.
	for n := len(r.known); n > 0 && r.known[n-1].Sequence > r.delivered; n-- {
		r.known = r.known[:n-1]
	}
	if r.cut && r.through < r.delivered {
		at(r.result(r.positionLocked()))
		return 0, true, nil
	}
	r.cut = false
	from := sort.Search(len(r.ring.messages), func(i int) bool { return r.ring.messages[i].Sequence > r.through })
	newer := r.ring.messages[from:]
	if len(newer) > maxJoin {
		newer = slices.Clone(newer)
		r.mu.Unlock()
		r.add(newer)
		r.mu.Lock()
		return 0, false, nil
	}
	r.add(newer)
	r.through = r.delivered
	at(r.result(r.positionLocked()))
	return 0, true, nil
}

// add takes from messages, which follow those that are known, what is due.
func (r *recovery) add(messages []*hub.Message) {
	for _, m := range messages {
		if m.Offset > 0 && r.matcher.match(m.Channel) {
			r.known = append(r.known, m)
		}
		r.through = m.Sequence
	}
}

// newestLocked looks whether the ring alone holds as many of the newest messages as are asked for. If so, that is all that is due.
func (r *recovery) newestLocked() bool {
	if r.q.Last <= 0 {
		r.through = r.delivered
		return true
	}
	missing := make([]int, len(r.q.Filters))
	for i := range missing {
		missing[i] = r.q.Last
	}
	counts := make(map[string]int)
	short := len(missing)
	for i := len(r.ring.messages) - 1; i >= 0 && i >= len(r.ring.messages)-maxNewest; i-- {
		m := r.ring.messages[i]
		if m.Sequence <= r.need {
			break
		}
		if m.Offset == 0 || !r.matcher.match(m.Channel) {
			continue
		}
		if counts[m.Channel]++; counts[m.Channel] > m.Rule.History.Messages {
			continue
		}
		for j, f := range r.q.Filters {
			if missing[j] > 0 && f.Match(m.Channel) {
				if missing[j]--; missing[j] == 0 {
					short--
				}
			}
		}
		if short == 0 {
			r.since, r.through = m.Sequence-1, m.Sequence-1
			return true
		}
	}
	return false
}

// maxNewest is how many messages of the ring are looked through for the newest of some channels, under the order's lock.
const maxNewest = 1024

// result is the answer, with all that is known.
func (r *recovery) result(position protocol.Position) hub.Recovered {
	out := hub.Recovered{Position: position, Through: position.Offset, Complete: make([]bool, len(r.q.Filters))}
	if r.cut {
		out.Through = r.through
	}
	channels, trimmed := r.clipped()
	for i, f := range r.q.Filters {
		out.Complete[i] = true
		var list []*hub.Message
		for channel, kept := range channels {
			if !f.Match(channel) {
				continue
			}
			if _, lacks := trimmed[channel]; lacks {
				out.Complete[i] = false
			}
			list = append(list, kept...)
		}
		if r.q.Since == nil {
			out.Complete[i] = true
			slices.SortFunc(list, byOffset)
			list = list[max(0, len(list)-r.q.Last):]
		} else if name, may := r.mayHaveVanished(i, channels); may {
			out.Complete[i] = false
			trimmed[name] = max(trimmed[name], r.since+1)
		}
		out.Messages = append(out.Messages, list...)
	}
	slices.SortFunc(out.Messages, byOffset)
	out.Messages = slices.CompactFunc(out.Messages, func(x, y *hub.Message) bool { return x.Offset == y.Offset })
	if r.q.Since != nil {
		for channel, through := range trimmed {
			out.Trimmed = append(out.Trimmed, hub.Trim{Channel: channel, Through: through})
		}
		if len(out.Messages) > r.q.Limit {
			out.Messages = out.Messages[:r.q.Limit]
			out.Through = out.Messages[r.q.Limit-1].Offset
		}
	}
	return out
}

func byOffset(x, y *hub.Message) int { return cmp.Compare(x.Offset, y.Offset) }

// clipped gives each channel's messages that its rule keeps, and of the channels of which some that are due are gone the newest offset
// that is.
func (r *recovery) clipped() (channels map[string][]*hub.Message, trimmed map[string]uint64) {
	channels, trimmed = make(map[string][]*hub.Message), make(map[string]uint64)
	for _, m := range r.known {
		channels[m.Channel] = append(channels[m.Channel], m)
	}
	now := r.serverNow()
	for channel, list := range channels {
		kept := clip(list, r.rules(channel), now)
		if n := len(list) - len(kept); n > 0 {
			trimmed[channel] = list[n-1].Offset
		} else if r.far && !r.kept[channel] && r.mayHaveLost(r.rules(channel).History.Age) {
			trimmed[channel] = list[0].Offset - 1
		}
		channels[channel] = kept
	}
	return channels, trimmed
}

// clip leaves of a channel's messages what its rule keeps now.
func clip(list []*hub.Message, rule *hub.Rule, now time.Time) []*hub.Message {
	if rule == nil || !rule.History.Keeps() {
		return nil
	}
	list = list[max(0, len(list)-rule.History.Messages):]
	if age := rule.History.Age; age > 0 {
		oldest := now.Add(-age)
		for len(list) > 0 && !list[0].Time.After(oldest) {
			list = list[1:]
		}
	}
	return list
}

// mayHaveVanished tells whether channels of filter i may have had messages behind since of which none is left, and names the channel
// where it is one.
func (r *recovery) mayHaveVanished(i int, channels map[string][]*hub.Message) (name string, may bool) {
	if !r.far {
		return "", false
	}
	f := r.q.Filters[i]
	if f.IsPattern() {
		age := time.Duration(0)
		if keep := r.keeps.Load(); keep.Least != nil {
			age = keep.Least(f)
		}
		return "", r.mayHaveLost(age)
	}
	name = f.String()
	rule := r.rules(name)
	if _, there := channels[name]; there || r.kept[name] || rule == nil || !rule.History.Keeps() {
		return "", false
	}
	return name, r.mayHaveLost(rule.History.Age)
}

// mayHaveLost tells whether a message behind since may be gone that was to be kept for age (0: for ever), of a channel of which nothing
// older is left.
func (r *recovery) mayHaveLost(age time.Duration) bool {
	if r.first > r.since+1 {
		return true // the stream dropped its oldest for want of room, or for their age
	}
	return age > 0 && (r.after.IsZero() || r.serverNow().Sub(r.after) >= age)
}

// serverNow is the time by the servers' clock, which is that of the messages.
func (b *Broker) serverNow() time.Time { return b.now().Add(time.Duration(b.skew.Load())) }
