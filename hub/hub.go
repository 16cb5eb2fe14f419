// Package hub keeps connections and carries messages between them: registration and limits, subscriptions, the fan-out of
// channel messages, heartbeats, and the writing of everything that goes to a client. It knows nothing of Caddy, and nothing of what
// clients say: that is for the Receiver of each connection.
//
// A Hub has one shard per CPU. Each shard is a goroutine that owns a part of the connections and their subscriptions, so that
// nothing is locked between the broker's order and a connection's queue; a connection's queue has a lock of its own, which its
// shard, its writer and its reader share. Each connection has one goroutine that reads; writing needs one only while the socket
// does not take all at once.
package hub

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Hub is a set of connections that share channels. Its methods are safe for concurrent use.
type Hub struct {
	name     string
	broker   Broker
	peers    Peers                // nil where the hub is of this process alone
	topics   map[string]PeerTopic // not changed after Meet
	remote   Remote               // the broker, where it is one
	wants    Interested           // likewise
	log      *zap.Logger
	settings atomic.Pointer[Settings]
	shards   []*shard
	turn     atomic.Uint32 // which shard gets the next connection
	gate     gate
	queued   atomic.Int64 // bytes waiting for all connections
	lastShed atomic.Int64 // unix nanoseconds of the last look for the slowest connections
	stats    counters
	names    names // that have subscribers
	sampler  sampler
	taps     atomic.Pointer[[]*tap] // nil where there are none
	tracer   atomic.Pointer[func(*Message, int)]
	presence *presence
	warnings warnings

	life    context.Context // ends with Close
	end     context.CancelFunc
	work    sync.WaitGroup // what background has started
	drained chan struct{}  // closed when all that was there at the beginning of the draining has ended

	parkAtOnce bool         // whatever a client said last; for tests
	onDecide   func()       // called before rights are decided again; for tests
	watching   atomic.Int64 // subscriptions that want presence events

	mu          sync.Mutex
	draining    bool
	closed      bool
	reviewing   bool             // the connections are being held against new settings
	reviewAgain bool             // and are to be once more
	conns       map[string]*Conn // by id
	slots       slots
	gone        traffic           // of the connections that have ended: each is here or in conns
	closes      map[string]uint64 // of these, by close code
	poller      *poller           // made for the first connection that could park; nil before, and where none can
}

// New makes a hub over a broker, which it starts. Close must be called in the end; it closes the broker too.
func New(name string, broker Broker, settings *Settings, log *zap.Logger) (*Hub, error) {
	h := &Hub{
		name: name, broker: broker, log: log, conns: make(map[string]*Conn), slots: newSlots(), closes: newCloses(), sampler: newSampler(),
		warnings: newWarnings(), drained: make(chan struct{}), topics: make(map[string]PeerTopic),
	}
	h.settings.Store(settings)
	h.life, h.end = context.WithCancel(context.Background())
	h.presence = newPresence(h)
	for range runtime.GOMAXPROCS(0) {
		h.shards = append(h.shards, newShard(h))
	}
	h.gate.init(len(h.shards))
	rules := func(channel string) *Rule { return h.Settings().RuleFor(channel) }
	if remote, ok := broker.(Remote); ok {
		h.remote = remote
		h.wants, _ = broker.(Interested)
		remote.Attach(host{h})
		remote.Retain(settings.keep())
	}
	if clustered, ok := broker.(Clustered); ok {
		h.peers = clustered.Peers()
	}
	if err := broker.Start(h.deliver, rules); err != nil {
		h.end()
		return nil, err
	}
	epoch := broker.Position().Epoch
	for _, s := range h.shards {
		s.epoch = epoch
		go s.run()
	}
	return h, nil
}

// Name is the hub's name in the configuration.
func (h *Hub) Name() string { return h.name }

// Settings are those in force.
func (h *Hub) Settings() *Settings { return h.settings.Load() }

// Configure puts new settings in force, also for the connections that are open. What these are no longer allowed they are sent no more
// when it returns; soon after, their subscriptions end with an error, in the order of their requests.
func (h *Hub) Configure(settings *Settings) {
	h.settings.Store(settings)
	if h.remote != nil {
		h.remote.Retain(settings.keep())
	}
	h.review()
}

// Broker is the hub's broker.
func (h *Hub) Broker() Broker { return h.broker }

// deliver takes a message from the broker, in the order.
func (h *Hub) deliver(m *Message) {
	h.gate.put(len(m.Bytes))
	h.sampler.choose(m)
	for _, s := range h.shards {
		s.post(letter{message: m})
	}
	h.tell(m)
}

// TraceDeliveries has call called by each shard for every message whose publishing was traced, with the number of connections that the
// shard has put it before. call holds up the shard.
func (h *Hub) TraceDeliveries(call func(m *Message, receivers int)) { h.tracer.Store(&call) }

func (h *Hub) traced(m *Message, receivers int) {
	if call := h.tracer.Load(); call != nil {
		(*call)(m, receivers)
	}
}

// Publish puts a message into the order and so on its way to the subscribers. The channel's name and the data must have been
// checked. It waits while the hub is busy with very many earlier ones.
func (h *Hub) Publish(ctx context.Context, p Publication) (Receipt, error) {
	h.gate.enter()
	receipt, err := h.broker.Publish(ctx, p)
	if err == nil {
		h.stats.published.Add(1)
		if receipt.Duplicate {
			h.stats.duplicates.Add(1)
		}
	}
	return receipt, err
}

// History gives a part of a channel's history; see Broker.
func (h *Hub) History(ctx context.Context, channel string, since *protocol.Position, limit int) (History, error) {
	return h.broker.History(ctx, channel, since, limit)
}

// Position is the newest place in the order.
func (h *Hub) Position() protocol.Position { return h.broker.Position() }

// Direct channels name messages that no client subscribed to in the gaps that tell of their loss.
const (
	directUnicast   = "$unicast"
	directBroadcast = "$broadcast"
)

// Send queues msg, one JSON object, for one connection, under the limits of the fallback rule's queue.
func (h *Hub) Send(id string, msg []byte) error {
	h.mu.Lock()
	c := h.conns[id]
	h.mu.Unlock()
	if c == nil {
		return ErrNoConnection
	}
	item := &flow.Item{Bytes: frame(msg), Channel: directUnicast}
	if !c.shard.post(letter{command: func() { c.shard.direct(c, item) }}) {
		return ErrClosed
	}
	return nil
}

// Broadcast queues msg, one JSON object, for every connection, under the limits of the fallback rule's queue.
func (h *Hub) Broadcast(msg []byte) error {
	item := &flow.Item{Bytes: frame(msg), Channel: directBroadcast}
	for _, s := range h.shards {
		if !s.post(letter{command: func() {
			for c := range s.conns {
				if !c.awaited {
					s.direct(c, item)
				}
			}
		}}) {
			return ErrClosed
		}
	}
	return nil
}

// direct queues a message for a connection without any subscription.
func (s *shard) direct(c *Conn, item *flow.Item) {
	if _, open := s.conns[c]; !open {
		return
	}
	if s.offer(c, s.directClass(), item, 0) == flow.Overflow {
		c.Close(closeTooSlow, "too slow")
		return
	}
	s.touch(c)
}

// directClass is the fallback rule's queue for messages without history: where it says block there is nothing to catch up from. A
// class is told from others by its address, so that one is made for each configuration and not for each message.
func (s *shard) directClass() *flow.Class {
	class := &s.hub.Settings().Fallback.Queue
	if class.Policy != flow.Block {
		return class
	}
	if s.blocking != class {
		unblocked := *class
		unblocked.Policy = flow.DropOldest
		s.blocking, s.unblocked = class, &unblocked
	}
	return s.unblocked
}

// Connections gives the open connections, in no order.
func (h *Hub) Connections() []*Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.connectionsLocked()
}

func (h *Hub) connectionsLocked() []*Conn {
	out := make([]*Conn, 0, len(h.conns))
	for _, c := range h.conns {
		out = append(out, c)
	}
	return out
}

// Connection gives an open connection by its id, nil where there is none.
func (h *Hub) Connection(id string) *Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns[id]
}
