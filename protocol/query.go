package protocol

import (
	"math"
	"strconv"
	"time"
)

// QueryColumn is a column as query_started tells it.
type QueryColumn struct {
	Name string
	Type string // the database's name for it, lower case; empty where it is not known
}

// QueryStarted is the first message of a query stream.
type QueryStarted struct {
	StreamID  string // a UUID
	Query     string // the query's name as the client gave it
	ID        ID     // of the request
	Columns   []QueryColumn
	Rows      *int64 // the number of rows to come as far as it is known; nil where it is not
	TotalKind string // exact, estimate or unknown
	Resumed   bool   // a live query that goes on where it was left; left out where false
}

// AppendQueryStarted appends `query_started`.
func AppendQueryStarted(dst []byte, q QueryStarted) []byte {
	dst = appendText(begin(dst, "query_started"), "stream_id", q.StreamID)
	dst = appendText(dst, "query", q.Query)
	dst = appendID(dst, q.ID)
	dst = append(appendName(dst, "columns"), '[')
	for i, c := range q.Columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(append(dst, `{"name":`...), c.Name)
		dst = append(appendText(dst, "type", c.Type), '}')
	}
	dst = append(dst, ']')
	dst = appendIntOrNull(dst, "estimated_rows", q.Rows)
	dst = appendText(dst, "total_kind", q.TotalKind)
	if q.Resumed {
		dst = appendBool(dst, "resumed", true)
	}
	return append(dst, '}')
}

// AppendQueryBatchStart appends the beginning of `query_batch`: the rows follow, each one JSON value, with commas between, and
// then AppendQueryBatchEnd. streamID must need no quoting, as a UUID does not. number counts from 0.
func AppendQueryBatchStart(dst []byte, streamID string, number int64) []byte {
	dst = append(dst, `{"type":"query_batch","stream_id":"`...)
	dst = append(dst, streamID...)
	dst = append(dst, `","batch_number":`...)
	dst = strconv.AppendInt(dst, number, 10)
	return append(dst, `,"rows":[`...)
}

// AppendQueryBatchEnd appends the end of `query_batch`. hasMore is false on a stream's last batch and on no other.
func AppendQueryBatchEnd(dst []byte, hasMore bool) []byte {
	if hasMore {
		return append(dst, `],"has_more":true}`...)
	}
	return append(dst, `],"has_more":false}`...)
}

// QueryProgress tells how far a query stream is.
type QueryProgress struct {
	StreamID   string
	Rows       int64         // taken from the database so far
	Percentage *float64      // 0 to 100; nil where the total is not known
	Throughput float64       // rows per second
	Elapsed    time.Duration // since the request
	ETA        *time.Duration
	Bytes      int64         // of JSON sent in batches
	Stalled    time.Duration // how long, of Elapsed, the stream waited for its client
	State      string        // streaming, throttled or paused
}

// AppendQueryProgress appends `query_progress`. Percentage and throughput have at most one decimal.
func AppendQueryProgress(dst []byte, p QueryProgress) []byte {
	dst = appendText(begin(dst, "query_progress"), "stream_id", p.StreamID)
	dst = appendInt(dst, "rows_processed", p.Rows)
	dst = appendTenthsOrNull(dst, "percentage", p.Percentage)
	dst = appendTenthsOrNull(dst, "throughput", &p.Throughput)
	dst = appendInt(dst, "elapsed_ms", p.Elapsed.Milliseconds())
	var eta *int64
	if p.ETA != nil {
		ms := p.ETA.Milliseconds()
		eta = &ms
	}
	dst = appendIntOrNull(dst, "eta_ms", eta)
	dst = appendInt(dst, "bytes", p.Bytes)
	dst = appendInt(dst, "stalled_ms", p.Stalled.Milliseconds())
	return append(appendText(dst, "state", p.State), '}')
}

// QueryCompleted is the ending of a query stream that has sent all its rows.
type QueryCompleted struct {
	StreamID string
	Rows     int64
	Elapsed  time.Duration // since the request
	Batches  int64
}

// AppendQueryCompleted appends `query_completed`.
func AppendQueryCompleted(dst []byte, q QueryCompleted) []byte {
	dst = appendText(begin(dst, "query_completed"), "stream_id", q.StreamID)
	dst = appendInt(dst, "total_rows", q.Rows)
	dst = appendInt(dst, "execution_time_ms", q.Elapsed.Milliseconds())
	return append(appendInt(dst, "batches", q.Batches), '}')
}

// AppendQueryCancelled appends `query_cancelled`. id is that of the request to cancel, empty where there was none.
func AppendQueryCancelled(dst []byte, streamID, reason string, rowsSent int64, id ID) []byte {
	dst = appendText(begin(dst, "query_cancelled"), "stream_id", streamID)
	dst = appendText(dst, "reason", reason)
	dst = appendInt(dst, "rows_sent", rowsSent)
	return append(appendID(dst, id), '}')
}

// QueryStatus is the answer to `query_status`.
type QueryStatus struct {
	StreamID string
	ID       ID       // of the request
	Status   string   // initializing, streaming, paused, completed, cancelled or failed
	Progress *float64 // 0 to 100; nil where the total is not known
	Rows     int64
	Batches  int64
	Elapsed  time.Duration // since the request, up to the ending
}

// AppendQueryStatus appends `query_status`, with the stream's id also under its old name query_id.
func AppendQueryStatus(dst []byte, q QueryStatus) []byte {
	dst = appendText(begin(dst, "query_status"), "stream_id", q.StreamID)
	dst = appendText(dst, "query_id", q.StreamID)
	dst = appendID(dst, q.ID)
	dst = appendText(dst, "status", q.Status)
	dst = appendTenthsOrNull(dst, "progress", q.Progress)
	dst = appendInt(dst, "rows_sent", q.Rows)
	dst = appendInt(dst, "batches_sent", q.Batches)
	return append(appendInt(dst, "elapsed_ms", q.Elapsed.Milliseconds()), '}')
}

func appendIntOrNull(dst []byte, name string, value *int64) []byte {
	if value == nil {
		return append(appendName(dst, name), "null"...)
	}
	return appendInt(dst, name, *value)
}

// appendTenthsOrNull appends a number with at most one decimal; null also for what JSON has no number for.
func appendTenthsOrNull(dst []byte, name string, value *float64) []byte {
	dst = appendName(dst, name)
	if value == nil || math.IsNaN(*value) || math.IsInf(*value, 0) {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, math.Round(*value*10)/10, 'f', -1, 64)
}
