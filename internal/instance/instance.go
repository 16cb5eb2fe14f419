package instance

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/session"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Configuration is what one Caddy configuration says about a hub.
type Configuration struct {
	Settings *hub.Settings
	Session  *session.Config
	Feeds    []FeedRunner
	Readers  map[string]stream.FeedReader // the sources that read a change feed, by name
	Watches  map[string]WatchedQuery
}

// instances holds the hubs of this process by their names, counted by the handlers that use them. This is what lets connections and
// channels outlive a reload: the new configuration takes a hub up before the old one lets go of it.
var instances = caddy.NewUsagePool()

// Instance is a hub with all that lives as long as it does.
type Instance struct {
	Hub    *hub.Hub
	Env    *session.Env
	log    *reloadableCore
	events *eventQueue
	traces deliveryTracer

	readers atomic.Pointer[map[string]stream.FeedReader]

	tickets     access.Tickets
	Revocations access.Revocations

	mu      sync.Mutex
	ended   bool
	drained chan struct{} // closed when the hub has drained; nil before that began
	feeds   feeds
}

// Open gives the hub of a name and makes it where it does not live yet.
func Open(name string, c *Configuration, broker BrokerModule, maxHistory int64, topics map[string]func(*Instance) hub.PeerTopic, log *zap.Logger) (*Instance, error) {
	pooled, _, err := instances.LoadOrNew(name, func() (caddy.Destructor, error) {
		b, err := broker.NewBroker(name, maxHistory)
		if err != nil {
			return nil, err
		}
		core := newReloadableCore(log.Core())
		steady := zap.New(core).Named(log.Name())
		h, err := hub.New(name, b, c.Settings, steady)
		if err != nil {
			return nil, err
		}
		p := &Instance{Hub: h, log: core, Env: &session.Env{Hub: h, Streams: stream.NewRegistry(steady), Live: live.NewEngine(steady), Log: steady}}
		p.Env.Config.Store(c.Session)
		p.Env.Revocations = &p.Revocations
		for name, topic := range topics {
			p.Hub.OnPeers(name, topic(p))
		}
		p.registerPeerHandlers()
		p.events = newEventQueue(h, steady)
		h.TraceDeliveries(p.traces.delivered)
		p.feeds.log, p.feeds.lead, p.feeds.publish = steady, h.Lead, func(ctx context.Context, channel string, data []byte) error {
			_, err := h.Publish(ctx, hub.Publication{Channel: channel, Data: data})
			return err
		}
		if err := h.Meet(); err != nil {
			return nil, errors.Join(err, h.Close(context.Background()))
		}
		return p, nil
	})
	if err != nil {
		return nil, err
	}
	return pooled.(*Instance), nil
}

// Release lets go of the hub of a name.
func Release(name string) error {
	_, err := instances.Delete(name)
	return err
}

// Find is the living hub of a name, nil where there is none.
func Find(name string) (found *Instance) {
	instances.Range(func(key, value any) bool {
		if key == name {
			found = value.(*Instance)
		}
		return found == nil
	})
	return found
}

// Ready tells whether new clients are welcome.
func (p *Instance) Ready() bool { return !p.Hub.Draining() && p.Hub.Ready() }

// Apply puts a configuration that has started in force, also for the connections that are open.
func (p *Instance) Apply(c *Configuration, log *zap.Logger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.log.swap(log.Core())
	p.Env.Live.Configure(p.liveQueries(c.Watches)) // first, so that who asks for a query that is new can watch it
	p.Env.Config.Store(c.Session)
	p.Hub.Configure(c.Settings) // has each connection held against all of it
	p.feeds.replace(c.Feeds)
	p.readers.Store(&c.Readers)
}

// maxDrain is the longest that the draining of a hub may take, where no grace period is shorter.
const maxDrain = 5 * time.Second

// drain begins to send the hub's clients away, within the grace period that is left (0: no bound). Destruct waits for it.
func (p *Instance) drain(grace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drained != nil {
		return
	}
	drained := make(chan struct{})
	p.drained = drained
	patience := maxDrain
	if grace > 0 {
		patience = min(patience, grace*4/5)
	}
	go func() {
		defer close(drained)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		p.Hub.Drain(ctx)
	}()
}

// Destruct implements caddy.Destructor: no handler of the hub's name is left.
func (p *Instance) Destruct() error {
	p.mu.Lock()
	p.ended = true
	p.feeds.replace(nil)
	p.mu.Unlock()
	p.events.close()
	p.drain(0)
	<-p.drained
	p.Env.Live.Close()
	return p.Hub.Close(context.Background())
}
