package hub

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Remote is a Broker that several processes share, so that a network lies between it and the hub. Messages come from elsewhere, may be
// lost on the way, and history may be out of reach for a while.
type Remote interface {
	Broker
	// Attach gives the broker the hub that uses it. It is called once, before Start.
	Attach(host Host)
	// Retain tells how much of channels the configuration keeps. It is called before Start and after each change; it must not block.
	Retain(keep Keep)
	// Open connects. It returns when the broker is ready to be used, or when ctx ends: then it goes on trying. It fails only on what
	// trying again cannot mend. It is called when a configuration starts; calls after the first do nothing.
	Open(ctx context.Context) error
	// Ready tells whether the place in the order is known: clients that came before would have to be sent away again.
	Ready() bool
}

// Host is what a Remote broker may ask of its hub. None of it blocks but Room. What is told of the order (Missing, MissingUnkept, Renewed)
// has its place between two calls of deliver, and is subject to the same rule: one call at a time.
type Host interface {
	// Room waits until the hub has room for more messages. To be called before deliver, without holding up anything else.
	Room()
	// Missing tells that messages of a channel that keeps history are lost for those who are subscribed here.
	Missing(channel string)
	// MissingUnkept tells that messages of channels without history may be lost, it is not known of which.
	MissingUnkept()
	// Renewed tells that the order begins anew at a place of another epoch. All clients are sent away to come back.
	Renewed(position protocol.Position)
	// Log is the hub's logger.
	Log() *zap.Logger
}

// Keep is how much the rules of a configuration keep.
type Keep struct {
	Messages int           // the most that any channel keeps
	Age      time.Duration // the longest; 0 where there is a rule without limit, or none keeps anything
	// Least gives the shortest age among the rules that may hold for channels of a pattern; 0 where none has a limit.
	Least func(p protocol.Pattern) time.Duration
}

// host is the hub as its broker sees it.
type host struct{ hub *Hub }

func (h host) Room() { h.hub.gate.enter() }

func (h host) Log() *zap.Logger { return h.hub.log }

func (h host) Missing(channel string) {
	for _, s := range h.hub.shards {
		s.post(letter{command: func() { s.missing(channel) }})
	}
}

func (h host) MissingUnkept() {
	for _, s := range h.hub.shards {
		s.post(letter{command: s.missingUnkept})
	}
}

func (h host) Renewed(position protocol.Position) {
	for _, s := range h.hub.shards {
		s.post(letter{command: func() { s.epoch, s.processed = position.Epoch, position.Offset }})
	}
	h.hub.leaveAll()
}

// Open connects a Remote broker; others need nothing.
func (h *Hub) Open(ctx context.Context) error {
	if h.remote == nil {
		return nil
	}
	return h.remote.Open(ctx)
}

// Ready tells whether clients can be taken in: a Remote broker may not have been reached yet.
func (h *Hub) Ready() bool { return h.remote == nil || h.remote.Ready() }

// keep sums up what the rules keep.
func (s *Settings) keep() Keep {
	k := Keep{Least: s.leastAge}
	unlimited := false
	for _, r := range s.Rules {
		if r.History.Keeps() {
			k.Messages = max(k.Messages, r.History.Messages)
			k.Age = max(k.Age, r.History.Age)
			unlimited = unlimited || r.History.Age == 0
		}
	}
	if unlimited {
		k.Age = 0
	}
	return k
}

// leastAge is the shortest age of the rules up to the one that contains the pattern: no later one holds for any of its channels.
func (s *Settings) leastAge(p protocol.Pattern) (least time.Duration) {
	work := protocol.NewWork(protocol.MaxWork)
	for _, r := range s.Rules {
		if age := r.History.Age; r.History.Keeps() && age > 0 && (least == 0 || age < least) {
			least = age
		}
		if r.Pattern.Contains(p, work) {
			break
		}
	}
	return least
}

// background runs f beside the shards until the hub closes, which ends ctx and waits for it.
func (h *Hub) background(f func(ctx context.Context)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.work.Go(func() { f(h.life) })
}

// leaveAll sends all clients away, to come back at once: what they know of the order is of no use any more.
func (h *Hub) leaveAll() {
	conns := h.Connections()
	if len(conns) == 0 {
		return
	}
	h.log.Warn("the order of messages begins anew: clients are sent away to come back", zap.Int("connections", len(conns)))
	h.background(func(ctx context.Context) { h.sendAway(ctx, conns, "the order begins anew") })
}

// Interested is a Remote that takes only what is subscribed to here.
type Interested interface {
	// Want has the messages of patterns come. When it returns, all that is published from then on does, on whatever node. Each call is to
	// be taken back by Unwant with the same patterns, but for one that fails.
	Want(ctx context.Context, patterns []protocol.Pattern) error
	// Unwant takes back a Want. It does not block.
	Unwant(patterns []protocol.Pattern)
}

// subscribeRetry is how long a client should wait whose subscription could not be made known to the other nodes.
const subscribeRetry = time.Second

// want has the messages of patterns come here, where the broker has to know.
func (h *Hub) want(ctx context.Context, patterns []protocol.Pattern) error {
	if h.wants == nil {
		return nil
	}
	return h.wants.Want(ctx, patterns)
}

func (h *Hub) unwant(patterns ...protocol.Pattern) {
	if h.wants != nil {
		h.wants.Unwant(patterns)
	}
}
