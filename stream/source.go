// Package stream runs queries against databases and turns their rows into the messages of a query stream: batches, progress,
// and exactly one ending. It knows nothing of Caddy or of WebSockets: rows come from a Source, messages go to a Sender.
package stream

import (
	"context"
	"errors"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
)

// Source is a database that named queries run against. It is safe for concurrent use.
type Source interface {
	// Prepare checks that text can run on this source with these parameters and gives the statement to run. It is called when the
	// configuration is loaded, so that a query that cannot work is refused there and not at a client's request: its error is for
	// the operator and may quote text.
	Prepare(ctx context.Context, text Text, params []Param) (Statement, error)
}

// Text is what a query consists of. Which of it a source takes is the source's own; it refuses what it does not take.
type Text struct {
	// SQL is a statement, in which parameters are written @name.
	SQL string
	// URL and Body make an HTTP request, in which parameters are written {param.name}.
	URL, Body string
}

// Statement is one query of a Source, ready to run any number of times, also at once.
type Statement interface {
	// Query starts the query. The rows hold their database connection until they are closed; cancelling ctx stops the database's
	// work at once, also in the middle of Next. An error that is a *protocol.Error is for the client; any other goes to the log.
	Query(ctx context.Context, run Run) (Rows, error)
}

// Impersonal tells whether a Statement gives the same rows to every user. A Statement that can says so by a method of that name; of
// others it is not assumed.
func Impersonal(s Statement) bool {
	i, ok := s.(interface{ Impersonal() bool })
	return ok && i.Impersonal()
}

// Run is what differs from one run of a Statement to the next.
type Run struct {
	// Args are the values of the params given to Prepare, in their order, bound by the driver and never spliced into the text.
	Args []Value
	// Total is how much may be spent on knowing the number of rows beforehand. Default: none.
	Total TotalMode
	// Int64Strings asks for 64-bit integers and decimals as JSON strings in place of numbers.
	Int64Strings bool
	// User is whom the query runs for; empty for an anonymous client and where the server itself asks.
	User string
}

// Rows is the result of a running query. It is used by one goroutine; only the context given to Query may be cancelled from
// elsewhere.
type Rows interface {
	// Columns are the result's columns, known from the start.
	Columns() []Column
	// Total is how many rows the result has, as far as the TotalMode asked and the source can tell.
	Total() (rows int64, kind TotalKind)
	// Next moves to the next row. False means the end or an error: see Err.
	Next() bool
	// AppendValue appends column i of the current row to dst as JSON. It must not be called where Next was not or gave false.
	AppendValue(dst []byte, i int) []byte
	// Err is what ended the rows early, nil at a regular end.
	Err() error
	// Close stops the query if it still runs and gives its database connection back. It is idempotent.
	Close() error
}

// Column is a column of a result. Type is the source's own name for it, lower case; empty where the source does not know one.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// TotalMode is how much a query may spend on knowing the number of its rows beforehand.
type TotalMode string

// The total modes of a configured query.
const (
	TotalNone     TotalMode = "none"
	TotalEstimate TotalMode = "estimate"
	TotalExact    TotalMode = "exact"
)

// TotalKind is how far a total can be trusted, as told in query_started.
type TotalKind string

// The kinds of total.
const (
	KindUnknown  TotalKind = "unknown"
	KindEstimate TotalKind = "estimate"
	KindExact    TotalKind = "exact"
)

// ErrSenderClosed is a Sender's error once its connection is closed.
var ErrSenderClosed = errors.New("stream: the connection is closed")

// Sender is where a stream writes: its connection. It is safe for concurrent use by the streams of the connection; each of them
// sends one message at a time.
type Sender interface {
	// Send queues msg, one complete JSON object, behind everything this stream sent before. msg is copied before Send returns.
	// share is the stream's own, by which the connection shares itself out to its streams. Send waits until the connection has
	// room, and ends early with ctx's error or, once the connection is closed, with ErrSenderClosed. Streams never drop.
	Send(ctx context.Context, share *flow.Share, msg []byte) error
	// Fill is the share of the connection's room for streams that is in use, from 0 to 1.
	Fill() float64
}
