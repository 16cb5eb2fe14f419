// Package neuroquantumws makes Caddy the real-time edge of a database API: it keeps WebSocket connections, carries
// publish/subscribe channels with wildcards and history, streams query results with progress and cancel, and holds every client to
// flow control.
//
// Importing it registers the handler http.handlers.neuroquantum_ws, the directive neuroquantum_ws, and the guest modules that
// ship with it.
package neuroquantumws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/api"
	_ "github.com/neuroquantumdb/neuroquantum-ws/broker/memory" // guest modules that ship with the handler
	_ "github.com/neuroquantumdb/neuroquantum-ws/broker/nats"
	_ "github.com/neuroquantumdb/neuroquantum-ws/broker/nats/embedded"
	_ "github.com/neuroquantumdb/neuroquantum-ws/console"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/handshake"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	_ "github.com/neuroquantumdb/neuroquantum-ws/notify"
	_ "github.com/neuroquantumdb/neuroquantum-ws/source/httpapi"
	_ "github.com/neuroquantumdb/neuroquantum-ws/source/postgres"
	_ "github.com/neuroquantumdb/neuroquantum-ws/source/sqlite"
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
	// Origins of pages that may connect beside those of the site's own, which is the scheme, host and port of the request. Such as
	// https://app.example.com or https://*.example.com; * allows any. The word only before them excludes the site's own.
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
	origins handshake.Origins
	tokens  *access.Tokens // nil where none are taken
	keySet  string         // in keySets; empty for none
	pooled  *instance.Instance
	name    string
	config  *instance.Configuration
	tunnels *instance.HTTP3Conns
}

// CaddyModule implements caddy.Module.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.neuroquantum_ws", New: func() caddy.Module { return new(Handler) }}
}

// Provision implements caddy.Provisioner. It checks everything, opens the sources and prepares the queries. The hub itself, where it
// lives already, learns of the new configuration only once that has started: one that fails to start changes nothing.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	h.name = cmp.Or(h.Hub, instance.DefaultHub)
	h.tunnels = new(instance.HTTP3Conns)
	directory, err := instance.AppOf(ctx)
	if err != nil {
		return err
	}
	options, err := h.sharedOptions() // before loading modules empties their fields
	if err != nil {
		return err
	}
	if err := directory.Register(h.name, options); err != nil {
		return err
	}
	h.User = cmp.Or(h.User, handshake.DefaultUserPlaceholder)
	config, err := h.compile(ctx)
	if err != nil {
		return err
	}
	h.config = config
	broker, err := h.loadBroker(ctx)
	if err != nil {
		return err
	}
	if h.pooled, err = instance.Open(h.name, config, broker, cmp.Or(h.MaxHistory, defaultMaxHistory), peerTopics, h.log); err != nil {
		return fmt.Errorf("hub %s: %w", h.name, err)
	}
	directory.Add(h.name, h.pooled, h)
	if err := instance.RegisterMetrics(ctx); err != nil {
		return err
	}
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	pooled, log := h.pooled, h.log
	events := app.(*caddyevents.App)
	started := func() { pooled.Apply(config, log) }
	if err := events.On("started", eventHandler{started}); err != nil {
		return fmt.Errorf("waiting for the configuration to start: %w", err)
	}
	if err := events.On("stopping", eventHandler{func() { instance.DrainOnExit(pooled); h.stopping(ctx) }}); err != nil {
		return fmt.Errorf("waiting for the configuration to stop: %w", err)
	}
	h.logWarnings()
	return nil
}

// peerTopics are the topics that other packages answer to the other nodes of a hub.
var peerTopics = map[string]func(p *instance.Instance) hub.PeerTopic{api.PeerTopic: api.PeerHandler}

// sharedOptions returns as JSON the options that all handlers of a hub must agree on.
func (h *Handler) sharedOptions() ([]byte, error) {
	options := *h
	options.Hub, options.Origins, options.User, options.Metadata = h.name, nil, "", nil
	text, err := json.Marshal(&options)
	if err != nil {
		return nil, fmt.Errorf("hub %s: %w", h.name, err)
	}
	return text, nil
}

// eventHandler is a function as a handler of Caddy's events, which logs its handlers as JSON.
type eventHandler struct{ call func() }

// Handle implements caddyevents.Handler.
func (e eventHandler) Handle(context.Context, caddy.Event) error { e.call(); return nil }

// logWarnings tells the operator of what works but is seldom meant.
func (h *Handler) logWarnings() {
	if len(h.Channel) == 0 {
		h.log.Warn("no channel block: any client may subscribe and publish to any channel", zap.String("hub", h.name))
	}
	for _, c := range h.Channel {
		if p, _, err := access.ParsePattern(c.Pattern); err == nil && p.CheckWildcards() != nil {
			h.log.Warn("the channel block has more wildcards than a client may use: holding patterns against it is costly", zap.String("hub", h.name),
				zap.String("channel", c.Pattern))
		}
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
	return errors.Join(err, instance.Release(h.name))
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)

// stopping is called when the configuration stops, because another has taken its place or because Caddy ends, which the hub sees to.
func (h *Handler) stopping(ctx caddy.Context) {
	if caddy.Exiting() {
		return
	}
	app, err := ctx.App("http")
	if err != nil {
		h.log.Error("connections over HTTP/3 are cut at the reload", zap.Error(err))
		return
	}
	if grace := app.(*caddyhttp.App).GracePeriod; grace > 0 {
		h.tunnels.Drain(time.Duration(grace))
	}
}
