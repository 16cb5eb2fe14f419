package instance

import (
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// WatchedQuery is a query that can be watched, as the configuration says it.
type WatchedQuery struct {
	Query    *stream.Query
	Watch    live.Watch // without the triggers that need the hub
	Channels []protocol.Pattern
}

// liveQueries gives the queries that can be watched their triggers of the hub.
func (p *Instance) liveQueries(queries map[string]WatchedQuery) map[string]live.Query {
	out := make(map[string]live.Query, len(queries))
	for name, q := range queries {
		watch := q.Watch
		watch.Triggers = append([]stream.Trigger(nil), watch.Triggers...)
		for _, pattern := range q.Channels {
			watch.Triggers = append(watch.Triggers, channelTrigger{p.Hub, pattern})
		}
		out[name] = live.Query{Query: q.Query, Watch: watch}
	}
	return out
}

// channelTrigger is the Trigger of messages in a channel.
type channelTrigger struct {
	hub     *hub.Hub
	pattern protocol.Pattern
}

// Start implements stream.Trigger.
func (o channelTrigger) Start(changed func()) (stop func()) { return o.hub.Tap(o.pattern, changed) }
