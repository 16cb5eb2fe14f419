package neuroquantumws

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/handshake"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/originalpath"
)

func init() {
	httpcaddyfile.RegisterDirective("neuroquantum_ws", originalpath.Handle(parseCaddyfile))
	httpcaddyfile.RegisterDirectiveOrder("neuroquantum_ws", httpcaddyfile.After, "encode")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	neuroquantum_ws [<matcher>] [<hub>] {
//		hub                      <name>
//		max_connections          <number>
//		max_connections_per_ip   <number>
//		max_connections_per_user <number>
//		max_message_size         <size>
//		max_subscriptions        <number>
//		max_streams              <number>
//		max_streams_per_user     <number>
//		max_streams_total        <number>
//		max_watches              <number>
//		max_watches_total        <number>
//		rate_limit               <messages per second> [<burst>]
//		heartbeat                <interval> <timeout>
//		idle_timeout             <duration>
//		write_timeout            <duration>
//		drain                    <duration>
//		queue                    <messages> <size> [<policy>]
//		max_queued               <size>
//		max_history              <size>
//		throttle                 <start> <pause> <longest delay>
//		health                   <warn> <close> | off
//		origins                  <origins...>
//		user                     <placeholder>
//		jwt {
//			key         <key>
//			jwks        <URL>
//			algorithms  <names...>
//			issuer      <iss>
//			audience    <aud...>
//			user_claim  <claim>
//			roles_claim <claim>
//			cookie      <name>
//			required    [message]
//			leeway      <duration>
//		}
//		auth_timeout             <duration>
//		metadata                 <name> <placeholder>
//		channel <pattern> {
//			history <messages> [<age>]
//			presence
//			queue   <messages> <size> [<policy>]
//			allow   subscribe|publish|history|presence <terms...>
//		}
//		broker <module> ...
//		stream {
//			batch_size        <rows>
//			max_batch_size    <rows>
//			progress_interval <duration>
//			max_duration      <duration>
//			stall_timeout     <duration>
//		}
//		source <name> <module> ...
//		query <name> {
//			source <name>
//			sql    <statement>
//			url    <url>
//			body   <JSON>
//			param  <name> <type> {
//				max_length <characters>
//				enum       <values...>
//				min        <value>
//				max        <value>
//				default    <value>
//			}
//			bind         <name> <placeholder>
//			total        none|estimate|exact
//			int64        number|string
//			max_duration <duration>
//			allow        <terms...>
//			watch {
//				key      <columns...>
//				on       table|channel|notify <name>
//				every    <interval>
//				debounce <duration>
//				max_rows <number>
//			}
//		}
//		feed <name> {
//			source  <name>
//			publish <channel>
//			table   <name> <columns...>
//			int64   number|string
//			sql     <statement>
//			replay  <interval> [<rows>]
//		}
//		allow_raw_sql <source> <terms...>
//	}
//
// A feed has either table and, if need be, int64, or sql and replay.
//
// Policies are drop_oldest, drop_newest, drop_all, block, conflate and disconnect; terms are anyone, authenticated,
// user:NAME and role:NAME. In a channel pattern {user} and {claim.NAME} may stand for whole segments.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if err := directive.OptionalArgs(d, 0, directive.Name(&h.Hub)); err != nil {
		return err
	}
	var raw []caddyfile.Dispenser
	err := directive.Options(d, func(d *caddyfile.Dispenser, name string) (bool, error) {
		if name == "allow_raw_sql" {
			raw = append(raw, *d)
			return true, h.unmarshalRawSQL(d)
		}
		return h.option(d, name)
	}, "channel", "source", "query", "feed", "metadata", "allow_raw_sql")
	if err != nil {
		return err
	}
	if err := h.checkRawSQL(raw); err != nil {
		return err
	}
	// Only now is it known whether the queue's policy fits every channel.
	if _, err := h.settings(); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func (h *Handler) option(d *caddyfile.Dispenser, name string) (bool, error) {
	numbers := map[string]*int{
		"max_connections": &h.MaxConnections, "max_connections_per_ip": &h.MaxConnectionsPerIP,
		"max_connections_per_user": &h.MaxConnectionsPerUser, "max_subscriptions": &h.MaxSubscriptions, "max_streams": &h.MaxStreams,
		"max_streams_per_user": &h.MaxStreamsPerUser, "max_streams_total": &h.MaxStreamsTotal,
		"max_watches": &h.MaxWatches, "max_watches_total": &h.MaxWatchesTotal,
	}
	sizes := map[string]*int64{
		"max_message_size": &h.MaxMessageSize, "max_queued": &h.MaxQueued, "max_history": &h.MaxHistory,
	}
	durations := map[string]*caddy.Duration{
		"idle_timeout": &h.IdleTimeout, "write_timeout": &h.WriteTimeout, "auth_timeout": &h.AuthTimeout, "drain": &h.Drain,
	}
	if n := numbers[name]; n != nil {
		return true, directive.Args(d, directive.Integer(n))
	}
	if n := sizes[name]; n != nil {
		return true, directive.Args(d, directive.Size(n))
	}
	if n := durations[name]; n != nil {
		return true, directive.Args(d, directive.Duration(n))
	}
	switch name {
	case "hub":
		return true, h.unmarshalHub(d)
	case "user":
		return true, h.unmarshalUser(d)
	case "rate_limit":
		h.RateLimit = new(RateLimit)
		return true, directive.OptionalArgs(d, 1, directive.Positive(&h.RateLimit.Rate), directive.Integer(&h.RateLimit.Burst))
	case "heartbeat":
		h.Heartbeat = new(Heartbeat)
		return true, h.validated(d, directive.Args(d, directive.Duration(&h.Heartbeat.Interval), directive.Duration(&h.Heartbeat.Timeout)))
	case "queue":
		h.Queue = new(Queue)
		return true, h.Queue.unmarshal(d)
	case "throttle":
		h.Throttle = new(Throttle)
		return true, h.validated(d, directive.Args(d, directive.Positive(&h.Throttle.Start), directive.Positive(&h.Throttle.Pause), directive.Duration(&h.Throttle.Delay)))
	case "health":
		return true, h.validated(d, h.unmarshalHealth(d))
	case "origins":
		return true, h.unmarshalOrigins(d)
	case "jwt":
		return true, h.unmarshalJWT(d)
	case "metadata":
		return true, h.unmarshalMetadata(d)
	case "channel":
		return true, h.unmarshalChannel(d)
	case "broker":
		return true, h.unmarshalBroker(d)
	case "stream":
		return true, h.validated(d, h.unmarshalStream(d))
	case "source":
		return true, h.unmarshalSource(d)
	case "query":
		return true, h.unmarshalQuery(d)
	case "feed":
		return true, h.unmarshalFeed(d)
	}
	return false, nil
}

// unmarshalHub reads the option hub. The directive's argument may have said it, but not otherwise.
func (h *Handler) unmarshalHub(d *caddyfile.Dispenser) error {
	before := h.Hub
	if err := directive.Args(d, directive.Name(&h.Hub)); err != nil {
		return err
	}
	if before != "" && before != h.Hub {
		return d.Errf("hub %s: the directive itself names the hub %s", h.Hub, before)
	}
	return nil
}

func (h *Handler) unmarshalUser(d *caddyfile.Dispenser) error {
	if err := directive.Args(d, directive.Text(&h.User)); err != nil {
		return err
	}
	if err := checkUser(h.User); err != nil {
		return d.Errf("user: %v", err)
	}
	return nil
}

// validated refuses, at its line, an option whose values do not go together; err is what reading it gave.
func (h *Handler) validated(d *caddyfile.Dispenser, err error) error {
	if err != nil {
		return err
	}
	if _, err := h.limits(); err != nil {
		return d.Err(err.Error())
	}
	if _, err := h.streamOptions(); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func (q *Queue) unmarshal(d *caddyfile.Dispenser) error {
	if err := directive.OptionalArgs(d, 2, directive.Integer(&q.Messages), directive.Size(&q.Bytes), directive.Text(&q.Policy)); err != nil {
		return err
	}
	// Whether block can work depends on a history that may still follow.
	if _, err := q.class(true); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func (h *Handler) unmarshalHealth(d *caddyfile.Dispenser) error {
	h.Health = new(Health)
	given := d.RemainingArgs()
	if len(given) == 1 && given[0] == "off" {
		h.Health.Off = true
		return nil
	}
	if len(given) != 2 {
		return d.Err("health: give the shares to warn and to close at, or off")
	}
	for i, to := range []*float64{&h.Health.Warn, &h.Health.Close} {
		if wrong := directive.Positive(to)(given[i]); wrong != "" {
			return d.Errf("health: %q %s", given[i], wrong)
		}
	}
	return nil
}

func (h *Handler) unmarshalOrigins(d *caddyfile.Dispenser) error {
	h.Origins = d.RemainingArgs()
	if len(h.Origins) == 0 {
		return d.ArgErr()
	}
	if _, err := handshake.ParseOrigins(h.Origins); err != nil {
		return d.Errf("origins: %v", err)
	}
	return nil
}

func (h *Handler) unmarshalMetadata(d *caddyfile.Dispenser) error {
	var name, value string
	if err := directive.Args(d, directive.Text(&name), directive.Text(&value)); err != nil {
		return err
	}
	if _, twice := h.Metadata[name]; twice {
		return d.Errf("metadata %s is given twice", name)
	}
	if err := checkPlaceholders(value); err != nil {
		return d.Errf("metadata %s: %v", name, err)
	}
	if h.Metadata == nil {
		h.Metadata = make(map[string]string)
	}
	h.Metadata[name] = value
	return nil
}

func (h *Handler) unmarshalChannel(d *caddyfile.Dispenser) error {
	var c Channel
	if err := directive.Args(d, directive.Text(&c.Pattern)); err != nil {
		return err
	}
	rule, err := (&Channel{Pattern: c.Pattern}).rule(nil)
	if err != nil {
		return d.Err(err.Error())
	}
	for _, other := range h.Channel {
		if other.Pattern == c.Pattern {
			return d.Errf("channel %s is given twice", c.Pattern)
		}
		if earlier, err := other.rule(nil); err == nil && earlier.Pattern.String() == rule.Pattern.String() {
			return d.Errf("channel %s: the block %s before it holds the same channels", c.Pattern, other.Pattern)
		}
	}
	err = directive.Options(d, func(d *caddyfile.Dispenser, name string) (bool, error) {
		switch name {
		case "history":
			c.History = new(History)
			return true, directive.OptionalArgs(d, 1, directive.Integer(&c.History.Messages), directive.Duration(&c.History.Age))
		case "presence":
			c.Presence = true
			return true, directive.Args(d)
		case "queue":
			c.Queue = new(Queue)
			return true, c.Queue.unmarshal(d)
		case "allow":
			return true, c.unmarshalAllow(d)
		}
		return false, nil
	}, "allow")
	if err != nil {
		return err
	}
	if _, err := c.rule(nil); err != nil {
		return d.Err(err.Error())
	}
	h.Channel = append(h.Channel, c)
	return nil
}

func (c *Channel) unmarshalAllow(d *caddyfile.Dispenser) error {
	given := d.RemainingArgs()
	if len(given) < 2 {
		return d.Err("allow: give a verb and at least one term, such as: allow subscribe anyone")
	}
	verbs := map[string]*[]string{
		"subscribe": &c.Allow.Subscribe, "publish": &c.Allow.Publish, "history": &c.Allow.History, "presence": &c.Allow.Presence,
	}
	terms := verbs[given[0]]
	if terms == nil {
		return d.Errf("allow: unknown verb %s: use subscribe, publish, history or presence", given[0])
	}
	*terms = append(*terms, given[1:]...)
	return checkTerms(d, given[1:])
}

func (h *Handler) unmarshalBroker(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	module := d.Val()
	id := "http.handlers.neuroquantum_ws.brokers." + module
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("broker %s is not available in this version", module)
	}
	broker, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	h.BrokerRaw = caddyconfig.JSONModuleObject(broker, "broker", module, nil)
	return nil
}

func (h *Handler) unmarshalStream(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("stream: it takes a block and no arguments")
	}
	h.Stream = new(StreamLimits)
	return directive.Options(d, func(d *caddyfile.Dispenser, name string) (bool, error) {
		switch name {
		case "batch_size":
			return true, directive.Args(d, directive.Integer(&h.Stream.BatchSize))
		case "max_batch_size":
			return true, directive.Args(d, directive.Integer(&h.Stream.MaxBatchSize))
		case "progress_interval":
			return true, directive.Args(d, directive.Duration(&h.Stream.ProgressInterval))
		case "max_duration":
			return true, directive.Args(d, directive.Duration(&h.Stream.MaxDuration))
		case "stall_timeout":
			return true, directive.Args(d, directive.Duration(&h.Stream.StallTimeout))
		}
		return false, nil
	})
}

func (h *Handler) unmarshalSource(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	if _, twice := h.SourcesRaw[name]; twice {
		return d.Errf("source %s is given twice", name)
	}
	if !d.NextArg() {
		return d.Errf("source %s: give its kind, such as sqlite", name)
	}
	module := d.Val()
	id := "http.handlers.neuroquantum_ws.sources." + module
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("source %s: the kind %s is not available in this version", name, module)
	}
	source, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return fmt.Errorf("source %s %s: %w", name, module, err)
	}
	if h.SourcesRaw == nil {
		h.SourcesRaw = make(map[string]json.RawMessage)
	}
	h.SourcesRaw[name] = caddyconfig.JSONModuleObject(source, "source", module, nil)
	return nil
}
