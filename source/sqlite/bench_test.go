package sqlite

import (
	"context"
	"fmt"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

type discard struct{ ended chan struct{} }

func (d discard) Send(_ context.Context, _ *flow.Share, msg []byte) error {
	switch string(msg[:len(`{"type":"query_co`)]) {
	case `{"type":"query_co`, `{"type":"query_ca`:
		d.ended <- struct{}{}
	}
	return nil
}

func (discard) Fill() float64 { return 0 }

const wideTable = `
create table readings (id integer primary key, sensor text, value real, ok boolean, at text);
insert into readings
	with recursive c(i) as (select 1 union all select i+1 from c limit %d)
	select i, 'kitchen/temperature', i / 8.0, i %% 2, '2026-01-31T22:30:00Z' from c;`

// The whole way from the file to messages, batches of 100 rows of five columns.
func BenchmarkStream(b *testing.B) {
	const rows = 200_000
	s := provision(b, &Source{Path: database(b, fmt.Sprintf(wideTable, rows))})
	st := mustPrepare(b, s, "select id, sensor, value, ok, at from readings")
	sender := discard{make(chan struct{}, 1)}
	group := stream.NewRegistry(nil).NewGroup(stream.Owner{}, sender)
	b.Cleanup(group.Close)
	b.ReportAllocs()
	for b.Loop() {
		if err := group.Start(stream.Request{Query: &stream.Query{Name: "q", Statement: st}}); err != nil {
			b.Fatal(err)
		}
		<-sender.ended
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// One short query, all told.
func BenchmarkQuery(b *testing.B) {
	s := provision(b, &Source{Path: database(b, fmt.Sprintf(wideTable, 100))})
	st := mustPrepare(b, s, "select * from readings where id = @id", stream.Param{Name: "id", Type: stream.TypeInteger})
	b.ReportAllocs()
	for b.Loop() {
		r, err := st.Query(context.Background(), stream.Run{Args: []stream.Value{integer(5)}})
		if err != nil {
			b.Fatal(err)
		}
		for r.Next() {
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// Rows cost no memory of their own.
func TestRowsDoNotAllocate(t *testing.T) {
	s := provision(t, &Source{Path: database(t, fmt.Sprintf(wideTable, 10_000))})
	st := mustPrepare(t, s, "select id, sensor, value, ok, at from readings limit @n", stream.Param{Name: "n", Type: stream.TypeInteger})
	buf := make([]byte, 0, 1<<10)
	allocs := func(rows int64) float64 {
		return testing.AllocsPerRun(5, func() {
			r := mustQuery(t, st, stream.TotalNone, integer(rows))
			for r.Next() {
				for i := range r.Columns() {
					buf = r.AppendValue(buf[:0], i)
				}
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocs(100), allocs(10_000); many-few > 50 {
		t.Errorf("%v allocations for 100 rows, %v for 10,000", few, many)
	}
}
