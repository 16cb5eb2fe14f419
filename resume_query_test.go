package neuroquantumws_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// part takes a stream's messages until so many rows have come, or its ending.
func part(c *wstest.Client, rows []string, batches, until int) (all []string, behind int, end M) {
	t := c.T()
	t.Helper()
	for len(rows) < until {
		m := c.Next()
		switch m.Type() {
		case "query_progress":
		case "query_batch":
			if m.Int("batch_number") != batches {
				t.Fatalf("batch %d comes behind %d", m.Int("batch_number"), batches)
			}
			batches++
			for _, row := range m.List("rows") {
				rows = append(rows, asArray(t, row, places(row)))
			}
			c.Send(M{"type": "credit", "stream_id": m.Text("stream_id"), "batches": 1})
		default:
			return rows, batches, m
		}
	}
	return rows, batches, nil
}

// places are as many names as an array has values, for asArray.
func places(row any) []string { return make([]string, len(row.([]any))) }

// cutAndResume reads a query over many connections, each of which is cut or closed.
func cutAndResume(t *testing.T, dial func() *wstest.Client, request M, parts []int) (rows []string, end M) {
	t.Helper()
	batches, id := 0, ""
	for i, until := range append(parts, 1<<30) {
		c := dial()
		if id != "" {
			request["resume"] = M{"stream_id": id, "batch_number": batches - 1}
		}
		started := start(c, request)
		if started.Bool("resumed") != (id != "") || id != "" && started.Text("stream_id") != id {
			t.Fatalf("got %v", started)
		}
		id = started.Text("stream_id")
		if rows, batches, end = part(c, rows, batches, until); end != nil {
			return rows, end
		}
		if i%2 == 0 {
			c.Cut()
		} else {
			c.Close()
		}
	}
	return rows, end
}

func TestResumeQuery(t *testing.T) {
	s := serve(t, queries(t, "user {http.request.header.X-User}"))
	user := func(name string) *wstest.Client {
		return wstest.Dial(t, s.url(), wstest.Options{Header: http.Header{"X-User": {name}}})
	}
	want := expected(t, demoDB(t), allReadings)
	for _, request := range []M{
		{"query": "readings", "batch_size": 100, "credits": 4, "format": "arrays"},
		{"query": "readings", "batch_size": 1000, "format": "arrays"},
	} {
		rows, end := cutAndResume(t, func() *wstest.Client { return user("ann") }, request, []int{1, 1500, 5000, 5001, 11600, 11688})
		outcome{rows: rows, end: end}.completed(t, want)
		if end.Int("total_rows") != len(want) {
			t.Errorf("got %v", end)
		}
	}
	// A connection that the server still takes for alive; and without the query's name.
	old := user("ann")
	id := start(old, M{"query": "readings", "credits": 2, "format": "arrays"}).Text("stream_id")
	for _, name := range []string{"bob", ""} {
		stranger := user(name)
		stranger.Refused("INVALID_STREAM_ID", M{"type": "stream_query", "query": "readings", "resume": M{"stream_id": id, "batch_number": 0}})
		stranger.Refused("INVALID_STREAM_ID", M{"type": "stream_query", "resume": M{"stream_id": id}})
		stranger.Refused("CANCEL_FAILED", M{"type": "cancel_query", "stream_id": id})
	}
	c := user("ann")
	started := start(c, M{"resume": M{"stream_id": id, "batch_number": nil}})
	if started.Text("query") != "readings" || !started.Bool("resumed") {
		t.Errorf("got %v", started)
	}
	rows, _, end := part(c, nil, 0, 1<<30)
	outcome{rows: rows, end: end}.completed(t, want)
	if m := old.Until("query_cancelled"); m.Text("stream_id") != id {
		t.Errorf("got %v", m)
	}
}

// What no longer is allowed, or no longer exists, cannot be gone on with.
func TestResumeAfterAReload(t *testing.T) {
	s := serve(t, queries(t, "user {http.request.header.X-User}"))
	user := func() *wstest.Client {
		return wstest.Dial(t, s.url(), wstest.Options{Header: http.Header{"X-User": {"ann"}}})
	}
	c := user()
	id := start(c, M{"query": "readings", "credits": 2, "format": "arrays"}).Text("stream_id")
	rows, batches, _ := part(c, nil, 0, 500)
	c.Cut()
	with := func(allow string) string {
		return ws("user {http.request.header.X-User}\nsource demo sqlite " + demoDB(t) + `
			query readings {
				source demo
				sql "` + allReadings + `"
				` + allow + `
			}`)
	}
	s.reload(with("allow user:bob"))
	c = user()
	resume := M{"type": "stream_query", "resume": M{"stream_id": id, "batch_number": batches - 1}}
	c.Refused("FORBIDDEN", resume)
	s.reload(with("allow user:ann"))
	start(c, resume)
	rows, _, end := part(c, rows, batches, 1<<30)
	outcome{rows: rows, end: end}.completed(t, expected(t, demoDB(t), allReadings))
}

// The database is let go of at once, and is asked again when the client is back; what has changed meanwhile is told.
func TestResumeOnPostgres(t *testing.T) {
	server := postgres(t)
	superuser(t, server, "create table wide as select i, repeat('x', 500) as x from generate_series(1, 50000) i; alter table wide add primary key (i); grant select on wide to web")
	t.Setenv("NQ_TEST_DSN", strings.Replace(server.DSN(), "user=postgres", "user=edge", 1))
	s := serve(t, `user {http.request.header.X-User}
		source main postgres {
			dsn {env.NQ_TEST_DSN}
			role web
		}
		query wide {
			source main
			sql "select i, x from wide order by i"
			allow authenticated
		}`)
	dial := func() *wstest.Client {
		return wstest.Dial(t, s.url(), wstest.Options{Header: http.Header{"X-User": {"ann"}}})
	}
	request := M{"query": "wide", "credits": 3, "format": "arrays"}
	c := dial()
	id := start(c, request).Text("stream_id")
	rows, batches, _ := part(c, nil, 0, 20000)
	c.Cut()
	activity(t, server, "active", 0)
	activity(t, server, "idle in transaction", 0)
	superuser(t, server, "delete from wide where i > 40000; update wide set x = 'new' where i = 30000")
	resume := M{"query": "wide", "credits": 3, "resume": M{"stream_id": id, "batch_number": batches - 1}}
	c = dial()
	start(c, resume)
	rows, batches, _ = part(c, rows, batches, 25000)
	c.Cut()
	activity(t, server, "active", 0)
	resume["resume"] = M{"stream_id": id, "batch_number": batches - 1}
	superuser(t, server, "delete from wide where i = 7")
	c = dial()
	c.Send(M{"type": "stream_query", "query": "wide", "resume": resume["resume"], "id": "again"})
	if _, _, end := part(c, nil, batches, 1<<30); end.Type() == "query_started" {
		_, _, end = part(c, nil, batches, 1<<30)
		if end.Text("code") != "STREAM_ERROR" || end.Text("stream_id") != id {
			t.Errorf("got %v", end)
		}
	} else {
		t.Errorf("got %v", end)
	}
	for i, row := range rows {
		if !strings.HasPrefix(row, fmt.Sprintf("[%d,", i+1)) {
			t.Fatalf("row %d is %.20s", i, row)
		}
	}
}

func TestStreamsOfAUserAndInAll(t *testing.T) {
	s := serve(t, queries(t, "user {http.request.header.X-User}\nmax_streams_per_user 2\nmax_streams_total 3"))
	user := func(name string) *wstest.Client {
		return wstest.Dial(t, s.url(), wstest.Options{Header: http.Header{"X-User": {name}}})
	}
	ask := M{"type": "stream_query", "query": "slow"}
	a, b, stranger := user("ann"), user("ann"), user("")
	id := start(a, M{"query": "slow"}).Text("stream_id")
	start(b, M{"query": "slow"})
	b.Refused("LIMIT_EXCEEDED", ask)
	start(stranger, M{"query": "slow"})
	user("bob").Refused("LIMIT_EXCEEDED", ask)
	a.AskFor("query_cancelled", M{"type": "cancel_query", "stream_id": id})
	start(b, M{"query": "slow"})
}
