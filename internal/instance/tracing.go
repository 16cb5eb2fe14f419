package instance

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/session"
)

// Caddy's `tracing` directive puts a span into the context of the requests that it traces. Here whatever comes of such a request is
// traced by the same provider: the connection, and what its client publishes and asks for, each as a trace of its own with a link to
// the request's, as a connection lives much longer. Where a request is not traced nothing is done.

// tracerName names the instrumentation in spans.
const tracerName = "github.com/neuroquantumdb/neuroquantum-ws"

// tracer is a session.Tracer for one connection.
type tracer struct {
	provider trace.TracerProvider
	request  trace.SpanContext
}

// tracerOf is the tracer of a request; nil where that is not traced.
func tracerOf(ctx context.Context) *tracer {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return nil
	}
	return &tracer{span.TracerProvider(), span.SpanContext()}
}

// Start implements session.Tracer.
func (t *tracer) Start(name string, attributes ...string) session.Span {
	_, s := t.provider.Tracer(tracerName).Start(context.Background(), name,
		trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: t.request}), trace.WithAttributes(pairs(attributes)...))
	return span{s}
}

// span is a session.Span.
type span struct{ trace.Span }

// Context implements session.Span.
func (s span) Context() string { return traceParent(s.SpanContext()) }

// End implements session.Span.
func (s span) End(err error, attributes ...string) {
	s.SetAttributes(pairs(attributes)...)
	if err != nil {
		s.SetStatus(codes.Error, err.Error()) // what clients are told: it holds nothing that they may not see
	}
	s.Span.End()
}

// pairs makes attributes of names and values by turns.
func pairs(texts []string) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(texts)/2)
	for i := 0; i+1 < len(texts); i += 2 {
		out = append(out, attribute.String("neuroquantum_ws."+texts[i], texts[i+1]))
	}
	return out
}

// traceParent is a span's context as W3C Trace Context writes it; empty for one that is not sampled.
func traceParent(c trace.SpanContext) string {
	if !c.IsSampled() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), c), carrier)
	return carrier["traceparent"]
}

// TraceConnect begins the span of a connection that is being made. The tracer is nil where the request is not traced; done ends the span.
func (p *Instance) TraceConnect(r *http.Request) (_ session.Tracer, done func(*hub.Conn, error)) {
	t := tracerOf(r.Context())
	if t == nil {
		return nil, func(*hub.Conn, error) {}
	}
	p.traces.use(t)
	_, s := t.provider.Tracer(tracerName).Start(r.Context(), "neuroquantum_ws connect", trace.WithAttributes(pairs([]string{"hub", p.Hub.Name()})...))
	return t, func(c *hub.Conn, err error) {
		if c != nil {
			s.SetAttributes(pairs([]string{"connection_id", c.ID(), "subprotocol", c.Subprotocol()})...)
		}
		span{s}.End(err)
	}
}

// deliveryTracer traces the deliveries of messages whose publishing was traced, with the provider of the latest request that was.
type deliveryTracer struct {
	provider atomic.Pointer[trace.TracerProvider]
}

// use is called for each request that is traced.
func (d *deliveryTracer) use(t *tracer) {
	if t != nil {
		d.provider.Store(&t.provider)
	}
}

// of is the traceparent of a request that publishes; empty where it is not traced.
func (d *deliveryTracer) of(r *http.Request) string {
	t := tracerOf(r.Context())
	if t == nil {
		return ""
	}
	d.use(t)
	return traceParent(t.request)
}

// delivered makes the span of a message's delivery by one shard, with a link to its publishing.
func (d *deliveryTracer) delivered(m *hub.Message, receivers int) {
	provider := d.provider.Load()
	if provider == nil || receivers == 0 {
		return
	}
	carrier := propagation.MapCarrier{"traceparent": m.Trace}
	from := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	_, s := (*provider).Tracer(tracerName).Start(context.Background(), "neuroquantum_ws deliver", trace.WithNewRoot(),
		trace.WithTimestamp(m.Time), trace.WithLinks(trace.Link{SpanContext: from}),
		trace.WithAttributes(pairs([]string{"channel", m.Channel, "receivers", strconv.Itoa(receivers)})...))
	s.End()
}

// TraceParent returns the traceparent of a request that publishes; empty where it is not traced.
func (p *Instance) TraceParent(r *http.Request) string { return p.traces.of(r) }

var _ session.Tracer = (*tracer)(nil)
