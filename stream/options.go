package stream

import (
	"cmp"
	"errors"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Options are the limits of streams. They come with each Request, so that a new configuration counts from the next stream on.
// A field left zero has its default.
type Options struct {
	// BatchSize is how many rows a batch holds where the client does not say. Default: 100.
	BatchSize int
	// MaxBatchSize is the most rows that a client may ask for in a batch. Default: 10,000.
	MaxBatchSize int
	// ProgressInterval is the time between two query_progress of a stream. Default: 500 ms.
	ProgressInterval time.Duration
	// MaxDuration is the longest that a stream may take, waiting for the client included. Default: 5 minutes.
	MaxDuration time.Duration
	// StallTimeout is the longest that a stream waits for a client that neither reads nor grants credit. Default: 30 seconds.
	StallTimeout time.Duration
	// MaxStreams is how many streams a connection may run at once. Default: 8.
	MaxStreams int
	// MaxStreamsPerUser is how many streams a user may run at once on all connections; anonymous clients are not counted. Default: 200.
	MaxStreamsPerUser int
	// MaxStreamsTotal is how many streams all connections together may run at once. Default: 5,000.
	MaxStreamsTotal int
	// MaxWatches is how many live queries a connection may watch at once, beside its streams. Default: 32.
	MaxWatches int
	// MaxWatchesTotal is how many live queries all connections together may watch at once. Default: 50,000.
	MaxWatchesTotal int
	// Throttle slows down streams without credit. Default: flow.DefaultThrottle.
	Throttle flow.Throttle
}

// WithDefaults gives the options with every zero field at its default.
func (o Options) WithDefaults() Options {
	o.BatchSize = cmp.Or(o.BatchSize, 100)
	o.MaxBatchSize = cmp.Or(o.MaxBatchSize, 10_000)
	o.ProgressInterval = cmp.Or(o.ProgressInterval, 500*time.Millisecond)
	o.MaxDuration = cmp.Or(o.MaxDuration, 5*time.Minute)
	o.StallTimeout = cmp.Or(o.StallTimeout, 30*time.Second)
	o.MaxStreams = cmp.Or(o.MaxStreams, 8)
	o.MaxStreamsPerUser = cmp.Or(o.MaxStreamsPerUser, 200)
	o.MaxStreamsTotal = cmp.Or(o.MaxStreamsTotal, 5000)
	o.MaxWatches = cmp.Or(o.MaxWatches, 32)
	o.MaxWatchesTotal = cmp.Or(o.MaxWatchesTotal, 50_000)
	o.Throttle = cmp.Or(o.Throttle, flow.DefaultThrottle())
	return o
}

// Validate checks the options as they are with their defaults; its error is for the operator.
func (o Options) Validate() error {
	o = o.WithDefaults()
	switch {
	case o.BatchSize < 0 || o.MaxBatchSize < 0 || o.MaxStreams < 0 || o.MaxStreamsPerUser < 0 || o.MaxStreamsTotal < 0 ||
		o.MaxWatches < 0 || o.MaxWatchesTotal < 0:
		return errors.New("batch sizes and the number of streams must be positive")
	case o.BatchSize > o.MaxBatchSize:
		return errors.New("the batch size is greater than the largest one allowed")
	case o.ProgressInterval < 0 || o.MaxDuration < 0 || o.StallTimeout < 0:
		return errors.New("durations of streams must be positive")
	case !o.Throttle.Valid():
		return errors.New("the throttle must start above 0 and below its pause, pause at 1 or below, and delay by no negative time")
	}
	return nil
}

// The formats of a row in a batch.
const (
	FormatObjects = "objects" // {"name":value,…}: the default
	FormatArrays  = "arrays"  // [value,…], in the order of query_started's columns
)

// Ended tells how a stream has ended.
type Ended struct {
	StreamID             string
	Status               string // completed, cancelled or failed
	Err                  error  // what the client was told where it failed, a *protocol.Error; else nil
	Rows, Batches, Bytes int64  // that were sent
}

// Request asks for a stream.
type Request struct {
	// ID is that of the client's message; query_started bears it.
	ID protocol.ID
	// Query is what to run. Nil: there is none of that name, and the request is refused.
	Query *Query
	// QueryName is what the client called it, told back in query_started. Default: Query.Name.
	QueryName string
	// Params is the client's `params`: a JSON object, or empty. It is not kept.
	Params []byte
	// Bound holds the values of the parameters with Bind, by name.
	Bound map[string]string
	// BatchSize is how many rows the client wants in a batch. Default: 0, Options.BatchSize.
	BatchSize int
	// Credits is how many batches may be sent before more are granted, 0 included. Default: nil, as many as the connection takes,
	// slowed down by Options.Throttle.
	Credits *int
	// Format is FormatObjects or FormatArrays. Default: FormatObjects.
	Format string
	// Resume goes on with a stream of an earlier connection of the same user, in batches and a format as it began; see
	// Registry.Resumable for what it was. Default: nil, the query begins.
	Resume *Resume
	// Watch follows a result that is kept true in place of running Query, which then says what is watched. The stream has its Live from
	// Start on, also where that fails. Default: nil.
	Watch *Watch
	// Ended is called once the stream has ended, by its own goroutine; it must not wait. Default: nil, nobody asks.
	Ended func(Ended)
	// Options are the limits in force.
	Options Options
}

// prepare checks the request and makes the stream that it asks for; its error is a *protocol.Error. from is what the request resumes,
// nil where it does not.
func (r *Request) prepare(from *remains) (*stream, error) {
	options := r.Options.WithDefaults()
	if r.Query == nil {
		return nil, notFound(r.QueryName)
	}
	if r.BatchSize < 0 || r.BatchSize > options.MaxBatchSize {
		return nil, protocol.Errorf(protocol.InvalidParams, `"batch_size" must be from 1 to %d`, options.MaxBatchSize)
	}
	if r.Format != "" && r.Format != FormatObjects && r.Format != FormatArrays {
		return nil, protocol.Errorf(protocol.InvalidParams, `"format" must be "objects" or "arrays"`)
	}
	if r.Credits != nil && *r.Credits < 0 {
		return nil, protocol.Errorf(protocol.InvalidParams, `"credits" must not be negative`)
	}
	s := &stream{
		request:   r.ID,
		name:      cmp.Or(r.QueryName, r.Query.Name),
		query:     r.Query,
		options:   options,
		batchSize: cmp.Or(r.BatchSize, options.BatchSize),
		arrays:    r.Format == FormatArrays,
		resume:    r.Resume,
		watch:     r.Watch,
		ended:     r.Ended,
		retired:   make(chan struct{}),
		told:      make(chan struct{}),
		pacer:     flow.Pacer{Throttle: options.Throttle},
		turn:      make(chan struct{}, 1),
	}
	if from != nil {
		if s.name != from.name {
			return nil, protocol.Errorf(protocol.InvalidParams, "the stream is of another query")
		}
		s.batchSize, s.arrays = from.batchSize, from.arrays
	}
	var err error
	if s.args, err = Bind(r.Query.Params, r.Params, r.Bound); err != nil {
		return nil, err
	}
	if r.Credits != nil {
		s.credit = flow.NewCredit(int64(*r.Credits))
	}
	if r.Query.MaxDuration > 0 {
		s.options.MaxDuration = r.Query.MaxDuration
	}
	return s, nil
}
