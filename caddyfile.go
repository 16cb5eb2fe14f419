package neuroquantumws

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("neuroquantum_ws", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("neuroquantum_ws", httpcaddyfile.Before, "reverse_proxy")
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
//	neuroquantum_ws [<matcher>] {
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
	if d.NextArg() {
		return d.ArgErr()
	}
	var raw []caddyfile.Dispenser
	err := options(d, 0, func(d *caddyfile.Dispenser, name string) (bool, error) {
		if name == "allow_raw_sql" {
			raw = append(raw, *d)
			return true, h.unmarshalRawSQL(d)
		}
		return h.option(d, name)
	})
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

// repeatable options may stand more than once: each names another thing. In a query or feed there is one source.
var repeatable = map[bool]map[string]bool{
	true:  {"channel": true, "source": true, "query": true, "feed": true, "metadata": true, "allow_raw_sql": true}, // in the directive
	false: {"allow": true, "param": true, "bind": true, "on": true},                                                // in its blocks
}

// options reads a block whose options may each stand once. option reads one and tells whether it exists.
func options(d *caddyfile.Dispenser, nesting int, option func(d *caddyfile.Dispenser, name string) (bool, error)) error {
	seen := make(map[string]bool)
	for d.NextBlock(nesting) {
		name := d.Val()
		if seen[name] && !repeatable[nesting == 0][name] {
			return d.Errf("%s is given twice", name)
		}
		seen[name] = true
		known, err := option(d, name)
		switch {
		case err != nil:
			return err
		case known:
		default:
			return d.Errf("unknown option %s", name)
		}
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
		return true, args(d, number(n))
	}
	if n := sizes[name]; n != nil {
		return true, args(d, size(n))
	}
	if n := durations[name]; n != nil {
		return true, args(d, duration(n))
	}
	switch name {
	case "hub":
		return true, args(d, text(&h.Hub))
	case "user":
		return true, args(d, text(&h.User))
	case "rate_limit":
		h.RateLimit = new(RateLimit)
		return true, argsOr(d, 1, positive(&h.RateLimit.Rate), number(&h.RateLimit.Burst))
	case "heartbeat":
		h.Heartbeat = new(Heartbeat)
		return true, h.checked(d, args(d, duration(&h.Heartbeat.Interval), duration(&h.Heartbeat.Timeout)))
	case "queue":
		h.Queue = new(Queue)
		return true, h.Queue.unmarshal(d)
	case "throttle":
		h.Throttle = new(Throttle)
		return true, h.checked(d, args(d, positive(&h.Throttle.Start), positive(&h.Throttle.Pause), duration(&h.Throttle.Delay)))
	case "health":
		return true, h.checked(d, h.unmarshalHealth(d))
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
		return true, h.checked(d, h.unmarshalStream(d))
	case "source":
		return true, h.unmarshalSource(d)
	case "query":
		return true, h.unmarshalQuery(d)
	case "feed":
		return true, h.unmarshalFeed(d)
	}
	return false, nil
}

// checked refuses, at its line, an option whose values do not go together; err is what reading it gave.
func (h *Handler) checked(d *caddyfile.Dispenser, err error) error {
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

// argument reads one argument; its error says what is wrong with it, without its place.
type argument func(value string) string

// args reads exactly these arguments.
func args(d *caddyfile.Dispenser, want ...argument) error { return argsOr(d, len(want), want...) }

// argsOr reads these arguments, of which those behind the first least may be left out.
func argsOr(d *caddyfile.Dispenser, least int, want ...argument) error {
	option := d.Val()
	given := d.RemainingArgs()
	if len(given) < least || len(given) > len(want) {
		return d.Errf("%s: wrong number of arguments", option)
	}
	for i, value := range given {
		if wrong := want[i](value); wrong != "" {
			return d.Errf("%s: %q %s", option, value, wrong)
		}
	}
	return nil
}

func text(to *string) argument {
	return func(value string) string {
		*to = value
		if value == "" {
			return "must not be empty"
		}
		return ""
	}
}

func number(to *int) argument {
	return func(value string) string {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > math.MaxInt32 {
			return "must be a positive integer"
		}
		*to = n
		return ""
	}
}

func positive(to *float64) argument {
	return func(value string) string {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || !(n > 0) || math.IsInf(n, 0) {
			return "must be a positive number"
		}
		*to = n
		return ""
	}
}

func size(to *int64) argument {
	return func(value string) string {
		n, err := humanize.ParseBytes(value)
		if err != nil || n < 1 || n > math.MaxInt64 {
			return "must be a size, such as 64KiB"
		}
		*to = int64(n)
		return ""
	}
}

func duration(to *caddy.Duration) argument {
	return func(value string) string {
		n, err := caddy.ParseDuration(value)
		if err != nil || n <= 0 {
			return "must be a positive duration, such as 30s"
		}
		*to = caddy.Duration(n)
		return ""
	}
}

func (q *Queue) unmarshal(d *caddyfile.Dispenser) error {
	if err := argsOr(d, 2, number(&q.Messages), size(&q.Bytes), text(&q.Policy)); err != nil {
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
		if wrong := positive(to)(given[i]); wrong != "" {
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
	if _, err := parseOrigins(h.Origins); err != nil {
		return d.Errf("origins: %v", err)
	}
	return nil
}

func (h *Handler) unmarshalMetadata(d *caddyfile.Dispenser) error {
	var name, value string
	if err := args(d, text(&name), text(&value)); err != nil {
		return err
	}
	if _, twice := h.Metadata[name]; twice {
		return d.Errf("metadata %s is given twice", name)
	}
	if h.Metadata == nil {
		h.Metadata = make(map[string]string)
	}
	h.Metadata[name] = value
	return nil
}

func (h *Handler) unmarshalChannel(d *caddyfile.Dispenser) error {
	var c Channel
	if err := args(d, text(&c.Pattern)); err != nil {
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
	err = options(d, 1, func(d *caddyfile.Dispenser, name string) (bool, error) {
		switch name {
		case "history":
			c.History = new(History)
			return true, argsOr(d, 1, number(&c.History.Messages), duration(&c.History.Age))
		case "presence":
			c.Presence = true
			return true, args(d)
		case "queue":
			c.Queue = new(Queue)
			return true, c.Queue.unmarshal(d)
		case "allow":
			return true, c.unmarshalAllow(d)
		}
		return false, nil
	})
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
	return options(d, 1, func(d *caddyfile.Dispenser, name string) (bool, error) {
		switch name {
		case "batch_size":
			return true, args(d, number(&h.Stream.BatchSize))
		case "max_batch_size":
			return true, args(d, number(&h.Stream.MaxBatchSize))
		case "progress_interval":
			return true, args(d, duration(&h.Stream.ProgressInterval))
		case "max_duration":
			return true, args(d, duration(&h.Stream.MaxDuration))
		case "stall_timeout":
			return true, args(d, duration(&h.Stream.StallTimeout))
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
