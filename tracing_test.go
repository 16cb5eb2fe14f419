package neuroquantumws_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func init() {
	caddy.RegisterModule(new(recording))
	httpcaddyfile.RegisterHandlerDirective("record_spans", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(recording), nil
	})
	httpcaddyfile.RegisterDirectiveOrder("record_spans", httpcaddyfile.After, "tracing")
}

// recorded are the spans of all requests that pass recording.
var recorded = tracetest.NewSpanRecorder()

var recorder = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorded))

// recording puts a span into a request as Caddy's tracing does, but keeps it here.
type recording struct{}

func (*recording) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.record_spans", New: func() caddy.Module { return new(recording) }}
}

func (*recording) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	ctx, span := recorder.Tracer("test").Start(r.Context(), "request "+r.URL.Path)
	defer span.End()
	return next.ServeHTTP(w, r.WithContext(ctx))
}

// spans are those of a name that have ended.
func spans(name string) (found []sdktrace.ReadOnlySpan) {
	for _, s := range recorded.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	return found
}

func attributesOf(s sdktrace.ReadOnlySpan) string {
	var all []string
	for _, a := range s.Attributes() {
		all = append(all, strings.TrimPrefix(string(a.Key), "neuroquantum_ws.")+"="+a.Value.String())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// What comes of a traced request is traced: the connection, what its client publishes and asks for, and the deliveries of what is
// published, each with a link to where it came from.
func TestTracing(t *testing.T) {
	recorded.Reset()
	s := serveSite(t, "record_spans\n"+apiSite+ws(queries(t, "channel a/** {\nallow subscribe anyone\nallow publish anyone\n}\n"))+`
		route /write {
			neuroquantum_ws_notify default {
				channel a/written
				data 1
			}
			respond ok
		}
	`)
	c := s.dial()
	c.Subscribe("a/*")
	c.Publish("a/b", 1)
	c.Expect("channel_message")
	follow(c, start(c, M{"query": "sensor", "params": M{"sensor": "seattle/wind"}}), nil)
	c.Refused("INVALID_PARAMS", M{"type": "stream_query", "query": "sensor"})
	request(t, "POST", s.api("/rt").base+"/publish", `{"channel":"a/c","data":2}`, nil).want(200)
	c.Expect("channel_message")
	response, err := http.Post("http://"+s.address+"/write", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	c.Expect("channel_message")
	c.Subscribe("a/last") // behind this the shard is done with the deliveries

	connect := spans("neuroquantum_ws connect")
	if len(connect) != 1 || connect[0].Parent().SpanID() != spans("request /ws")[0].SpanContext().SpanID() ||
		!strings.Contains(attributesOf(connect[0]), "connection_id="+c.Welcome.Text("connection_id")) {
		t.Fatalf("got %v", connect)
	}
	way := spans("request /ws")[0].SpanContext()
	for _, name := range []string{"neuroquantum_ws publish", "neuroquantum_ws query"} {
		for _, s := range spans(name) {
			if len(s.Links()) != 1 || s.Links()[0].SpanContext.SpanID() != way.SpanID() || s.Parent().IsValid() {
				t.Errorf("%s is not linked to its connection's request", name)
			}
		}
	}
	published := spans("neuroquantum_ws publish")
	if len(published) != 1 || attributesOf(published[0]) != "channel=a/b" {
		t.Errorf("published %v", published)
	}
	var asked []string
	for _, s := range spans("neuroquantum_ws query") {
		asked = append(asked, fmt.Sprint(s.Status().Code, " ", attributesOf(s)))
	}
	if len(asked) != 2 || !strings.Contains(asked[0], "outcome=completed") || !strings.Contains(asked[0], "rows=1461") || !strings.HasPrefix(asked[1], "Error query=sensor") {
		t.Errorf("asked %q", asked)
	}
	from := map[string]string{
		"a/b": published[0].SpanContext().SpanID().String(), "a/c": spans("request /rt/publish")[0].SpanContext().SpanID().String(),
		"a/written": spans("request /write")[0].SpanContext().SpanID().String(),
	}
	for _, s := range spans("neuroquantum_ws deliver") {
		attributes := attributesOf(s)
		channel, _, _ := strings.Cut(strings.TrimPrefix(attributes, "channel="), " ")
		if attributes != "channel="+channel+" receivers=1" || len(s.Links()) != 1 || s.Links()[0].SpanContext.SpanID().String() != from[channel] {
			t.Errorf("delivered %s", attributes)
		}
		delete(from, channel)
	}
	if len(from) > 0 {
		t.Errorf("no delivery of %v is traced", from)
	}
}
