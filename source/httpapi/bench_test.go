package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

type discard struct{ ended chan string }

func (d discard) Send(_ context.Context, _ *flow.Share, msg []byte) error {
	switch string(msg[:len(`{"type":"e`)]) {
	case `{"type":"e`:
		d.ended <- string(msg)
	default:
		if len(msg) > 25 && string(msg[:25]) == `{"type":"query_completed"` {
			d.ended <- ""
		}
	}
	return nil
}

func (discard) Fill() float64 { return 0 }

// The whole way from HTTP to messages, batches of 100 rows of five columns; the server that writes them runs beside.
func BenchmarkStream(b *testing.B) {
	const rows = 200_000
	var body []byte
	for i := range rows {
		body = fmt.Appendf(body, `{"id":%d,"sensor":"kitchen/temperature","value":%g,"ok":%t,"at":"2026-01-31T22:30:00Z"}`+"\n", i, float64(i)/8, i%2 == 0)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	b.Cleanup(server.Close)
	s := provision(b, &Source{URL: server.URL, Dialect: NDJSON})
	st := mustPrepare(b, s, stream.Text{})
	sender := discard{make(chan string, 1)}
	group := stream.NewRegistry(nil).NewGroup(stream.Owner{}, sender)
	b.Cleanup(group.Close)
	b.ReportAllocs()
	for b.Loop() {
		if err := group.Start(stream.Request{Query: &stream.Query{Name: "q", Statement: st}}); err != nil {
			b.Fatal(err)
		}
		if failed := <-sender.ended; failed != "" {
			b.Fatal(failed)
		}
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
