package session

import (
	"strconv"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Tracer makes spans for what a client does. A nil Tracer makes none.
type Tracer interface {
	// Start begins a span of this name, with names and values by turns.
	Start(name string, attributes ...string) Span
}

// Span is something under way that is traced.
type Span interface {
	// Context is the span's traceparent (W3C Trace Context), for what comes of it elsewhere.
	Context() string
	// End ends the span, with names and values by turns; err is why it failed, nil where it did not.
	End(err error, attributes ...string)
}

// noSpan is that of a client that is not traced.
type noSpan struct{}

func (noSpan) Context() string      { return "" }
func (noSpan) End(error, ...string) {}

// trace begins a span, if the client is traced.
func (s *Session) trace(name string, attributes ...string) Span {
	if s.client.Tracer == nil {
		return noSpan{}
	}
	return s.client.Tracer.Start(name, attributes...)
}

// traced has a stream's span end with it.
func traced(span Span, ask *stream.Request) {
	if _, none := span.(noSpan); none {
		return
	}
	ask.Ended = func(e stream.Ended) {
		span.End(e.Err, "stream_id", e.StreamID, "outcome", e.Status, "rows", strconv.FormatInt(e.Rows, 10), "batches", strconv.FormatInt(e.Batches, 10), "bytes", strconv.FormatInt(e.Bytes, 10))
	}
}
