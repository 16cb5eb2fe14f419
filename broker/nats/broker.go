// Package nats is the broker of a hub that several servers share, over NATS JetStream. The order is that of one stream per hub: its
// sequence numbers are the offsets, its life is the epoch. Each node takes every message that the stream republishes, in the stream's
// order and each once, and fills what it missed from the stream before anyone sees what came after it.
package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/nats/cluster"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// ErrUnavailable tells that NATS, or what is asked of it, is out of reach for now.
var ErrUnavailable = errors.New("NATS is out of reach")

// Options are what a broker is made of.
type Options struct {
	Hub     string        // the hub's name
	URL     string        // servers, separated by commas
	Connect []nats.Option // credentials, TLS, an in-process server
	// Server gives a server within the process to connect to; nil where there is none.
	Server func(log *zap.Logger) (Lease, error)
	Domain string // of JetStream; empty for that of the account
	Prefix string // of the subjects and the stream's name. Default: nq
	// Replicas of the stream. Default: 1.
	Replicas int
	// Memory keeps the stream in the servers' memory and not on their disks.
	Memory bool
	// MaxBytes bounds what the stream keeps; the oldest goes. 0 sets no bound.
	MaxBytes int64
	// PublishTimeout is how long a publication is tried again while the stream does not answer. Default: 5s.
	PublishTimeout time.Duration
	// ReadTimeout is how long the reading of history may take. Default: 5s.
	ReadTimeout time.Duration
	// LiveOnly answers who asks for history that cannot be read as if nothing were known of it, and does not refuse.
	LiveOnly bool
	// Dynamic takes only what is subscribed to here.
	Dynamic bool
}

const (
	defaultPrefix         = "nq"
	defaultPublishTimeout = 5 * time.Second
	defaultReadTimeout    = 5 * time.Second
)

// Broker is a hub.Broker over NATS JetStream.
//
// The goroutine keep connects, follows the stream of one epoch after the other, and is the only one that moves the order on. mu is the
// order's lock: messages, the places of recoveries, and a change of the epoch are under it.
type Broker struct {
	options  Options
	node     string // a name that no other broker has
	names    names
	host     hub.Host
	deliver  func(*hub.Message)
	rules    func(string) *hub.Rule
	life     context.Context // ends with Close
	end      context.CancelFunc
	work     sync.WaitGroup
	poke     chan struct{} // asks keep to look at the stream now
	lost     chan struct{} // asks relay to tell of what may be lost
	reads    chan struct{} // a place for each reading of history at a time
	settled  chan struct{} // closed when the place in the order is known for the first time
	opening  sync.Once
	keeps    atomic.Pointer[hub.Keep]
	log      *zap.Logger
	interest interest       // only where it is dynamic
	peers    peers          // likewise
	cluster  *cluster.Peers // made by Attach
	verified uint64         // keep's: with dynamic interest, up to it nothing is missing
	now      func() time.Time
	skew     atomic.Int64 // nanoseconds that the servers' clock is ahead of ours
	changed  atomic.Bool  // the hub's limits are not the stream's yet
	unheard  atomic.Bool  // messages that no stream keeps may be lost, and the hub has not been told
	slow     atomic.Uint64

	sending sync.Mutex
	number  uint64 // of messages that went past the stream; guarded by sending

	mu        sync.Mutex
	closed    bool
	conn      *nats.Conn // nil until Open
	js        jetstream.JetStream
	release   func() error       // lets go of the server within the process
	sub       *nats.Subscription // to what the stream republishes
	token     string             // of the epoch, in its subjects
	epoch     string
	at        time.Time // when the newest message was stored
	delivered uint64    // sequence of the newest message
	acked     uint64    // newest sequence that the stream has told us of for a message of our own
	ring      ring      // the newest of those delivered
	moved     chan struct{}
	state     jetstream.StreamState // as keep saw it last
}

// New makes a broker. Nothing is connected before Open.
func New(options Options) *Broker {
	if options.Prefix == "" {
		options.Prefix = defaultPrefix
	}
	if options.Replicas == 0 {
		options.Replicas = 1
	}
	if options.PublishTimeout == 0 {
		options.PublishTimeout = defaultPublishTimeout
	}
	if options.ReadTimeout == 0 {
		options.ReadTimeout = defaultReadTimeout
	}
	b := &Broker{
		options: options, node: uuid.NewString()[:8], names: namesOf(options.Prefix, options.Hub), log: zap.NewNop(), now: time.Now,
		poke: make(chan struct{}, 1), lost: make(chan struct{}, 1),
		ring: ring{limit: ringMessages}, reads: make(chan struct{}, maxReads), settled: make(chan struct{}),
	}
	b.interest.wanted, b.interest.asked = make(map[string]*want), make(chan struct{}, 1)
	b.peers.node, b.peers.heard = b.node, make(map[string]time.Time)
	b.life, b.end = context.WithCancel(context.Background())
	b.keeps.Store(&hub.Keep{})
	return b
}

// Attach implements hub.Remote.
func (b *Broker) Attach(host hub.Host) {
	b.host, b.log = host, host.Log()
	b.cluster = cluster.New(cluster.Options{
		Node: b.node, Subject: b.names.root + "peers", Bucket: b.names.bucket, Replicas: b.options.Replicas, Log: b.log,
	})
}

// Peers implements hub.Clustered.
func (b *Broker) Peers() hub.Peers { return b.cluster }

// Retain implements hub.Remote.
func (b *Broker) Retain(keep hub.Keep) {
	b.keeps.Store(&keep)
	b.changed.Store(true)
	b.look()
}

// look has keep look at the stream.
func (b *Broker) look() {
	select {
	case b.poke <- struct{}{}:
	default:
	}
}

// Start implements hub.Broker.
func (b *Broker) Start(deliver func(*hub.Message), rules func(string) *hub.Rule) error {
	b.deliver, b.rules = deliver, rules
	return nil
}

// Open implements hub.Remote.
func (b *Broker) Open(ctx context.Context) error {
	var err error
	b.opening.Do(func() { err = b.connect() })
	if err != nil {
		return err
	}
	select {
	case <-b.settled:
	case <-b.life.Done():
	case <-ctx.Done():
	}
	return nil
}

// connect makes the connection, which NATS's client keeps up from then on.
func (b *Broker) connect() error {
	connect := append(b.connectOptions(), b.options.Connect...)
	release := func() error { return nil }
	if b.options.Server != nil {
		lease, err := b.options.Server(b.log)
		if err != nil {
			return err
		}
		connect, release = append(connect, lease.Connect), lease.Release
	}
	conn, err := nats.Connect(b.options.URL, connect...)
	if err != nil {
		return errors.Join(fmt.Errorf("connecting to NATS: %w", err), release())
	}
	js, err := b.jetStream(conn)
	if err != nil {
		conn.Close()
		return errors.Join(fmt.Errorf("using JetStream: %w", err), release())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		conn.Close()
		return errors.Join(hub.ErrClosed, release())
	}
	if err := b.cluster.Connect(conn, js); err != nil {
		conn.Close()
		return errors.Join(err, release())
	}
	b.conn, b.js, b.release = conn, js, release
	b.work.Go(b.keep)
	return nil
}

func (b *Broker) jetStream(conn *nats.Conn) (jetstream.JetStream, error) {
	if b.options.Domain != "" {
		return jetstream.NewWithDomain(conn, b.options.Domain)
	}
	return jetstream.New(conn)
}

// Ready implements hub.Remote.
func (b *Broker) Ready() bool {
	select {
	case <-b.settled:
		return true
	default:
		return false
	}
}

// Position implements hub.Broker.
func (b *Broker) Position() protocol.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.positionLocked()
}

func (b *Broker) positionLocked() protocol.Position {
	return protocol.Position{Epoch: b.epoch, Offset: b.delivered}
}

// Close implements hub.Broker.
func (b *Broker) Close() error {
	b.mu.Lock()
	closed := b.closed
	b.closed = true
	conn, release := b.conn, b.release
	b.mu.Unlock()
	if closed {
		return nil
	}
	b.end()
	b.work.Wait()
	if conn == nil {
		return nil
	}
	b.cluster.Close()
	conn.Close()
	return release()
}

// Interface guards.
var (
	_ hub.Broker     = (*Broker)(nil)
	_ hub.Remote     = (*Broker)(nil)
	_ hub.Sized      = (*Broker)(nil)
	_ hub.Interested = (*Broker)(nil)
	_ hub.Clustered  = (*Broker)(nil)
)
