// Package cluster lets the nodes of a hub find and reach each other over NATS: who is alive and who leads by leases in a key-value bucket,
// what is said by core messages, and what must not be forgotten in a second bucket.
package cluster

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// DefaultLease is how long a node that says nothing is taken for alive. Clocks do not matter, as each node counts from when it has heard of
// another.
const DefaultLease = 10 * time.Second

const (
	memory         = 24 * time.Hour // that is remembered
	maxMemory      = 64 << 20       // bytes
	maxAnswer      = 64 << 20
	maxAsked       = 64 // requests of others that are answered at once
	maxTold        = 16_384
	opTimeout      = 5 * time.Second
	firstPause     = 200 * time.Millisecond
	lastPause      = 5 * time.Second
	nodePrefix     = "node."
	leadPrefix     = "lead."
	answerPart     = 256 << 10 // bytes of one message of an answer
	lastPartHeader = "Nq-Last"
	leaseBucket    = "_nodes"
)

// Options are what Peers are made of.
type Options struct {
	Node     string // this node's name, of letters, digits and -
	Subject  string // that the subjects begin with
	Bucket   string // that the buckets' names begin with
	Replicas int    // of the buckets
	// Lease is how long a node is taken for alive, and for the leader of a task, that has not renewed that. It does so three times within.
	// Default: DefaultLease.
	Lease time.Duration
	Log   *zap.Logger
}

// Peers is a hub.Peers.
type Peers struct {
	options Options
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup
	asked   chan struct{} // a place for each request of another node
	events  hub.PeerEvents

	mu      sync.Mutex
	conn    *nats.Conn
	kept    jetstream.KeyValue
	lease   jetstream.KeyValue
	alive   map[string]time.Time // when each was heard of
	renewed time.Time            // the last time that this node's lease was
	ready   chan struct{}        // closed when the buckets are there
	again   chan struct{}        // has room for one: after an outage the buckets are to be watched anew
}

// New makes the Peers of a node, which reach nobody before Connect.
func New(options Options) *Peers {
	if options.Lease == 0 {
		options.Lease = DefaultLease
	}
	p := &Peers{options: options, asked: make(chan struct{}, maxAsked), alive: make(map[string]time.Time), ready: make(chan struct{}), again: make(chan struct{}, 1)}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// Node implements hub.Peers.
func (p *Peers) Node() string { return p.options.Node }

// Start implements hub.Peers.
func (p *Peers) Start(events hub.PeerEvents) error {
	p.events = events
	return nil
}

// Connect begins to be one of the nodes, over a connection that goes on after an outage of itself. Without an earlier Start it does nothing:
// a node that handles nothing is none.
func (p *Peers) Connect(conn *nats.Conn, js jetstream.JetStream) error {
	if p.events == nil {
		return nil
	}
	told := make(chan *nats.Msg, maxTold)
	// What is told before the buckets are there is of no use to anyone, but what is asked is.
	hear, err := conn.ChanSubscribe(p.options.Subject+".tell.>", told)
	if err != nil {
		return fmt.Errorf("listening to other nodes: %w", err)
	}
	asks, err := conn.Subscribe(p.options.Subject+".ask."+p.options.Node+".>", p.answer)
	if err != nil {
		return errors.Join(fmt.Errorf("listening to other nodes: %w", err), hear.Unsubscribe())
	}
	p.mu.Lock()
	p.conn = conn
	p.mu.Unlock()
	p.running.Go(func() {
		p.run(js, told)
		// They fail on a closed connection only, where there is nothing to end.
		_, _ = hear.Unsubscribe(), asks.Unsubscribe()
	})
	return nil
}

// Close says goodbye and ends all that is under way.
func (p *Peers) Close() {
	p.mu.Lock()
	p.end() // under the lock: nothing is answered any more
	lease := p.lease
	p.mu.Unlock()
	p.running.Wait()
	if lease != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		// Where it cannot be said, the lease runs out.
		_ = lease.Delete(ctx, nodePrefix+p.options.Node)
	}
}

// open makes the buckets where they are not there yet.
func (p *Peers) open(js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(p.life, opTimeout)
	defer cancel()
	lease, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: p.options.Bucket + leaseBucket, Description: "which nodes of the hub are alive", TTL: p.options.Lease,
		Storage: jetstream.MemoryStorage, Replicas: p.options.Replicas,
	})
	if err != nil {
		return fmt.Errorf("the bucket of nodes: %w", err)
	}
	kept, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: p.options.Bucket + "_kept", Description: "what the nodes of the hub must not forget", TTL: memory, MaxBytes: maxMemory,
		Replicas: p.options.Replicas,
	})
	if err != nil {
		return fmt.Errorf("the bucket of what is remembered: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lease == nil { // else they are of the same names, and the earlier ones are good again
		p.lease, p.kept = lease, kept
	}
	return nil
}

// run is where all events come from but questions.
func (p *Peers) run(js jetstream.JetStream, told <-chan *nats.Msg) {
	said := ""
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := p.open(js)
		if err == nil {
			break
		}
		if p.life.Err() == nil && said != err.Error() {
			said = err.Error()
			p.options.Log.Warn("the other nodes cannot be reached yet; trying again", zap.Error(err))
		}
		if !p.wait(p.life, pause+rand.N(pause)) {
			return
		}
	}
	close(p.ready)
	p.running.Go(func() { p.renew(js) })
	for p.life.Err() == nil {
		if err := p.follow(told); err != nil && p.life.Err() == nil {
			p.options.Log.Warn("the other nodes are not seen; trying again", zap.Error(err))
			p.wait(p.life, firstPause)
		}
	}
}

func (p *Peers) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// follow watches the buckets and hears what others tell, until that fails or the life ends.
func (p *Peers) follow(told <-chan *nats.Msg) error {
	leases, err := p.lease.Watch(p.life, nodePrefix+"*")
	if err != nil {
		return fmt.Errorf("watching the nodes: %w", err)
	}
	// Stopping fails where the connection is closed, which ends it as well.
	defer func() { _ = leases.Stop() }()
	memories, err := p.kept.WatchAll(p.life)
	if err != nil {
		return fmt.Errorf("watching what is remembered: %w", err)
	}
	defer func() { _ = memories.Stop() }()
	look := time.NewTicker(p.options.Lease / 10)
	defer look.Stop()
	connected := true
	for {
		select {
		case entry, ok := <-leases.Updates():
			if !ok {
				return errors.New("the watch of the nodes has ended")
			}
			p.leased(entry)
		case entry, ok := <-memories.Updates():
			if !ok {
				return errors.New("the watch of what is remembered has ended")
			}
			if entry != nil && entry.Operation() == jetstream.KeyValuePut {
				p.remembered(entry)
			}
		case msg := <-told:
			p.hear(msg)
		case <-p.again:
			return errors.New("the bucket of the nodes could not be reached, and can be again")
		case <-look.C:
			if now := p.hears(); now != connected {
				connected = now
				p.afresh()
			}
			if connected {
				p.expire()
			}
		case <-p.life.Done():
			return nil
		}
	}
}

// afresh gives every node its whole lease again, as nothing could be heard of any.
func (p *Peers) afresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for node := range p.alive {
		p.alive[node] = time.Now()
	}
}

// leased takes in a change of the bucket of nodes.
func (p *Peers) leased(entry jetstream.KeyValueEntry) {
	if entry == nil { // all that was there before has been told
		return
	}
	node := strings.TrimPrefix(entry.Key(), nodePrefix)
	if node == p.options.Node {
		return
	}
	p.mu.Lock()
	_, known := p.alive[node]
	here := entry.Operation() == jetstream.KeyValuePut
	if here {
		p.alive[node] = time.Now()
	} else {
		delete(p.alive, node)
	}
	p.mu.Unlock()
	switch {
	case here && !known:
		p.options.Log.Info("a node has joined", zap.String("node", node))
		p.events.Joined(node)
	case !here && known:
		p.options.Log.Info("a node has left", zap.String("node", node))
		p.events.Left(node)
	}
}

// hears reports whether other nodes can be heard of: the connection may be there and nothing come over it.
func (p *Peers) hears() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn.IsConnected() && time.Since(p.renewed) < 2*p.renewal()
}

// expire lets go of nodes that have not renewed their leases.
func (p *Peers) expire() {
	var gone []string
	p.mu.Lock()
	for node, heard := range p.alive {
		if time.Since(heard) > p.options.Lease {
			gone = append(gone, node)
			delete(p.alive, node)
		}
	}
	p.mu.Unlock()
	for _, node := range gone {
		p.options.Log.Warn("a node is not heard of any more", zap.String("node", node))
		p.events.Left(node)
	}
}

// renewal is the time between two renewals of a lease.
func (p *Peers) renewal() time.Duration { return p.options.Lease * 3 / 10 }

// renew renews this node's lease.
func (p *Peers) renew(js jetstream.JetStream) {
	failed := false
	for {
		err := p.renewOnce()
		if err != nil && p.lost(js) && p.open(js) == nil {
			failed = true
			continue
		}
		if err == nil {
			p.mu.Lock()
			p.renewed = time.Now()
			p.mu.Unlock()
			if failed { // the bucket may be another by now, made by any of the nodes
				select {
				case p.again <- struct{}{}:
				default:
				}
			}
		}
		failed = err != nil // the next try comes soon, and the log of the connection says why
		if !p.wait(p.life, p.renewal()) {
			return
		}
	}
}

func (p *Peers) renewOnce() error {
	ctx, cancel := context.WithTimeout(p.life, p.renewal())
	defer cancel()
	_, err := p.lease.Put(ctx, nodePrefix+p.options.Node, nil)
	return err
}

// lost reports whether the bucket of nodes is no longer there: it is kept in memory, and so ends with the servers that have it.
func (p *Peers) lost(js jetstream.JetStream) bool {
	ctx, cancel := context.WithTimeout(p.life, p.renewal())
	defer cancel()
	_, err := js.KeyValue(ctx, p.options.Bucket+leaseBucket)
	return errors.Is(err, jetstream.ErrBucketNotFound)
}

// Nodes implements hub.Peers.
func (p *Peers) Nodes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.alive))
}

// Tell implements hub.Peers.
func (p *Peers) Tell(topic string, data []byte) {
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		// What cannot be sent is lost, which those who listen find out.
		_ = conn.Publish(p.options.Subject+".tell."+p.options.Node+"."+topic, data)
	}
}

func (p *Peers) hear(msg *nats.Msg) {
	node, topic, ok := strings.Cut(strings.TrimPrefix(msg.Subject, p.options.Subject+".tell."), ".")
	if ok && node != p.options.Node {
		p.events.Told(node, topic, msg.Data)
	}
}

// Remember implements hub.Peers.
func (p *Peers) Remember(ctx context.Context, key string, data []byte) error {
	select {
	case <-p.ready:
	default:
		return hub.ErrNotRemembered
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	topic, rest, _ := strings.Cut(key, "/")
	if _, err := p.kept.Put(ctx, topic+"."+base64.RawURLEncoding.EncodeToString([]byte(rest)), data); err != nil {
		return fmt.Errorf("%w: %w", hub.ErrNotRemembered, err)
	}
	return nil
}

func (p *Peers) remembered(entry jetstream.KeyValueEntry) {
	topic, rest, _ := strings.Cut(entry.Key(), ".")
	if key, err := base64.RawURLEncoding.DecodeString(rest); err == nil {
		p.events.Remembered(topic+"/"+string(key), entry.Value())
	}
}

var _ hub.Peers = (*Peers)(nil)
