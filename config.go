package neuroquantumws

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// The defaults that are not the zero value.
const (
	defaultHub                   = "default"
	defaultMaxConnections        = 10_000
	defaultMaxConnectionsPerIP   = 1000
	defaultMaxConnectionsPerUser = 100
	defaultMaxMessageSize        = 64 << 10
	defaultMaxSubscriptions      = 128
	defaultMaxStreams            = 8
	defaultRate, defaultBurst    = 200, 400
	defaultHeartbeatInterval     = 30 * time.Second
	defaultHeartbeatTimeout      = 90 * time.Second
	defaultIdleTimeout           = 5 * time.Minute
	defaultWriteTimeout          = 10 * time.Second
	defaultDrain                 = 10 * time.Second
	defaultQueueMessages         = 1000
	defaultQueueBytes            = 1 << 20
	defaultMaxQueued             = 256 << 20
	defaultMaxHistory            = 256 << 20
	defaultUserPlaceholder       = "{http.auth.user.id}"
	defaultAuthTimeout           = caddy.Duration(10 * time.Second)
)

// RateLimit bounds how many messages a client may send.
type RateLimit struct {
	// Messages per second. Default: 200.
	Rate float64 `json:"rate,omitempty"`
	// Messages at once. Default: 400.
	Burst int `json:"burst,omitempty"`
}

// Heartbeat says how dead clients are found.
type Heartbeat struct {
	// Time between the pings that the server sends. Default: 30s.
	Interval caddy.Duration `json:"interval,omitempty"`
	// Time without any frame from the client after which its connection is closed with 4000. Must be longer than the interval.
	// Default: 90s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// Queue bounds what may wait for a client that does not read fast enough.
type Queue struct {
	// Messages that may wait. Default: 1000.
	Messages int `json:"messages,omitempty"`
	// Bytes that may wait. Default: 1 MiB.
	Bytes int64 `json:"bytes,omitempty"`
	// What happens beyond: drop_oldest, drop_newest, drop_all, block, conflate or disconnect. Default: drop_oldest.
	Policy string `json:"policy,omitempty"`
}

// Throttle is the curve by which query streams without credit slow down while their client's queue fills.
type Throttle struct {
	// Fill of the queue, from 0 to 1, from which batches are delayed. Default: 0.7.
	Start float64 `json:"start,omitempty"`
	// Fill from which the stream pauses until the fill is under start again. Default: 0.9.
	Pause float64 `json:"pause,omitempty"`
	// Delay between two batches just under pause; it grows from 0 at start. Default: 500ms.
	Delay caddy.Duration `json:"delay,omitempty"`
}

// Health says when a client that loses messages is warned about and closed.
type Health struct {
	// Share of its messages dropped from which the log warns. Default: 0.1.
	Warn float64 `json:"warn,omitempty"`
	// Share beyond which its connection is closed with 4008. Default: 0.3.
	Close float64 `json:"close,omitempty"`
	// Only count.
	Off bool `json:"off,omitempty"`
}

// History is how much of a channel is kept.
type History struct {
	// Messages kept per channel; at least 1.
	Messages int `json:"messages"`
	// Age beyond which a message is not kept. Default: 0, no limit but the number of messages and max_history.
	Age caddy.Duration `json:"age,omitempty"`
}

// Allow says under which terms a client may use a channel: anyone, authenticated, user:NAME or role:NAME; one that holds is enough.
// What is not allowed is refused.
type Allow struct {
	Subscribe []string `json:"subscribe,omitempty"`
	Publish   []string `json:"publish,omitempty"`
	History   []string `json:"history,omitempty"`
	Presence  []string `json:"presence,omitempty"`
}

// Channel is what holds for the channels of one pattern. The first block whose pattern matches a channel rules it.
type Channel struct {
	// The channel name or pattern. A whole segment may be {user} or {claim.NAME}: then what is allowed is allowed in those channels only
	// that have the client's own user name or claim there. For all else it is a *.
	Pattern string `json:"pattern"`
	// How much is kept. Default: nothing; the channel's messages then have no offset.
	History *History `json:"history,omitempty"`
	// Keep who is subscribed, and tell those who ask. Default: no.
	Presence bool `json:"presence,omitempty"`
	// The queue for messages of this block's channels. Default: the handler's queue.
	Queue *Queue `json:"queue,omitempty"`
	// Who may do what. Default: nobody anything.
	Allow Allow `json:"allow,omitzero"`
}

// StreamLimits are the limits of query streams.
type StreamLimits struct {
	// Rows in a batch where the client does not say. Default: 100.
	BatchSize int `json:"batch_size,omitempty"`
	// The most rows in a batch that a client may ask for. Default: 10000.
	MaxBatchSize int `json:"max_batch_size,omitempty"`
	// Time between two query_progress. Default: 500ms.
	ProgressInterval caddy.Duration `json:"progress_interval,omitempty"`
	// The longest a stream may take, its client's slowness included. Default: 5m.
	MaxDuration caddy.Duration `json:"max_duration,omitempty"`
	// The longest a stream waits for a client that neither reads nor grants credit. Default: 30s.
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`
}

// How 64-bit integers stand in rows.
const (
	int64Number = "number"
	int64String = "string"
)

// Query is a query that clients may run by its name.
type Query struct {
	// The source that it runs on.
	Source string `json:"source"`
	// The statement that runs, on a source that takes SQL. Parameters are written @name and bound by the database's driver.
	SQL string `json:"sql,omitempty"`
	// What an HTTP source is asked: its address, by default the source's, and the body. Parameters are written {param.NAME} and encoded
	// for their place.
	URL  string `json:"url,omitempty"`
	Body string `json:"body,omitempty"`
	// The parameters, every one of which must be used.
	Param []stream.Param `json:"param,omitempty"`
	// How much may be spent on knowing the number of rows beforehand: none, estimate or exact. Default: none.
	Total stream.TotalMode `json:"total,omitempty"`
	// How 64-bit integers and decimals stand in rows: number, or string for clients whose numbers cannot hold them. Default: number.
	Int64 string `json:"int64,omitempty"`
	// The longest that a run may take. Default: max_duration of the stream options.
	MaxDuration caddy.Duration `json:"max_duration,omitempty"`
	// Who may run it: anyone, authenticated, user:NAME or role:NAME; one that holds is enough. Default: nobody.
	Allow []string `json:"allow,omitempty"`
	// Lets those who may run it watch it too. Default: it cannot be watched.
	Watch *WatchOptions `json:"watch,omitempty"`
}

// Feed publishes what becomes of the rows of a table; or it replays the rows of a query, again from the beginning after the last.
type Feed struct {
	// The source that the rows come from.
	Source string `json:"source"`
	// The table whose changes are published, on PostgreSQL.
	Table string `json:"table,omitempty"`
	// The columns that are told of it, which must hold its key.
	Columns []string `json:"columns,omitempty"`
	// How 64-bit integers and decimals of the table stand in messages: number or string. Default: number.
	Int64 string `json:"int64,omitempty"`
	// The query whose rows are replayed; it takes no parameters.
	SQL string `json:"sql,omitempty"`
	// The channel of each row, with {row.COLUMN} for the row's values.
	Publish string `json:"publish"`
	// Time between two steps of a replay.
	Replay caddy.Duration `json:"replay,omitempty"`
	// Rows in a step. Default: 1.
	Rows int `json:"rows,omitempty"`
}

// settings makes the hub's settings of the configuration.
func (h *Handler) settings() (*hub.Settings, error) {
	s, err := h.limits()
	if err != nil {
		return nil, err
	}
	if s.Fallback, err = fallbackRule(h.Queue); err != nil {
		return nil, err
	}
	if len(h.Channel) == 0 && h.Queue != nil && h.Queue.Policy == flow.Block.String() {
		return nil, errors.New("queue: the policy block needs a history to catch up from, and no channel block keeps one")
	}
	for i := range h.Channel {
		rule, err := h.Channel[i].rule(h.Queue)
		if err != nil {
			return nil, err
		}
		for j, earlier := range s.Rules {
			if earlier.Pattern.String() == rule.Pattern.String() {
				return nil, fmt.Errorf("channel %q: the block %q before it holds the same channels", h.Channel[i].Pattern, h.Channel[j].Pattern)
			}
		}
		s.Rules = append(s.Rules, rule)
	}
	return s, nil
}

// limits makes the part of the hub's settings that is not about channels.
func (h *Handler) limits() (*hub.Settings, error) {
	s := &hub.Settings{
		MaxConnections:        orDefault(h.MaxConnections, defaultMaxConnections),
		MaxConnectionsPerIP:   orDefault(h.MaxConnectionsPerIP, defaultMaxConnectionsPerIP),
		MaxConnectionsPerUser: orDefault(h.MaxConnectionsPerUser, defaultMaxConnectionsPerUser),
		MaxMessageSize:        orDefault(h.MaxMessageSize, defaultMaxMessageSize),
		MaxSubscriptions:      orDefault(h.MaxSubscriptions, defaultMaxSubscriptions),
		MaxQueued:             orDefault(h.MaxQueued, defaultMaxQueued),
		HeartbeatInterval:     defaultHeartbeatInterval,
		HeartbeatTimeout:      defaultHeartbeatTimeout,
		IdleTimeout:           time.Duration(orDefault(h.IdleTimeout, caddy.Duration(defaultIdleTimeout))),
		WriteTimeout:          time.Duration(orDefault(h.WriteTimeout, caddy.Duration(defaultWriteTimeout))),
		Drain:                 time.Duration(orDefault(h.Drain, caddy.Duration(defaultDrain))),
		Health:                flow.DefaultHealth,
	}
	if hb := h.Heartbeat; hb != nil {
		s.HeartbeatInterval = time.Duration(orDefault(hb.Interval, caddy.Duration(defaultHeartbeatInterval)))
		s.HeartbeatTimeout = time.Duration(orDefault(hb.Timeout, caddy.Duration(defaultHeartbeatTimeout)))
	}
	if h.Health != nil {
		s.Health = flow.Health{
			Warn: orDefault(h.Health.Warn, flow.DefaultHealth.Warn), Close: orDefault(h.Health.Close, flow.DefaultHealth.Close),
		}
		if h.Health.Off {
			s.Health.Close = 0
		}
	}
	return s, checkLimits(h, s)
}

func orDefault[T comparable](v, standard T) T {
	var zero T
	if v == zero {
		return standard
	}
	return v
}

// checkLimits refuses what cannot work. In s the defaults stand in.
func checkLimits(h *Handler, s *hub.Settings) error {
	for name, v := range map[string]int64{
		"max_connections": int64(h.MaxConnections), "max_connections_per_ip": int64(h.MaxConnectionsPerIP),
		"max_connections_per_user": int64(h.MaxConnectionsPerUser), "max_message_size": h.MaxMessageSize,
		"max_subscriptions": int64(h.MaxSubscriptions), "max_streams": int64(h.MaxStreams),
		"max_watches": int64(h.MaxWatches), "max_watches_total": int64(h.MaxWatchesTotal),
		"max_streams_per_user": int64(h.MaxStreamsPerUser), "max_streams_total": int64(h.MaxStreamsTotal), "max_queued": h.MaxQueued,
		"max_history": h.MaxHistory, "idle_timeout": int64(h.IdleTimeout), "write_timeout": int64(h.WriteTimeout),
		"auth_timeout": int64(h.AuthTimeout), "drain": int64(h.Drain),
		"heartbeat": int64(s.HeartbeatInterval),
	} {
		if v < 0 {
			return fmt.Errorf("%s must be positive", name)
		}
	}
	switch {
	case s.HeartbeatTimeout <= s.HeartbeatInterval:
		return errors.New("heartbeat: the timeout must be longer than the interval")
	case s.Health.Close != 0 && (s.Health.Warn <= 0 || s.Health.Warn > s.Health.Close || s.Health.Close >= 1):
		return errors.New("health: the shares must be 0 < warn <= close < 1")
	case h.RateLimit != nil && (h.RateLimit.Rate < 0 || h.RateLimit.Burst < 0):
		return errors.New("rate_limit must be positive")
	}
	return nil
}

func (q *Queue) class(history bool) (flow.Class, error) {
	c := flow.Class{MaxMessages: defaultQueueMessages, MaxBytes: defaultQueueBytes, History: history}
	if q == nil {
		return c, nil
	}
	if q.Messages < 0 || q.Bytes < 0 || q.Bytes > 1<<31-1 {
		return c, errors.New("queue: the numbers of messages and bytes must be positive, and bytes under 2 GiB")
	}
	c.MaxMessages = orDefault(q.Messages, defaultQueueMessages)
	c.MaxBytes = orDefault(int(q.Bytes), defaultQueueBytes)
	if q.Policy != "" {
		policy, err := flow.ParsePolicy(q.Policy)
		if err != nil {
			return c, fmt.Errorf("queue: %w", err)
		}
		c.Policy = policy
	}
	if c.Policy == flow.Block && !history {
		return c, errors.New("queue: the policy block needs a history to catch up from")
	}
	return c, nil
}

// fallbackRule holds for all channels where no channel block stands. It also lends its queue to messages that are sent to
// connections directly, for which block would mean nothing.
func fallbackRule(q *Queue) (*hub.Rule, error) {
	class, err := q.class(true)
	class.History = false
	if class.Policy == flow.Block {
		class.Policy = flow.DropOldest
	}
	return &hub.Rule{Queue: class, Allow: access.Open}, err
}

func (c *Channel) rule(standard *Queue) (*hub.Rule, error) {
	pattern, own, err := access.ParsePattern(c.Pattern)
	if err != nil {
		return nil, err
	}
	rule := &hub.Rule{Pattern: pattern, Own: own, Presence: c.Presence}
	if c.History != nil {
		if c.History.Messages < 1 || c.History.Age < 0 {
			return nil, fmt.Errorf("channel %q: history needs a positive number of messages and no negative age", c.Pattern)
		}
		rule.History = hub.Retention{Messages: c.History.Messages, Age: time.Duration(c.History.Age)}
	}
	queue := c.Queue
	if queue == nil {
		queue = standard
	}
	if rule.Queue, err = queue.class(rule.History.Keeps()); err != nil {
		return nil, fmt.Errorf("channel %q: %w", c.Pattern, err)
	}
	for verb, terms := range map[string][]string{
		"subscribe": c.Allow.Subscribe, "publish": c.Allow.Publish, "history": c.Allow.History,
		"presence": c.Allow.Presence,
	} {
		for _, text := range terms {
			term, err := access.ParseTerm(text)
			if err != nil {
				return nil, fmt.Errorf("channel %q: allow %s: %w", c.Pattern, verb, err)
			}
			rule.Allow.Add(verb, term)
		}
	}
	return rule, nil
}

// streamOptions makes the limits of streams of the configuration.
func (h *Handler) streamOptions() (stream.Options, error) {
	o := stream.Options{
		MaxStreams:        orDefault(h.MaxStreams, defaultMaxStreams),
		MaxStreamsPerUser: h.MaxStreamsPerUser, MaxStreamsTotal: h.MaxStreamsTotal,
		MaxWatches: h.MaxWatches, MaxWatchesTotal: h.MaxWatchesTotal,
		Throttle: flow.DefaultThrottle(),
	}
	if s := h.Stream; s != nil {
		o.BatchSize, o.MaxBatchSize = s.BatchSize, s.MaxBatchSize
		o.ProgressInterval = time.Duration(s.ProgressInterval)
		o.MaxDuration, o.StallTimeout = time.Duration(s.MaxDuration), time.Duration(s.StallTimeout)
	}
	if t := h.Throttle; t != nil {
		o.Throttle.Start = orDefault(t.Start, o.Throttle.Start)
		o.Throttle.Pause = orDefault(t.Pause, o.Throttle.Pause)
		o.Throttle.MaxDelay = time.Duration(orDefault(t.Delay, caddy.Duration(o.Throttle.MaxDelay)))
	}
	if err := o.Validate(); err != nil {
		return o, fmt.Errorf("stream: %w", err)
	}
	return o.WithDefaults(), nil
}

// BrokerModule is a guest module of the namespace http.handlers.neuroquantum_ws.brokers: it makes the broker of a hub that does not
// exist yet. maxHistory is the hub's max_history in bytes.
type BrokerModule interface {
	NewBroker(hubName string, maxHistory int64) (hub.Broker, error)
}

// defaultBroker is the configuration of the broker where none is named.
var defaultBroker = json.RawMessage(`{"broker":"memory"}`)

func timeOf(d caddy.Duration) time.Duration { return time.Duration(d) }
