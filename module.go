// Package neuroquantumws makes Caddy the real-time edge of a database API: it keeps WebSocket connections, carries
// publish/subscribe channels with wildcards and history, streams query results with progress and cancel, and holds every client to
// flow control.
//
// Importing it registers the handler http.handlers.neuroquantum_ws, the directive neuroquantum_ws, and the guest modules that
// ship with it.
package neuroquantumws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	_ "github.com/neuroquantumdb/neuroquantum-ws/broker/memory" // guest modules that ship with the handler
	_ "github.com/neuroquantumdb/neuroquantum-ws/broker/nats"
	_ "github.com/neuroquantumdb/neuroquantum-ws/broker/nats/embedded"
	"github.com/neuroquantumdb/neuroquantum-ws/session"
	"github.com/neuroquantumdb/neuroquantum-ws/source/httpapi"
	_ "github.com/neuroquantumdb/neuroquantum-ws/source/postgres"
	_ "github.com/neuroquantumdb/neuroquantum-ws/source/sqlite"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler answers WebSocket requests and keeps the connections in a hub. All options have the names of the Caddyfile's; what is
// left out has its default.
//
// A hub lives as long as any handler of its name is configured: connections, channels and their history outlive a reload.
type Handler struct {
	// Name of the hub; handlers with the same name share it. Default: default.
	Hub string `json:"hub,omitempty"`
	// Connections at once; beyond: 503. Default: 10000.
	MaxConnections int `json:"max_connections,omitempty"`
	// Connections at once from one client address; beyond: 429. Default: 1000.
	MaxConnectionsPerIP int `json:"max_connections_per_ip,omitempty"`
	// Connections at once of one user; beyond: 429. Default: 100.
	MaxConnectionsPerUser int `json:"max_connections_per_user,omitempty"`
	// Bytes of a client's message; beyond: close 1009. Default: 64 KiB.
	MaxMessageSize int64 `json:"max_message_size,omitempty"`
	// Subscriptions of a connection; beyond: LIMIT_EXCEEDED. Default: 128.
	MaxSubscriptions int `json:"max_subscriptions,omitempty"`
	// Query streams of a connection at once; beyond: LIMIT_EXCEEDED. Default: 8.
	MaxStreams int `json:"max_streams,omitempty"`
	// Query streams of a user at once, on all connections; anonymous clients are not counted; beyond: LIMIT_EXCEEDED. Default: 200.
	MaxStreamsPerUser int `json:"max_streams_per_user,omitempty"`
	// Query streams of the hub at once; beyond: LIMIT_EXCEEDED. Default: 5000.
	MaxStreamsTotal int `json:"max_streams_total,omitempty"`
	// Live queries that a connection may watch at once; beyond: LIMIT_EXCEEDED. Default: 32.
	MaxWatches int `json:"max_watches,omitempty"`
	// Live queries that are watched in the hub at once; beyond: LIMIT_EXCEEDED. Default: 50000.
	MaxWatchesTotal int `json:"max_watches_total,omitempty"`
	// How many messages a client may send; beyond: RATE_LIMITED.
	RateLimit *RateLimit `json:"rate_limit,omitempty"`
	// How dead clients are found.
	Heartbeat *Heartbeat `json:"heartbeat,omitempty"`
	// Time without subscription, stream or any request after which a connection is closed with 4000. Default: 5m.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`
	// Time in which a client's socket takes nothing after which it is closed with 4008. Default: 10s.
	WriteTimeout caddy.Duration `json:"write_timeout,omitempty"`
	// Queue of channel messages, for channels whose block has none of its own.
	Queue *Queue `json:"queue,omitempty"`
	// Bytes that may wait for all connections together; beyond, the slowest are closed with 4008. Default: 256 MiB.
	MaxQueued int64 `json:"max_queued,omitempty"`
	// Bytes of history of all channels together; beyond, the oldest goes. It is set when the hub begins. Default: 256 MiB.
	MaxHistory int64 `json:"max_history,omitempty"`
	// Time over which clients are asked to come back when the server stops. Default: 10s.
	Drain caddy.Duration `json:"drain,omitempty"`
	// Slows down query streams without credit.
	Throttle *Throttle `json:"throttle,omitempty"`
	// When a client that loses messages is closed.
	Health *Health `json:"health,omitempty"`
	// Origins of pages that may connect, such as https://app.example.com or https://*.example.com; * allows any. Default: pages of
	// the host that is asked.
	Origins []string `json:"origins,omitempty"`
	// Where the user's name comes from. A client for whom it is empty is anonymous. Default: {http.auth.user.id}.
	User string `json:"user,omitempty"`
	// Tokens that clients may show. Whom a token names counts before user. Default: none are taken.
	JWT *JWT `json:"jwt,omitempty"`
	// Time in which a client must authenticate where jwt requires it by message; beyond: close 4001. Default: 10s.
	AuthTimeout caddy.Duration `json:"auth_timeout,omitempty"`
	// What else is noted of a connection: placeholders by name.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Rules for channels, the first whose pattern matches counts. Default: any client may use any channel, nothing is kept.
	Channel []Channel `json:"channel,omitempty"`
	// Where messages get their order. Default: memory.
	BrokerRaw json.RawMessage `json:"broker,omitempty" caddy:"namespace=http.handlers.neuroquantum_ws.brokers inline_key=broker"`
	// Limits of query streams.
	Stream *StreamLimits `json:"stream,omitempty"`
	// Databases by name.
	SourcesRaw map[string]json.RawMessage `json:"source,omitempty" caddy:"namespace=http.handlers.neuroquantum_ws.sources inline_key=source"`
	// Queries that clients may run, by name.
	Query map[string]*Query `json:"query,omitempty"`
	// Feeds that publish what becomes of a table, or replay recorded rows, by name.
	Feed map[string]*Feed `json:"feed,omitempty"`
	// Sources that clients may send SQL of their own to. Of those that are open to a client and which it does not choose by name the
	// first counts. Default: none.
	AllowRawSQL []RawSQL `json:"allow_raw_sql,omitempty"`

	log     *zap.Logger
	origins origins
	tokens  *access.Tokens // nil where none are taken
	keySet  string         // in keySets; empty for none
	pooled  *pooledHub
	name    string
	config  *configuration
	tunnels *tunnels
}

// CaddyModule implements caddy.Module.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.neuroquantum_ws", New: func() caddy.Module { return new(Handler) }}
}

// Provision implements caddy.Provisioner. It checks everything, opens the sources and prepares the queries. The hub itself, where it
// lives already, learns of the new configuration only once that has started: one that fails to start changes nothing.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	h.name = orDefault(h.Hub, defaultHub)
	h.tunnels = new(tunnels)
	directory, err := directoryOf(ctx)
	if err != nil {
		return err
	}
	if err := directory.claim(h.name, h); err != nil { // before loading modules empties their fields
		return err
	}
	h.User = orDefault(h.User, defaultUserPlaceholder)
	config, err := h.compile(ctx)
	if err != nil {
		return err
	}
	h.config = config
	broker, err := h.loadBroker(ctx)
	if err != nil {
		return err
	}
	if h.pooled, err = openHub(h.name, config, broker, orDefault(h.MaxHistory, defaultMaxHistory), h.log); err != nil {
		return fmt.Errorf("hub %s: %w", h.name, err)
	}
	directory.hubs[h.name] = h.pooled
	if directory.handlers[h.name] == nil {
		directory.handlers[h.name] = h
	}
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	pooled, log := h.pooled, h.log
	events := app.(*caddyevents.App)
	started := func() { pooled.apply(config, log) }
	if err := events.On("started", eventHandler{started}); err != nil {
		return fmt.Errorf("waiting for the configuration to start: %w", err)
	}
	if err := events.On("stopping", eventHandler{func() { drainOnExit(pooled); h.stopping(ctx) }}); err != nil {
		return fmt.Errorf("waiting for the configuration to stop: %w", err)
	}
	h.warn()
	return nil
}

// eventHandler is a function as a handler of Caddy's events, which logs its handlers as JSON.
type eventHandler struct{ call func() }

// Handle implements caddyevents.Handler.
func (e eventHandler) Handle(context.Context, caddy.Event) error { e.call(); return nil }

// compile turns the configuration into what the hub and its sessions use.
func (h *Handler) compile(ctx caddy.Context) (*configuration, error) {
	var c configuration
	var err error
	if c.settings, err = h.settings(); err != nil {
		return nil, err
	}
	if h.origins, err = parseOrigins(h.Origins); err != nil {
		return nil, fmt.Errorf("origins: %w", err)
	}
	c.session = &session.Config{Rate: defaultRate, Burst: defaultBurst, QueryAccess: make(map[string]access.Terms)}
	if r := h.RateLimit; r != nil {
		c.session.Rate = orDefault(r.Rate, defaultRate)
		// Without a burst of its own, a client may send two seconds' worth at once.
		c.session.Burst = orDefault(r.Burst, max(1, int(2*c.session.Rate)))
	}
	claims, err := h.claimsInUse()
	if err != nil {
		return nil, err
	}
	if h.tokens, err = h.compileTokens(claims); err != nil {
		return nil, err
	}
	c.session.Tokens = h.tokens
	if c.session.Streams, err = h.streamOptions(); err != nil {
		return nil, err
	}
	sources, err := h.loadSources(ctx)
	if err != nil {
		return nil, err
	}
	c.readers = feedReaders(sources)
	if err := h.prepareQueries(ctx, &c, sources); err != nil {
		return nil, err
	}
	if err := h.openToRawSQL(ctx, &c, sources); err != nil {
		return nil, err
	}
	return &c, h.prepareFeeds(ctx, &c, sources)
}

func (h *Handler) loadBroker(ctx caddy.Context) (BrokerModule, error) {
	if h.BrokerRaw == nil {
		h.BrokerRaw = defaultBroker
	}
	module, err := ctx.LoadModule(h, "BrokerRaw")
	if err != nil {
		return nil, fmt.Errorf("loading the broker: %w", err)
	}
	broker, ok := module.(BrokerModule)
	if !ok {
		return nil, fmt.Errorf("the module %T is no broker", module)
	}
	return broker, nil
}

func (h *Handler) loadSources(ctx caddy.Context) (map[string]stream.Source, error) {
	if h.SourcesRaw == nil {
		return nil, nil
	}
	modules, err := ctx.LoadModule(h, "SourcesRaw")
	if err != nil {
		return nil, fmt.Errorf("loading the sources: %w", err)
	}
	sources := make(map[string]stream.Source)
	for name, module := range modules.(map[string]any) {
		source, ok := module.(stream.Source)
		if !ok {
			return nil, fmt.Errorf("source %s: the module %T is no source", name, module)
		}
		sources[name] = source
	}
	return sources, nil
}

// feedReaders gives the sources that read a change feed.
func feedReaders(sources map[string]stream.Source) map[string]stream.FeedReader {
	readers := make(map[string]stream.FeedReader)
	for name, source := range sources {
		if reader, ok := source.(stream.FeedReader); ok {
			readers[name] = reader
		}
	}
	return readers
}

func (h *Handler) prepareQueries(ctx caddy.Context, c *configuration, sources map[string]stream.Source) error {
	queries := make([]*stream.Query, 0, len(h.Query))
	c.watches = make(map[string]watched)
	for name, q := range h.Query {
		if err := stream.ValidateParams(q.Param); err != nil {
			return fmt.Errorf("query %s: %w", name, err)
		}
		statement, err := prepare(ctx, sources, q.Source, stream.Text{SQL: q.SQL, URL: q.URL, Body: q.Body}, q.Param)
		if err != nil {
			return fmt.Errorf("query %s: %w", name, err)
		}
		if q.Int64 != "" && q.Int64 != int64Number && q.Int64 != int64String {
			return fmt.Errorf("query %s: int64 must be number or string", name)
		}
		if _, api := sources[q.Source].(*httpapi.Source); api && q.Int64 == int64String {
			return fmt.Errorf("query %s: int64 string: the numbers of an HTTP API are passed on as they stand", name)
		}
		terms := access.Terms{}
		for _, text := range q.Allow {
			term, err := access.ParseTerm(text)
			if err != nil {
				return fmt.Errorf("query %s: allow: %w", name, err)
			}
			terms = append(terms, term)
		}
		c.session.QueryAccess[name] = terms
		query := &stream.Query{
			Name: name, Source: q.Source, Statement: statement, Params: q.Param, Total: q.Total, MaxDuration: timeOf(q.MaxDuration),
			Int64Strings: q.Int64 == int64String,
		}
		queries = append(queries, query)
		if q.Watch != nil {
			if c.watches[name], err = q.Watch.prepareWatch(ctx, query, sources[q.Source]); err != nil {
				return fmt.Errorf("query %s: %w", name, err)
			}
		}
	}
	var err error
	c.session.Catalog, err = stream.NewCatalog(queries...)
	return err
}

func prepare(
	ctx caddy.Context, sources map[string]stream.Source, name string, text stream.Text, params []stream.Param,
) (stream.Statement, error) {
	source := sources[name]
	if source == nil {
		return nil, fmt.Errorf("there is no source %q", name)
	}
	statement, err := source.Prepare(ctx, text, params)
	if err != nil {
		return nil, fmt.Errorf("preparing it on source %s: %w", name, err)
	}
	return statement, nil
}

// warn tells the operator of what works but is seldom meant.
func (h *Handler) warn() {
	if len(h.Channel) == 0 {
		h.log.Warn("no channel block: any client may subscribe and publish to any channel", zap.String("hub", h.name))
	}
	if slices.Contains(h.Origins, "*") {
		h.log.Warn("origins *: pages of any site may connect with the credentials of their visitors", zap.String("hub", h.name))
	}
	for name, q := range h.Query {
		if len(q.Allow) == 0 {
			h.log.Warn("the query allows nobody to run it", zap.String("hub", h.name), zap.String("query", name))
		}
	}
}

// Cleanup implements caddy.CleanerUpper. The last handler of a hub takes it along.
func (h *Handler) Cleanup() error {
	err := h.closeKeys()
	if h.pooled == nil {
		return err
	}
	return errors.Join(err, closeHub(h.name))
}

// errNotProvisioned can only be seen by code that uses the handler without Caddy.
var errNotProvisioned = errors.New("neuroquantum_ws: the handler is not provisioned")

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
