package stream

import (
	"context"
	"strconv"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
)

// discard is a Sender that takes everything at once.
type discard struct{ ended chan struct{} }

func (d discard) Send(_ context.Context, _ *flow.Share, msg []byte) error {
	if string(msg[:len(`{"type":"query_c`)]) == `{"type":"query_c` {
		d.ended <- struct{}{}
	}
	return nil
}

func (discard) Fill() float64 { return 0 }

var fiveColumns = []Column{{Name: "id"}, {Name: "sensor"}, {Name: "value"}, {Name: "ok"}, {Name: "at"}}

func fiveValues(dst []byte, row, i int) []byte {
	switch i {
	case 0:
		return strconv.AppendInt(dst, int64(row), 10)
	case 1:
		return AppendText(dst, "kitchen/temperature")
	case 2:
		return AppendFloat(dst, 21.5, 64)
	case 3:
		return append(dst, "true"...)
	default:
		return AppendText(dst, "2026-01-31T22:30:00Z")
	}
}

func runToEnd(tb testing.TB, group *Group, sender discard, rows int, format string) {
	result := &memory{rows: rows, columns: fiveColumns, value: fiveValues}
	start(tb, group, Request{Query: &Query{Name: "q", Statement: result}, Format: format})
	<-sender.ended
}

func BenchmarkStream(b *testing.B) {
	for _, format := range []string{FormatObjects, FormatArrays} {
		b.Run(format, func(b *testing.B) {
			sender := discard{make(chan struct{}, 1)}
			group := newGroup(b, sender)
			b.ReportAllocs()
			runToEnd(b, group, sender, b.N, format)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkAppendText(b *testing.B) {
	for _, text := range []string{"kitchen/temperature", "Küche/Temperatur", `quoted "text"`} {
		b.Run(text, func(b *testing.B) {
			var buf []byte
			for b.Loop() {
				buf = AppendText(buf[:0], text)
			}
		})
	}
}

// Rows and batches cost no memory of their own.
func TestRowsDoNotAllocate(t *testing.T) {
	sender := discard{make(chan struct{}, 1)}
	group := newGroup(t, sender)
	allocs := func(rows int) float64 {
		return testing.AllocsPerRun(10, func() { runToEnd(t, group, sender, rows, FormatObjects) })
	}
	few, many := allocs(1000), allocs(51_000)
	// 500 more batches: what else runs in the process may allocate a little.
	if many-few > 25 {
		t.Errorf("%v allocations for 1,000 rows, %v for 51,000", few, many)
	}
}
