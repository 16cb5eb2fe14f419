package neuroquantumws

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// The defaults that are not the zero value.
const (
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
	// for their place. In a path a value is one segment or a part of one; that of {param.NAME...} may hold slashes.
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

func timeOf(d caddy.Duration) time.Duration { return time.Duration(d) }
