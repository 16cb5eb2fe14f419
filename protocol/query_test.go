package protocol

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

func TestAppendQueryMessages(t *testing.T) {
	const id = "6d67138a-935f-484d-86b4-0c6a25a3095c"
	rows, percentage, eta, nan := int64(5), 33.333, 1500*time.Millisecond, math.NaN()
	for want, got := range map[string][]byte{
		`{"type":"query_started","stream_id":"` + id + `","query":"q\"","id":7,"columns":[{"name":"a","type":"text"},{"name":"b","type":""}],` +
			`"estimated_rows":5,"total_kind":"exact"}`: AppendQueryStarted(nil, QueryStarted{
			StreamID: id, Query: `q"`, ID: "7", Columns: []QueryColumn{{"a", "text"}, {"b", ""}}, Rows: &rows, TotalKind: "exact",
		}),
		`{"type":"query_started","stream_id":"` + id + `","query":"q","columns":[],"estimated_rows":null,"total_kind":"unknown","resumed":true}`: AppendQueryStarted(nil,
			QueryStarted{StreamID: id, Query: "q", TotalKind: "unknown", Resumed: true}),
		`{"type":"query_batch","stream_id":"` + id + `","batch_number":3,"rows":[[1]],"has_more":true}`:  AppendQueryBatchEnd(append(AppendQueryBatchStart(nil, id, 3), `[1]`...), true),
		`{"type":"query_batch","stream_id":"` + id + `","batch_number":0,"rows":[[1]],"has_more":false}`: AppendQueryBatchEnd(append(AppendQueryBatchStart(nil, id, 0), `[1]`...), false),
		`{"type":"query_progress","stream_id":"` + id + `","rows_processed":10,"percentage":33.3,"throughput":1234567.9,"elapsed_ms":1000,` +
			`"eta_ms":1500,"bytes":99,"stalled_ms":1,"state":"paused"}`: AppendQueryProgress(nil, QueryProgress{
			StreamID: id, Rows: 10, Percentage: &percentage, Throughput: 1234567.89, Elapsed: time.Second, ETA: &eta, Bytes: 99,
			Stalled: 1999 * time.Microsecond, State: "paused",
		}),
		`{"type":"query_progress","stream_id":"` + id + `","rows_processed":0,"percentage":null,"throughput":0,"elapsed_ms":0,` +
			`"eta_ms":null,"bytes":0,"stalled_ms":0,"state":"streaming"}`: AppendQueryProgress(nil, QueryProgress{
			StreamID: id, Percentage: &nan, State: "streaming",
		}),
		`{"type":"query_completed","stream_id":"` + id + `","total_rows":5,"execution_time_ms":1000,"batches":2}`: AppendQueryCompleted(nil,
			QueryCompleted{StreamID: id, Rows: 5, Elapsed: time.Second, Batches: 2}),
		`{"type":"query_cancelled","stream_id":"` + id + `","reason":"client","rows_sent":4,"id":"x"}`: AppendQueryCancelled(nil, id, "client", 4, `"x"`),
		`{"type":"query_cancelled","stream_id":"` + id + `","reason":"operator","rows_sent":4}`:        AppendQueryCancelled(nil, id, "operator", 4, ""),
		`{"type":"query_status","stream_id":"` + id + `","query_id":"` + id + `","id":1,"status":"streaming","progress":33.3,"rows_sent":5,` +
			`"batches_sent":1,"elapsed_ms":1500}`: AppendQueryStatus(nil, QueryStatus{
			StreamID: id, ID: "1", Status: "streaming", Progress: &percentage, Rows: 5, Batches: 1, Elapsed: eta,
		}),
	} {
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if !json.Valid(got) {
			t.Errorf("not JSON: %s", got)
		}
	}
}
