package neuroquantumws_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/pgtest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// postgres is a PostgreSQL with a table whose rows belong to users.
func postgres(t testing.TB) *pgtest.Server {
	t.Helper()
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	superuser(t, server, `
		create role web nologin;
		create role edge login;
		grant web to edge;
		create table orders (id bigint primary key, owner text, total numeric, tags text[], at timestamptz);
		insert into orders select i, case when i % 2 = 0 then 'ann' else 'bob' end, i / 4.0, array['a', null],
			timestamptz '2026-01-31 22:30:00Z' from generate_series(1, 1000) i;
		alter table orders enable row level security;
		create policy own on orders using (owner = current_setting('nq.user'));
		grant select on orders to web;`)
	return server
}

func superuser(t testing.TB, server *pgtest.Server, script string) [][]string {
	t.Helper()
	rows, err := server.Exec(context.Background(), script)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// activity waits until so many of the site's connections are in a state.
func activity(t testing.TB, server *pgtest.Server, state string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		got := superuser(t, server, "select count(*) from pg_stat_activity where application_name = 'neuroquantum_ws' and state = '"+state+"'")[0][0]
		if got == fmt.Sprint(want) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s connections are %s, want %d", got, state, want)
		}
	}
}

func TestPostgres(t *testing.T) {
	server := postgres(t)
	t.Setenv("NQ_TEST_DSN", strings.Replace(server.DSN(), "user=postgres", "user=edge", 1))
	s := serve(t, `user {http.request.header.X-User}
		source main postgres {
			dsn {env.NQ_TEST_DSN}
			role web
			set nq.user {user}
		}
		query orders {
			source main
			sql "select id, total, tags, at from orders where id > @after order by id"
			param after integer
			total exact
			int64 string
			allow authenticated
		}
		query endless {
			source main
			sql "select generate_series(1, 2000000000), repeat('x', 1000)"
			allow anyone
		}
		query slow {
			source main
			sql "select pg_sleep(600)::text"
			allow anyone
		}
		query broken {
			source main
			sql "select 1 / (i - 500) from generate_series(1, 1000) i"
			allow anyone
		}`)
	dial := func(user string) *wstest.Client {
		return wstest.Dial(t, s.url(), wstest.Options{Header: http.Header{"X-User": {user}}})
	}
	for user, first := range map[string]int{"ann": 2, "bob": 1} {
		var want []string
		for i := first; i <= 1000; i += 2 {
			if i > 100 {
				want = append(want, fmt.Sprintf(`["%d","%.16f",["a",null],"2026-01-31T22:30:00Z"]`, i, float64(i)/4))
			}
		}
		c := dial(user)
		started := start(c, M{"query": "orders", "params": M{"after": 100}, "format": "arrays"})
		if started.Int("estimated_rows") != 450 || started.Text("total_kind") != "exact" {
			t.Errorf("got %v", started)
		}
		follow(c, started, nil).completed(t, want)
		c.Refused("INVALID_PARAMS", M{"type": "stream_query", "query": "orders", "params": M{"after": "1 or true"}})
		c.Close()
	}
	stranger := dial("' or owner <> '")
	follow(stranger, start(stranger, M{"query": "orders", "params": M{"after": 0}}), nil).completed(t, nil)

	t.Run("cancel", func(t *testing.T) {
		for _, request := range []M{{"query": "slow"}, {"query": "endless"}, {"query": "endless", "credits": 1}} {
			c := dial("ann")
			started := start(c, request)
			activity(t, server, "active", 1)
			c.Send(M{"type": "cancel_query", "stream_id": started.Text("stream_id")})
			if o := follow(c, started, nil); o.end.Type() != "query_cancelled" {
				t.Errorf("got %v", o.end)
			}
			activity(t, server, "active", 0)
			activity(t, server, "idle in transaction", 0)
			c.Close()
		}
	})
	t.Run("a client that is gone", func(t *testing.T) {
		c := dial("ann")
		start(c, M{"query": "endless"})
		activity(t, server, "active", 1)
		c.Cut()
		activity(t, server, "active", 0)
	})
	t.Run("a database that is gone", func(t *testing.T) {
		c := dial("ann")
		started := start(c, M{"query": "endless", "credits": 1})
		activity(t, server, "active", 1)
		superuser(t, server, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'neuroquantum_ws' and state = 'active'")
		c.Send(M{"type": "credit", "stream_id": started.Text("stream_id"), "batches": 1 << 30})
		if o := follow(c, started, nil); o.end.Text("code") != "QUERY_FAILED" {
			t.Errorf("got %v", o.end)
		}
		o := follow(c, start(c, M{"query": "broken"}), nil)
		if message := o.end.Text("message"); o.end.Text("code") != "QUERY_FAILED" || strings.Contains(message, "zero") {
			t.Errorf("got %v", o.end)
		}
	})
}
