// Package memory is the broker of a hub that lives in one process: a sequencer with a short critical section, and histories
// in memory with hard bounds.
package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// DefaultMaxHistory is how many bytes of history a broker keeps unless told otherwise.
const DefaultMaxHistory = 256 << 20

// sweepInterval is how often what has grown too old is freed. Reading never sees it: age is checked there as well.
const sweepInterval = time.Second

// Broker is a hub.Broker in memory. Its epoch is its life: a new one never continues an older one's offsets.
type Broker struct {
	epoch string
	stop  chan struct{}
	done  chan struct{}
	now   func() time.Time

	mu         sync.Mutex
	closed     bool
	deliver    func(*hub.Message)
	rules      func(string) *hub.Rule
	sequence   uint64
	store      store
	keys       keys
	maxHistory int
}

// New makes a broker that keeps at most maxHistory bytes of history, DefaultMaxHistory where that is 0. What is beyond goes
// oldest first, whatever its channel.
func New(maxHistory int) *Broker {
	if maxHistory == 0 {
		maxHistory = DefaultMaxHistory
	}
	return &Broker{
		epoch:      uuid.NewString(),
		stop:       make(chan struct{}),
		done:       make(chan struct{}),
		now:        time.Now,
		store:      newStore(),
		keys:       newKeys(),
		maxHistory: maxHistory,
	}
}

// SetMaxHistory changes how many bytes of history are kept.
func (b *Broker) SetMaxHistory(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.maxHistory = bytes
	b.store.shrink(bytes)
}

// Start implements hub.Broker.
func (b *Broker) Start(deliver func(*hub.Message), rules func(string) *hub.Rule) error {
	b.deliver, b.rules = deliver, rules
	go b.sweep()
	return nil
}

func (b *Broker) sweep() {
	defer close(b.done)
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.lockExpired()
			b.mu.Unlock()
		case <-b.stop:
			return
		}
	}
}

// expirePart is how many messages are freed at once for their age, before who publishes has a turn.
const expirePart = 1000

// lockExpired locks the broker when nothing in it is too old.
func (b *Broker) lockExpired() {
	for b.mu.Lock(); !b.expireLocked(b.now()); b.mu.Lock() {
		b.mu.Unlock()
	}
}

func (b *Broker) expireLocked(now time.Time) (all bool) {
	b.keys.expire(now)
	return b.store.expire(now, expirePart)
}

// Publish implements hub.Broker.
func (b *Broker) Publish(_ context.Context, p hub.Publication) (hub.Receipt, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return hub.Receipt{}, hub.ErrClosed
	}
	rule := b.rules(p.Channel)
	if rule == nil {
		return hub.Receipt{}, protocol.Errorf(protocol.Forbidden, "this channel is not open to you")
	}
	now := b.now()
	b.expireLocked(now)
	if p.Key != "" {
		if offset, seen := b.keys.get(p.KeyScope()); seen {
			return hub.Receipt{Position: protocol.Position{Epoch: b.epoch, Offset: offset}, Duplicate: true}, nil
		}
	}
	b.sequence++
	message := hub.NewMessage(p, rule, b.sequence, b.store.last(p.Channel), now)
	if rule.History.Keeps() {
		b.store.add(message)
		b.store.shrink(b.maxHistory)
	}
	if p.Key != "" {
		b.keys.put(p.KeyScope(), message.Offset, now)
	}
	b.deliver(message)
	return hub.Receipt{Position: protocol.Position{Epoch: b.epoch, Offset: message.Offset}}, nil
}

// Position implements hub.Broker.
func (b *Broker) Position() protocol.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.positionLocked()
}

func (b *Broker) positionLocked() protocol.Position {
	return protocol.Position{Epoch: b.epoch, Offset: b.sequence}
}

// History implements hub.Broker.
func (b *Broker) History(_ context.Context, channel string, since *protocol.Position, limit int) (hub.History, error) {
	b.lockExpired()
	defer b.mu.Unlock()
	if rule := b.rules(channel); rule == nil || !rule.History.Keeps() {
		return hub.History{}, hub.ErrNoHistory
	}
	out := hub.History{Epoch: b.epoch}
	kept := b.store.messages(channel)
	switch {
	case since == nil:
		from := max(0, len(kept)-limit)
		out.Messages, out.More = append(out.Messages, kept[from:]...), from > 0
	case since.Epoch != b.epoch:
		// Offsets of another epoch say nothing here: all that is kept is news.
		to := min(len(kept), limit)
		out.Messages, out.More = append(out.Messages, kept[:to]...), to < len(kept)
	default:
		kept = after(kept, since.Offset)
		to := min(len(kept), limit)
		out.Messages, out.More = append(out.Messages, kept[:to]...), to < len(kept)
	}
	return out, nil
}

// Channels implements hub.Broker.
func (b *Broker) Channels(match func(string) bool) []hub.ChannelHistory {
	b.lockExpired()
	list := slices.Clone(b.store.list)
	b.mu.Unlock()
	list = slices.DeleteFunc(list, func(ch *channel) bool { return !match(ch.name) }) // a name does not change
	out := make([]hub.ChannelHistory, 0, len(list))
	for part := range slices.Chunk(list, copyPart) {
		b.mu.Lock()
		for _, ch := range part {
			if len(ch.messages) > 0 { // else it was freed meanwhile
				out = append(out, ch.describe(ch.name))
			}
		}
		b.mu.Unlock()
	}
	return out
}

// Channel implements hub.Broker.
func (b *Broker) Channel(name string) (hub.ChannelHistory, bool) {
	b.lockExpired()
	defer b.mu.Unlock()
	if ch := b.store.channels[name]; ch != nil {
		return ch.describe(name), true
	}
	return hub.ChannelHistory{}, false
}

// Size implements hub.Sized.
func (b *Broker) Size() (channels int, bytes int64) {
	b.lockExpired()
	defer b.mu.Unlock()
	return len(b.store.channels), int64(b.store.bytes)
}

// Close implements hub.Broker.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	if b.deliver != nil {
		close(b.stop)
		<-b.done
	}
	return nil
}

// Interface guards.
var (
	_ hub.Broker = (*Broker)(nil)
	_ hub.Sized  = (*Broker)(nil)
)
