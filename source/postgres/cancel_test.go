package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

const (
	// These take minutes, so that only a cancel can end them in the time that a test has.
	longBeforeRow = "select pg_sleep(600)::text"
	longAfterRow  = "select i, case when i = 3 then pg_sleep(600) end::text from generate_series(1, 5) i"
	endless       = "select generate_series(1, 2000000000), repeat('x', 1000)"
)

// named gives the source a name of its own in pg_stat_activity.
func named(t *testing.T) (dsn, name string) {
	name = strings.NewReplacer("/", "_", " ", "_").Replace(t.Name())
	name = name[:min(len(name), 60)]
	return server.DSN() + " application_name=" + name, name
}

// await asks the database again and again until the state of the connections is as wanted.
func await(t *testing.T, name string, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var got []string
		for _, row := range execute(t, "select state, coalesce(wait_event, '') from pg_stat_activity where application_name = '"+name+"' order by 1") {
			state := row[0]
			if row[1] == "ClientWrite" {
				state = "blocked"
			}
			got = append(got, state)
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the connections are %v, want %v", got, want)
		}
	}
}

func TestCancelStopsTheDatabase(t *testing.T) {
	for name, test := range map[string]struct {
		query string
		rows  int
		fetch int
		total stream.TotalMode
	}{
		"before the first row": {longBeforeRow, 0, 0, stream.TotalNone},
		"between rows":         {longAfterRow, 2, 0, stream.TotalNone},
		"in a cursor":          {longAfterRow, 2, 1, stream.TotalNone},
		"with an estimate":     {longAfterRow, 2, 0, stream.TotalEstimate},
	} {
		t.Run(name, func(t *testing.T) {
			dsn, app := named(t)
			s := provision(t, &Source{DSN: dsn, MaxConnections: 1, FetchCursor: test.fetch})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			r, err := mustPrepare(t, s, test.query).Query(ctx, stream.Run{Total: test.total})
			if err != nil {
				t.Fatal(err)
			}
			pid := s.lent(t, r)
			ended := make(chan error, 1)
			go func() {
				// PostgreSQL sends small rows when it has many, or no more: these come with the end.
				for r.Next() {
				}
				ended <- r.Err()
			}()
			await(t, app, "active")
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if r.Next() {
				t.Error("a row after the end")
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			await(t, app, "idle")
			r = mustQuery(t, mustPrepare(t, s, "select pg_backend_pid()"), stream.Run{})
			if got := drain(t, r); got[0] != fmt.Sprint(pid) {
				t.Errorf("the connection was not kept: %s, was %d", got, pid)
			}
		})
	}
	t.Run("while it counts", func(t *testing.T) {
		dsn, app := named(t)
		s := provision(t, &Source{DSN: dsn, MaxConnections: 1})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		st := mustPrepare(t, s, endless)
		ended := make(chan error, 1)
		go func() {
			_, err := st.Query(ctx, stream.Run{Total: stream.TotalExact})
			ended <- err
		}()
		await(t, app, "active")
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		await(t, app, "idle")
	})
}

// lent is the process of the database that serves r.
func (s *Source) lent(t *testing.T, r stream.Rows) uint32 {
	t.Helper()
	return r.(*rows).tx.conn.PID()
}

// From elsewhere, at any moment: the connection always works for the next.
func TestCancelAtAnyMoment(t *testing.T) {
	s := provision(t, &Source{MaxConnections: 1})
	st, one := mustPrepare(t, s, endless), mustPrepare(t, s, "select 1")
	for i := range 100 {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			defer cancel()
			for range i * 1000 {
			}
		}()
		r, err := st.Query(ctx, stream.Run{})
		if err == nil {
			for r.Next() {
			}
			err = r.Err()
			if closed := r.Close(); closed != nil {
				t.Fatal(closed)
			}
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if got := drain(t, mustQuery(t, one, stream.Run{})); got[0] != "1" {
			t.Fatal(got)
		}
	}
}

// A reader who stops also stops the database, and closing frees it at once.
func TestBackPressure(t *testing.T) {
	dsn, app := named(t)
	s := provision(t, &Source{DSN: dsn, MaxConnections: 1})
	r := mustQuery(t, mustPrepare(t, s, endless), stream.Run{})
	for range 10 {
		if !r.Next() {
			t.Fatal(r.Err())
		}
	}
	pid := s.lent(t, r)
	await(t, app, "blocked")
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	await(t, app, "idle")
	r = mustQuery(t, mustPrepare(t, s, "select pg_backend_pid()"), stream.Run{})
	if got := drain(t, r); got[0] != fmt.Sprint(pid) {
		t.Errorf("the connection was not kept: %s, was %d", got, pid)
	}
}

// A connection that is lost is never the end of the rows.
func TestLostConnection(t *testing.T) {
	for _, fetch := range []int{0, 10} {
		dsn, app := named(t)
		s := provision(t, &Source{DSN: dsn, MaxConnections: 1, FetchCursor: fetch})
		st := mustPrepare(t, s, endless)
		r := mustQuery(t, st, stream.Run{})
		if !r.Next() {
			t.Fatal(r.Err())
		}
		execute(t, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = '"+app+"'")
		for r.Next() {
		}
		if err := r.Err(); err == nil || !strings.Contains(err.Error(), "PostgreSQL, ") {
			t.Errorf("got %v", err)
		}
		_ = r.Close()
		// While nobody looks: the next query does not notice.
		for range 2 {
			drain(t, mustQuery(t, mustPrepare(t, s, "select 1"), stream.Run{}))
			execute(t, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = '"+app+"'")
			await(t, app)
		}
		drain(t, mustQuery(t, mustPrepare(t, s, "select 1"), stream.Run{}))
	}
}

func TestErrorsMidway(t *testing.T) {
	s := provision(t, &Source{MaxConnections: 1})
	st := mustPrepare(t, s, "select 1 / (3 - i) from generate_series(1, 5) i")
	got, err := read(mustQuery(t, st, stream.Run{}))
	var pg *pgconn.PgError
	if len(got) != 2 || !errors.As(err, &pg) || pg.Code != "22012" || !strings.Contains(err.Error(), "PostgreSQL, data: ") {
		t.Errorf("got %v, %v", got, err)
	}
	if _, told := protocol.AsError(err); told {
		t.Error("the client would be told")
	}
	drain(t, mustQuery(t, mustPrepare(t, s, "select 1"), stream.Run{}))
}

func TestFirstRowTimeout(t *testing.T) {
	s := provision(t, &Source{FirstRowTimeout: caddy.Duration(20 * time.Millisecond), MaxConnections: 1})
	r, err := mustPrepare(t, s, longBeforeRow).Query(context.Background(), stream.Run{})
	if err == nil { // a slow machine may be late before
		_, err = read(r)
	}
	if told, ok := protocol.AsError(err); !ok || told.Code != protocol.QueryTimeout {
		t.Errorf("got %v", err)
	}
	if _, err := mustPrepare(t, s, endless).Query(context.Background(), stream.Run{Total: stream.TotalExact}); err == nil {
		t.Error("counting takes no time")
	} else if told, ok := protocol.AsError(err); !ok || told.Code != protocol.QueryTimeout {
		t.Errorf("got %v", err)
	}
}

func TestConnectionsAreShared(t *testing.T) {
	dsn, app := named(t)
	s := provision(t, &Source{DSN: dsn, MaxConnections: 2})
	st := mustPrepare(t, s, endless)
	first, second := mustQuery(t, st, stream.Run{}), mustQuery(t, st, stream.Run{})
	await(t, app, "idle in transaction", "idle in transaction")
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
	s.AcquireTimeout = caddy.Duration(time.Millisecond)
	_, err := st.Query(context.Background(), stream.Run{})
	if told, ok := protocol.AsError(err); !ok || told.Code != protocol.LimitExceeded {
		t.Errorf("got %v", err)
	}
	s.AcquireTimeout = caddy.Duration(wait.Limit)
	go func() {
		r, err := st.Query(context.Background(), stream.Run{})
		if err == nil {
			err = r.Close()
		}
		waiting <- err
	}()
	if err := errors.Join(first.Close(), <-waiting, second.Close()); err != nil {
		t.Error(err)
	}
	await(t, app, "idle", "idle")
}

// A configuration is replaced while a query runs: the query goes on to its end, and then its connection is closed.
func TestRowsOutliveCleanup(t *testing.T) {
	dsn, app := named(t)
	s := &Source{DSN: dsn}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	st := mustPrepare(t, s, "select id from readings order by id")
	r := mustQuery(t, st, stream.Run{})
	if !r.Next() {
		t.Fatal(r.Err())
	}
	if err := s.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, r); len(got) != 4 || got[3] != "5" {
		t.Errorf("got %v", got)
	}
	await(t, app)
	// A request that found the old configuration just before still gets its answer.
	if got := drain(t, mustQuery(t, st, stream.Run{})); len(got) != 5 {
		t.Errorf("got %v", got)
	}
	await(t, app)
}
