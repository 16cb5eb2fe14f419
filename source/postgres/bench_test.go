package postgres

import (
	"context"
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
create table if not exists wide (id bigint primary key, sensor text, value float8, ok boolean, at timestamptz);
truncate wide;
insert into wide select i, 'kitchen/temperature', i / 8.0, i % 2 = 0, timestamptz '2026-01-31 22:30:00Z' + i * interval '1 second'
	from generate_series(1, 500000) i;
vacuum analyze wide`

const wideQuery = "select id, sensor, value, ok, at from wide limit @n"

func wide(tb testing.TB, s *Source) *statement {
	tb.Helper()
	for _, one := range []string{wideTable[:len(wideTable)-len("vacuum analyze wide")], "vacuum analyze wide"} {
		execute(tb, one)
	}
	return mustPrepare(tb, provision(tb, s), wideQuery, param("n", stream.TypeInteger))
}

// The whole way from the database to messages, batches of 100 rows of five columns.
func BenchmarkStream(b *testing.B) {
	const rows = 500_000
	st := wide(b, &Source{})
	sender := discard{make(chan struct{}, 1)}
	group := stream.NewRegistry(nil).NewGroup(stream.Owner{}, sender)
	b.Cleanup(group.Close)
	query := &stream.Query{Name: "q", Statement: st, Params: []stream.Param{param("n", stream.TypeInteger)}}
	b.ReportAllocs()
	for b.Loop() {
		if err := group.Start(stream.Request{Query: query, Params: []byte(`{"n":500000}`)}); err != nil {
			b.Fatal(err)
		}
		<-sender.ended
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// From the database's text to JSON, without the stream.
func BenchmarkRows(b *testing.B) {
	const rows = 500_000
	st := wide(b, &Source{})
	buf := make([]byte, 0, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		r := mustQuery(b, st, stream.Run{Args: []stream.Value{integer(rows)}})
		for r.Next() {
			buf = buf[:0]
			for i := range 5 {
				buf = r.AppendValue(buf, i)
			}
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// One short query, all told.
func BenchmarkQuery(b *testing.B) {
	st := mustPrepare(b, provision(b, &Source{}), "select * from readings where id = @id", param("id", stream.TypeInteger))
	b.ReportAllocs()
	for b.Loop() {
		r := mustQuery(b, st, stream.Run{Args: []stream.Value{integer(5)}})
		for r.Next() {
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// From a query at work, cancelled, to a connection that is ready for the next.
func BenchmarkCancel(b *testing.B) {
	s := provision(b, &Source{MaxConnections: 1})
	st := mustPrepare(b, s, endless)
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		r, err := st.Query(ctx, stream.Run{})
		if err != nil || !r.Next() {
			b.Fatal(err)
		}
		cancel()
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// Rows cost no memory of their own.
func TestRowsDoNotAllocate(t *testing.T) {
	execute(t, "drop table if exists flat; create table flat as select i as id, 'kitchen' as sensor, i / 8.0 as value, now() as at, array[i, null] as more from generate_series(1, 10000) i")
	st := mustPrepare(t, provision(t, &Source{}), "select * from flat limit @n", param("n", stream.TypeInteger))
	buf := make([]byte, 0, 1<<10)
	allocs := func(rows int64) float64 {
		return testing.AllocsPerRun(5, func() {
			r := mustQuery(t, st, stream.Run{Args: []stream.Value{integer(rows)}})
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
