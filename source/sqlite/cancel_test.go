package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Counting to 1e9 takes minutes, so that only an interrupt can end these in the time that a test has.
const (
	counting       = "(with recursive c(i) as (select 1 union all select i+1 from c limit 1000000000) select count(*) from c)"
	longBeforeRow  = "select " + counting
	longAfterRow   = "select 1 union all select " + counting
	longToCount    = "with recursive c(i) as (select 1 union all select i+1 from c limit 1000000000) select i from c"
	soonEnoughToBe = 150 * time.Millisecond // in the middle of the count
)

// within fails the test where f takes longer than anyone would wait.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	wait.For(t, "the database to stop", done)
}

func TestCancelStopsTheDatabase(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings), MaxConnections: 1})
	for name, test := range map[string]struct {
		query string
		rows  int
		total stream.TotalMode
	}{
		"before the first row": {longBeforeRow, 0, stream.TotalNone},
		"between rows":         {longAfterRow, 1, stream.TotalNone},
		"in a transaction":     {longAfterRow, 1, stream.TotalEstimate},
	} {
		t.Run(name, func(t *testing.T) {
			st := mustPrepare(t, s, test.query)
			st.budget = 0
			ctx, cancel := context.WithTimeout(context.Background(), soonEnoughToBe)
			defer cancel()
			within(t, func() {
				r, err := st.Query(ctx, stream.Run{Total: test.total})
				if err != nil {
					t.Error(err)
					return
				}
				n := 0
				for r.Next() {
					n++
				}
				if n != test.rows || !errors.Is(r.Err(), context.DeadlineExceeded) {
					t.Errorf("%d rows, %v", n, r.Err())
				}
				if r.Next() {
					t.Error("a row after the end")
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			})
			// The connection is whole: the only one there is runs the next query.
			if got := drain(t, mustQuery(t, mustPrepare(t, s, "select count(*) from readings"), stream.TotalExact)); got[0] != "3" {
				t.Errorf("got %s", got)
			}
		})
	}
	t.Run("while it counts", func(t *testing.T) {
		st := mustPrepare(t, s, longToCount)
		ctx, cancel := context.WithTimeout(context.Background(), soonEnoughToBe)
		defer cancel()
		within(t, func() {
			if r, err := st.Query(ctx, stream.Run{Total: stream.TotalExact}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, %v", r, err)
			}
		})
	})
	t.Run("from elsewhere, at any moment", func(t *testing.T) {
		st := mustPrepare(t, s, longBeforeRow)
		for range 50 {
			ctx, cancel := context.WithCancel(context.Background())
			within(t, func() {
				r, err := st.Query(ctx, stream.Run{})
				if err != nil {
					t.Error(err)
					return
				}
				go cancel()
				if r.Next() || !errors.Is(r.Err(), context.Canceled) {
					t.Errorf("got %v", r.Err())
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			})
			cancel()
		}
	})
}

// An estimate that takes too long is given up; the query then runs as usual.
func TestEstimateGivesUp(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings)})
	st := mustPrepare(t, s, longToCount)
	within(t, func() {
		r, err := st.Query(context.Background(), stream.Run{Total: stream.TotalEstimate})
		if err != nil {
			t.Error(err)
			return
		}
		if _, kind := r.Total(); kind != stream.KindUnknown || !r.Next() || r.Err() != nil {
			t.Errorf("total %s, %v", kind, r.Err())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestConnectionsAreShared(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings), MaxConnections: 1})
	st := mustPrepare(t, s, "select id from readings")
	first := mustQuery(t, st, stream.TotalNone)
	ctx, cancel := context.WithCancel(context.Background())
	waiting := make(chan error)
	go func() {
		_, err := st.Query(ctx, stream.Run{})
		waiting <- err
	}()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	go func() {
		r, err := st.Query(context.Background(), stream.Run{})
		waiting <- err
		if err == nil {
			waiting <- r.Close()
		}
	}()
	drain(t, first)
	if err := errors.Join(<-waiting, <-waiting); err != nil {
		t.Error(err)
	}
}

// A configuration is replaced while a query runs: the query goes on to its end, and then its connection is closed.
func TestRowsOutliveCleanup(t *testing.T) {
	s := &Source{Path: database(t, readings)}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	st := mustPrepare(t, s, "select id from readings order by id")
	r := mustQuery(t, st, stream.TotalNone)
	if !r.Next() {
		t.Fatal(r.Err())
	}
	if err := s.Cleanup(); err != nil {
		t.Fatal(err)
	}
	c := r.(*rows).conn
	if got := drain(t, r); len(got) != 2 || got[1] != "3" {
		t.Errorf("got %v", got)
	}
	if c.db != 0 || len(s.pool.idle) != 0 || len(s.pool.free) != 0 {
		t.Error("the connection is not closed")
	}
	// A request that found the old configuration just before still gets its answer.
	if got := drain(t, mustQuery(t, st, stream.TotalExact)); len(got) != 3 || len(s.pool.idle) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestLockedDatabase(t *testing.T) {
	path := database(t, readings)
	s := provision(t, &Source{Path: path})
	st := mustPrepare(t, s, "select id from readings")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	lock := func(statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	lock("begin exclusive")
	ctx, cancel := context.WithTimeout(context.Background(), soonEnoughToBe)
	defer cancel()
	for _, total := range []stream.TotalMode{stream.TotalNone, stream.TotalExact} {
		within(t, func() {
			r, err := st.Query(ctx, stream.Run{Total: total})
			if err == nil {
				if r.Next() {
					t.Error("a row of a locked database")
				}
				err = r.Err()
				r.Close()
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
	done := make(chan []string)
	go func() { done <- drain(t, mustQuery(t, st, stream.TotalExact)) }()
	lock("rollback")
	if got := <-done; len(got) != 3 {
		t.Errorf("got %v", got)
	}

	impatient := provision(t, &Source{Path: path, BusyTimeout: caddy.Duration(time.Millisecond)})
	st = mustPrepare(t, impatient, "select id from readings")
	lock("begin exclusive")
	defer lock("rollback")
	r, err := st.Query(context.Background(), stream.Run{})
	if err == nil {
		r.Next()
		err = r.Err()
		r.Close()
	}
	var failed *errorDB
	if !errors.As(err, &failed) || failed.code&0xff != 5 {
		t.Errorf("got %v, want SQLITE_BUSY", err)
	}
}

// What another connection does to a table counts from the next query on, its columns included.
func TestSchemaChanges(t *testing.T) {
	path := database(t, readings)
	s := provision(t, &Source{Path: path})
	st := mustPrepare(t, s, "select * from readings")
	drain(t, mustQuery(t, st, stream.TotalNone))
	execute(t, path, "alter table readings add column more text; alter table readings rename column sensor to place")
	r := mustQuery(t, st, stream.TotalNone)
	if c := r.Columns(); len(c) != 6 || c[1].Name != "place" {
		t.Errorf("got columns %+v", c)
	}
	drain(t, r)
	execute(t, path, "drop view warm; drop table readings")
	if _, err := st.Query(context.Background(), stream.Run{}); err == nil {
		t.Error("a query on a table that is gone")
	}
}
