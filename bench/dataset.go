package main

import (
	"fmt"
	"strconv"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// The rows of the cases of query streams are the same wherever they come from: five columns, and ids that count from 1, by which a
// client sees that none is missing.
const (
	batchRows = 100
	sensor    = "kitchen/temperature"
	status    = "calibrated"
	readAt    = "2026-01-31T22:30:00Z"
	columns   = "id, sensor, value, status, at"
)

var columnNames = []string{"id", "sensor", "value", "status", "at"}

func valueOf(id int64) float64 { return float64(id) / 8 }

// appendRow appends a row as JSON.
func appendRow(dst []byte, id int64) []byte {
	dst = strconv.AppendInt(append(dst, `{"id":`...), id, 10)
	dst = append(dst, `,"sensor":"`+sensor+`","value":`...)
	dst = stream.AppendFloat(dst, valueOf(id), 64)
	return append(dst, `,"status":"`+status+`","at":"`+readAt+`"}`...)
}

// appendBatches appends all frames of a stream of n rows, already encoded.
func appendBatches(dst []byte, streamID string, n int64) []byte {
	var msg []byte
	for number := range batches(n) {
		msg = protocol.AppendQueryBatchStart(msg[:0], streamID, number)
		last := min(n, (number+1)*batchRows)
		for id := number*batchRows + 1; id <= last; id++ {
			if msg = appendRow(msg, id); id < last {
				msg = append(msg, ',')
			}
		}
		dst = appendFrame(dst, opText, protocol.AppendQueryBatchEnd(msg, last < n), false)
	}
	return dst
}

// batches is how many batches n rows make.
func batches(n int64) int64 { return (n + batchRows - 1) / batchRows }

const (
	sqliteTable = `
create table readings (id integer primary key, sensor text not null, value real not null, status text not null, at text not null);
insert into readings
	with recursive c(i) as (select 1 union all select i + 1 from c limit %d)
	select i, '` + sensor + `', i / 8.0, '` + status + `', '` + readAt + `' from c`

	// Without a plain scan's freedom to begin where another one is.
	postgresTable = `
alter database postgres set synchronize_seqscans = off;
create table readings (
	id integer primary key, sensor text not null, value double precision not null, status text not null, at timestamptz not null);
insert into readings
	select i, '` + sensor + `', i / 8.0, '` + status + `', '` + readAt + `' from generate_series(1, %d) i`
)

// ndjsonBody is n rows one behind the other, envelopeBody the same as NeuroQuantumDB answers them.

func ndjsonBody(n int64) []byte {
	var body []byte
	for id := int64(1); id <= n; id++ {
		body = append(appendRow(body, id), '\n')
	}
	return body
}

func envelopeBody(n int64) []byte {
	body := []byte(`{"success":true,"data":{"success":true,"rows_affected":0,"rows":[`)
	for id := int64(1); id <= n; id++ {
		if id > 1 {
			body = append(body, ',')
		}
		body = appendRow(body, id)
	}
	body = append(body, `],"columns":[`...)
	for i, name := range columnNames {
		if i > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, "%q", name)
	}
	return append(body, `],"error":null,"execution_time_ms":1.2},"error":null,"metadata":{"response_time_ms":1.3,"request_id":"x"}}`...)
}
