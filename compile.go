package neuroquantumws

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/handshake"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/session"
	"github.com/neuroquantumdb/neuroquantum-ws/source/httpapi"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// compile turns the configuration into what the hub and its sessions use.
func (h *Handler) compile(ctx caddy.Context) (*instance.Configuration, error) {
	var c instance.Configuration
	var err error
	if c.Settings, err = h.settings(); err != nil {
		return nil, err
	}
	if err := directive.CheckName(h.name); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if err := h.checkTexts(); err != nil {
		return nil, err
	}
	if h.origins, err = handshake.ParseOrigins(h.Origins); err != nil {
		return nil, fmt.Errorf("origins: %w", err)
	}
	c.Session = &session.Config{Rate: defaultRate, Burst: defaultBurst, QueryAccess: make(map[string]access.Terms)}
	if r := h.RateLimit; r != nil {
		c.Session.Rate = cmp.Or(r.Rate, defaultRate)
		// Without a burst of its own, a client may send two seconds' worth at once.
		c.Session.Burst = cmp.Or(r.Burst, max(1, int(2*c.Session.Rate)))
	}
	claims, err := h.claimsInUse()
	if err != nil {
		return nil, err
	}
	if h.tokens, err = h.compileTokens(claims); err != nil {
		return nil, err
	}
	c.Session.Tokens = h.tokens
	c.Session.Bind = h.bindParams()
	if c.Session.Streams, err = h.streamOptions(); err != nil {
		return nil, err
	}
	sources, err := h.loadSources(ctx)
	if err != nil {
		return nil, err
	}
	c.Readers = feedReaders(sources)
	if err := h.prepareQueries(ctx, &c, sources); err != nil {
		return nil, err
	}
	if err := h.compileRawSQL(ctx, &c, sources); err != nil {
		return nil, err
	}
	return &c, h.prepareFeeds(ctx, &c, sources)
}

func (h *Handler) loadBroker(ctx caddy.Context) (instance.BrokerModule, error) {
	if h.BrokerRaw == nil {
		h.BrokerRaw = defaultBroker
	}
	module, err := ctx.LoadModule(h, "BrokerRaw")
	if err != nil {
		return nil, fmt.Errorf("loading the broker: %w", err)
	}
	broker, ok := module.(instance.BrokerModule)
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

func (h *Handler) prepareQueries(ctx caddy.Context, c *instance.Configuration, sources map[string]stream.Source) error {
	queries := make([]*stream.Query, 0, len(h.Query))
	c.Watches = make(map[string]instance.WatchedQuery)
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
		c.Session.QueryAccess[name] = terms
		query := &stream.Query{
			Name: name, Source: q.Source, Statement: statement, Params: q.Param, Total: q.Total, MaxDuration: timeOf(q.MaxDuration),
			Int64Strings: q.Int64 == int64String,
		}
		queries = append(queries, query)
		if q.Watch != nil {
			if c.Watches[name], err = q.Watch.prepareWatch(ctx, query, sources[q.Source]); err != nil {
				return fmt.Errorf("query %s: %w", name, err)
			}
		}
	}
	var err error
	c.Session.Catalog, err = stream.NewCatalog(queries...)
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
		MaxConnections:        cmp.Or(h.MaxConnections, defaultMaxConnections),
		MaxConnectionsPerIP:   cmp.Or(h.MaxConnectionsPerIP, defaultMaxConnectionsPerIP),
		MaxConnectionsPerUser: cmp.Or(h.MaxConnectionsPerUser, defaultMaxConnectionsPerUser),
		MaxMessageSize:        cmp.Or(h.MaxMessageSize, defaultMaxMessageSize),
		MaxSubscriptions:      cmp.Or(h.MaxSubscriptions, defaultMaxSubscriptions),
		MaxQueued:             cmp.Or(h.MaxQueued, defaultMaxQueued),
		HeartbeatInterval:     defaultHeartbeatInterval,
		HeartbeatTimeout:      defaultHeartbeatTimeout,
		IdleTimeout:           time.Duration(cmp.Or(h.IdleTimeout, caddy.Duration(defaultIdleTimeout))),
		WriteTimeout:          time.Duration(cmp.Or(h.WriteTimeout, caddy.Duration(defaultWriteTimeout))),
		Drain:                 time.Duration(cmp.Or(h.Drain, caddy.Duration(defaultDrain))),
		Health:                flow.DefaultHealth,
	}
	if hb := h.Heartbeat; hb != nil {
		s.HeartbeatInterval = time.Duration(cmp.Or(hb.Interval, caddy.Duration(defaultHeartbeatInterval)))
		s.HeartbeatTimeout = time.Duration(cmp.Or(hb.Timeout, caddy.Duration(defaultHeartbeatTimeout)))
	}
	if h.Health != nil {
		s.Health = flow.Health{
			Warn: cmp.Or(h.Health.Warn, flow.DefaultHealth.Warn), Close: cmp.Or(h.Health.Close, flow.DefaultHealth.Close),
		}
		if h.Health.Off {
			s.Health.Close = 0
		}
	}
	return s, checkLimits(h, s)
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
	c.MaxMessages = cmp.Or(q.Messages, defaultQueueMessages)
	c.MaxBytes = cmp.Or(int(q.Bytes), defaultQueueBytes)
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
		MaxStreams:        cmp.Or(h.MaxStreams, defaultMaxStreams),
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
		o.Throttle.Start = cmp.Or(t.Start, o.Throttle.Start)
		o.Throttle.Pause = cmp.Or(t.Pause, o.Throttle.Pause)
		o.Throttle.MaxDelay = time.Duration(cmp.Or(t.Delay, caddy.Duration(o.Throttle.MaxDelay)))
	}
	if err := o.Validate(); err != nil {
		return o, fmt.Errorf("stream: %w", err)
	}
	return o.WithDefaults(), nil
}

// defaultBroker is the configuration of the broker where none is named.
var defaultBroker = json.RawMessage(`{"broker":"memory"}`)

// compileRawSQL opens the sources that are to take SQL of clients.
func (h *Handler) compileRawSQL(ctx caddy.Context, c *instance.Configuration, sources map[string]stream.Source) error {
	seen := make(map[string]bool)
	for _, raw := range h.AllowRawSQL {
		fail := func(err error) error { return fmt.Errorf("allow_raw_sql %s: %w", raw.Source, err) }
		source := sources[raw.Source]
		switch {
		case source == nil:
			return fail(errors.New("there is no such source"))
		case seen[raw.Source]:
			return fail(errors.New("it is given twice"))
		case len(raw.Allow) == 0:
			return fail(errors.New("it allows nobody"))
		}
		seen[raw.Source] = true
		if err := checkRaw(source); err != nil {
			return fail(err)
		}
		terms := make(access.Terms, 0, len(raw.Allow))
		for _, text := range raw.Allow {
			term, err := access.ParseTerm(text)
			if err != nil {
				return fail(err)
			}
			terms = append(terms, term)
		}
		open := source.(stream.RawSource)
		if err := open.AllowRaw(ctx); err != nil {
			return fail(err)
		}
		c.Session.RawSQL = append(c.Session.RawSQL, session.RawSQL{Name: raw.Source, Source: open, Allow: terms})
	}
	return nil
}
