package neuroquantumws

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/session"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// configuration is what one Caddy configuration says about a hub.
type configuration struct {
	settings *hub.Settings
	session  *session.Config
	feeds    []feed
	readers  map[string]stream.FeedReader // the sources that read a change feed, by name
	watches  map[string]watched
}

// hubs holds the hubs of this process by their names, counted by the handlers that use them. This is what lets connections and
// channels outlive a reload: the new configuration takes a hub up before the old one lets go of it.
var hubs = caddy.NewUsagePool()

// pooledHub is a hub with all that lives as long as it does.
type pooledHub struct {
	hub    *hub.Hub
	env    *session.Env
	log    *swapCore
	events *events
	traces deliveries

	readers atomic.Pointer[map[string]stream.FeedReader]

	tickets     access.Tickets
	revocations access.Revocations

	mu      sync.Mutex
	ended   bool
	drained chan struct{} // closed when the hub has drained; nil before that began
	feeds   feeds
}

// openHub gives the hub of a name and makes it where it does not live yet.
func openHub(name string, c *configuration, broker BrokerModule, maxHistory int64, log *zap.Logger) (*pooledHub, error) {
	pooled, _, err := hubs.LoadOrNew(name, func() (caddy.Destructor, error) {
		b, err := broker.NewBroker(name, maxHistory)
		if err != nil {
			return nil, err
		}
		core := newSwapCore(log.Core())
		steady := zap.New(core).Named(log.Name())
		h, err := hub.New(name, b, c.settings, steady)
		if err != nil {
			return nil, err
		}
		p := &pooledHub{hub: h, log: core, env: &session.Env{Hub: h, Streams: stream.NewRegistry(steady), Live: live.NewEngine(steady), Log: steady}}
		p.env.Config.Store(c.session)
		p.env.Revocations = &p.revocations
		p.meetPeers()
		p.events = newEvents(h, steady)
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
	return pooled.(*pooledHub), nil
}

// closeHub lets go of the hub of a name.
func closeHub(name string) error {
	_, err := hubs.Delete(name)
	return err
}

// pooledHubOf is the living hub of a name, nil where there is none.
func pooledHubOf(name string) (found *pooledHub) {
	hubs.Range(func(key, value any) bool {
		if key == name {
			found = value.(*pooledHub)
		}
		return found == nil
	})
	return found
}

// ready tells whether new clients are welcome.
func (p *pooledHub) ready() bool { return !p.hub.Draining() && p.hub.Ready() }

// apply puts a configuration that has started in force, also for the connections that are open.
func (p *pooledHub) apply(c *configuration, log *zap.Logger) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.log.swap(log.Core())
	p.hub.Configure(c.settings)
	p.env.Live.Configure(p.watches(c.watches)) // first, so that who asks for a query that is new can watch it
	p.env.Config.Store(c.session)
	p.feeds.replace(c.feeds)
	p.readers.Store(&c.readers)
}

// maxDrain is the longest that the draining of a hub may take, where no grace period is shorter.
const maxDrain = 5 * time.Second

// drain begins to send the hub's clients away, within the grace period that is left (0: no bound). Destruct waits for it.
func (p *pooledHub) drain(grace time.Duration) {
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
		p.hub.Drain(ctx)
	}()
}

// Destruct implements caddy.Destructor: no handler of the hub's name is left.
func (p *pooledHub) Destruct() error {
	p.mu.Lock()
	p.ended = true
	p.feeds.replace(nil)
	p.mu.Unlock()
	p.events.close()
	p.drain(0)
	<-p.drained
	p.env.Live.Close()
	return p.hub.Close(context.Background())
}

// swapCore passes log entries on to the logger of the newest configuration: those of earlier ones may write to files that are closed.
type swapCore struct {
	core   *atomic.Pointer[zapcore.Core]
	fields []zapcore.Field
}

func newSwapCore(core zapcore.Core) *swapCore {
	s := &swapCore{core: new(atomic.Pointer[zapcore.Core])}
	s.swap(core)
	return s
}

func (s *swapCore) swap(core zapcore.Core) { s.core.Store(&core) }

func (s *swapCore) now() zapcore.Core {
	core := *s.core.Load()
	if len(s.fields) > 0 {
		core = core.With(s.fields)
	}
	return core
}

// Enabled implements zapcore.Core.
func (s *swapCore) Enabled(l zapcore.Level) bool { return (*s.core.Load()).Enabled(l) }

// With implements zapcore.Core; what it gives follows, too.
func (s *swapCore) With(fields []zapcore.Field) zapcore.Core {
	return &swapCore{s.core, slices.Concat(s.fields, fields)}
}

// Check implements zapcore.Core.
func (s *swapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return s.now().Check(e, ce)
}

// Write implements zapcore.Core.
func (s *swapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return s.now().Write(e, fields)
}

// Sync implements zapcore.Core.
func (s *swapCore) Sync() error { return (*s.core.Load()).Sync() }
