package neuroquantumws_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// copyOf is what a client knows of a result that it watches.
type copyOf struct {
	c        *wstest.Client
	id       string
	rows     map[string]string // rows by key, as JSON
	batch    int
	revision int
	ready    bool
	resets   int
	changes  int
}

// follows asks for a live query.
func follows(c *wstest.Client, request M) *copyOf {
	c.T().Helper()
	request["type"] = "watch"
	started := c.AskFor("query_started", request)
	return &copyOf{c: c, id: started.Text("stream_id"), rows: map[string]string{}, revision: -1}
}

func jsonText(t testing.TB, value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// take takes in one message.
func (w *copyOf) take(m M, key string) {
	t := w.c.T()
	t.Helper()
	if m.Text("stream_id") != w.id {
		t.Fatalf("of another stream: %v", m)
	}
	switch m.Type() {
	case "query_progress":
	case "query_batch":
		if w.ready || m.Int("batch_number") != w.batch {
			t.Fatalf("behind batch %d (ready %v): %v", w.batch, w.ready, m)
		}
		w.batch++
		for _, row := range m.List("rows") {
			name := jsonText(t, row.(map[string]any)[key])
			if w.rows[name] != "" {
				t.Fatalf("row %s comes twice", name)
			}
			w.rows[name] = jsonText(t, row)
		}
	case "query_ready":
		w.ready, w.revision = true, m.Int("revision")
	case "query_reset":
		w.rows, w.batch, w.ready = map[string]string{}, 0, false
		w.resets++
	case "query_change":
		name := jsonText(t, m["key"])
		was := w.rows[name] != ""
		op := m.Text("op")
		if !w.ready || m.Int("revision") < w.revision || was != (op != "insert") || m.Has("row") != (op != "delete") {
			t.Fatalf("at revision %d, known %v: %v", w.revision, was, m)
		}
		w.revision = m.Int("revision")
		if op == "delete" {
			delete(w.rows, name)
			return
		}
		row := jsonText(t, m["row"])
		if row == w.rows[name] || jsonText(t, m["row"].(map[string]any)[key]) != name {
			t.Fatalf("no change: %v", m)
		}
		w.rows[name] = row
	default:
		t.Fatalf("in a live query: %v", m)
	}
}

// takeAny takes in a message of a result whose key has several columns.
func (w *copyOf) takeAny(m M) {
	t := w.c.T()
	t.Helper()
	switch m.Type() {
	case "query_batch":
		for _, row := range m.List("rows") {
			w.rows[jsonText(t, []any{row.(map[string]any)["id"], row.(map[string]any)["owner"]})] = jsonText(t, row)
		}
	case "query_ready":
		w.ready = true
	case "query_change":
		w.changes++
		if m.Text("op") == "delete" {
			delete(w.rows, jsonText(t, m["key"]))
		} else {
			w.rows[jsonText(t, m["key"])] = jsonText(t, m["row"])
		}
	default:
		t.Fatalf("got %v", m)
	}
}

// until takes messages until the copy is what is wanted.
func (w *copyOf) until(key string, want map[string]string) {
	w.c.T().Helper()
	for !w.ready || jsonText(w.c.T(), w.rows) != jsonText(w.c.T(), want) {
		w.take(w.c.Next(), key)
	}
}

// table gives the rows of a query on an SQLite file, by their first column.
func table(t testing.TB, db *sql.DB, query string) map[string]string {
	t.Helper()
	result, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	out := map[string]string{}
	for result.Next() {
		var id int
		var owner, text string
		if err := result.Scan(&id, &owner, &text); err != nil {
			t.Fatal(err)
		}
		out[fmt.Sprint(id)] = jsonText(t, map[string]any{"id": id, "owner": owner, "text": text})
	}
	return out
}

// notesSite is a site whose notes are watched, and the database behind it.
func notesSite(t *testing.T, more string) (*site, *sql.DB) {
	t.Helper()
	path := database(t, "pragma journal_mode = wal", "create table notes (id integer primary key, owner text, text text)",
		"insert into notes values (1, 'ann', 'one'), (2, 'bob', 'two'), (3, 'ann', 'three')")
	s := serveSite(t, "metrics /metrics\n"+ws("rate_limit 100000\nsource db sqlite "+path+`
		query notes {
			source db
			sql "select id, owner, text from notes order by id"
			allow anyone
			watch {
				key id
				on table notes
				debounce 1ms
				max_rows 200
			}
		}
		query of {
			source db
			sql "select id, owner, text from notes where owner = @owner order by id"
			param owner text
			allow anyone
			watch {
				key id
				on channel notes/*
				debounce 1ms
			}
		}
		query plain {
			source db
			sql "select 1"
			allow anyone
		}
		query closed {
			source db
			sql "select id from notes"
			watch {
				key id
				every 1s
			}
		}
		`+more))
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	return s, db
}

func execute(t testing.TB, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	s, db := notesSite(t, "")
	c := s.dial()
	w := follows(c, M{"query": "notes", "batch_size": 2, "credits": 1, "id": 7})
	if m := c.Until("query_batch"); len(m.List("rows")) != 2 || !m.Bool("has_more") {
		t.Fatalf("got %v", m)
	} else {
		w.take(m, "id")
	}
	// What changes before the first result is all there is told behind it.
	execute(t, db, "update notes set text = 'new' where id = 1")
	execute(t, db, "delete from notes where id = 2")
	c.Send(M{"type": "credit", "stream_id": w.id, "batches": 1})
	w.until("id", table(t, db, "select * from notes"))
	if w.resets > 0 {
		t.Error("it was reset")
	}
	execute(t, db, "insert into notes values (9, 'cid', 'nine')")
	execute(t, db, "update notes set owner = 'dan' where id = 3")
	w.until("id", table(t, db, "select * from notes"))

	// By a message in a channel; two that ask for the same share it.
	of := follows(c, M{"query": "of", "params": M{"owner": "dan"}})
	w.c = s.dial()
	again := follows(w.c, M{"query": "of", "params": M{"owner": "dan"}})
	dans := "select * from notes where owner = 'dan'"
	for of.c = c; !of.ready; {
		if m := c.Next(); m.Text("stream_id") == of.id {
			of.take(m, "id")
		}
	}
	execute(t, db, "insert into notes values (10, 'dan', 'ten')")
	c.Publish("notes/new", 1)
	again.until("id", table(t, db, dans))
	for jsonText(t, of.rows) != jsonText(t, table(t, db, dans)) {
		if m := c.Next(); m.Text("stream_id") == of.id {
			of.take(m, "id")
		}
	}
	if status := c.AskFor("query_status", M{"type": "query_status", "stream_id": of.id}); status.Text("status") != "streaming" {
		t.Errorf("got %v", status)
	}

	if got := s.metrics("default"); got["watches"] != 3 || got["live_results"] != 2 || got["live_runs_total"] < 4 ||
		got["live_changes_total"] < 5 || got["live_failures_total"] != 0 || got["live_result_bytes"] < 100 {
		t.Errorf("got %v", got)
	}
	c.Refused("CANCEL_FAILED", M{"type": "unwatch", "stream_id": again.id})
	c.AskFor("query_cancelled", M{"type": "unwatch", "stream_id": of.id})
	c.Refused("CANCEL_FAILED", M{"type": "unwatch", "stream_id": of.id})
	c.Refused("INVALID_PARAMS", M{"type": "watch", "query": "plain"})
	c.Refused("INVALID_PARAMS", M{"type": "watch", "query": "of"})
	c.Refused("INVALID_PARAMS", M{"type": "watch", "query": "notes", "format": "arrays"})
	c.Refused("QUERY_NOT_FOUND", M{"type": "watch", "query": "nothing"})
	c.Refused("FORBIDDEN", M{"type": "watch", "query": "closed"})
}

// More rows than are allowed end a watch, in the midst and at its beginning.
func TestWatchOfTooMuch(t *testing.T) {
	s, db := notesSite(t, "max_watches 2")
	c := s.dial()
	w := follows(c, M{"query": "notes"})
	w.until("id", table(t, db, "select * from notes"))
	other := follows(c, M{"query": "of", "params": M{"owner": "ann"}})
	c.Refused("LIMIT_EXCEEDED", M{"type": "watch", "query": "of", "params": M{"owner": "bob"}})
	start(c, M{"query": "plain"}) // streams are counted by themselves
	execute(t, db, "with recursive n(i) as (select 100 union all select i + 1 from n where i < 300) insert into notes select i, 'x', 'y' from n")
	for {
		m := c.Next()
		if m.Text("stream_id") == w.id && m.Type() == "error" {
			if m.Text("code") != "QUERY_FAILED" || m.Has("retry_after_ms") {
				t.Errorf("got %v", m)
			}
			break
		}
	}
	c.Send(M{"type": "unwatch", "stream_id": other.id})
	c.Until("query_cancelled")
	c.Refused("QUERY_FAILED", M{"type": "watch", "query": "notes"})
}

// TestWatchAgainstTheTable: a client that is cut again and again, with a writer at work, has at every quiet point what the table has.
func TestWatchAgainstTheTable(t *testing.T) {
	s, db := notesSite(t, "")
	random := rand.New(rand.NewPCG(1, 2))
	c := s.dial()
	w := follows(c, M{"query": "notes", "batch_size": 3})
	resumed := 0
	for range 20 {
		for range random.IntN(30) {
			id := random.IntN(60)
			switch random.IntN(3) {
			case 0:
				execute(t, db, "insert into notes values (?, 'x', ?) on conflict do nothing", id, fmt.Sprint(random.IntN(5)))
			case 1:
				execute(t, db, "update notes set text = ? where id = ?", fmt.Sprint(random.IntN(5)), id)
			default:
				execute(t, db, "delete from notes where id = ?", id)
			}
		}
		if random.IntN(2) == 0 && w.ready { // cut with changes on their way
			c.Cut()
			c = s.dial()
			started := c.AskFor("query_started", M{
				"type": "watch", "query": "notes", "batch_size": 3, "resume": M{"stream_id": w.id, "revision": w.revision},
			})
			if started.Bool("resumed") {
				resumed++
			}
			w.c, w.id = c, started.Text("stream_id")
		}
		w.until("id", table(t, db, "select * from notes"))
	}
	if resumed < 3 {
		t.Errorf("%d were resumed", resumed)
	}
	c.Cut()
	c = s.dial()
	// A revision that the server does not know.
	for _, revision := range []int{5, -1} {
		w = follows(c, M{"query": "notes", "resume": M{"stream_id": noStream, "revision": revision}})
		if m := c.Next(); m.Type() != "query_reset" {
			t.Errorf("%d: got %v", revision, m)
		}
		w.until("id", table(t, db, "select * from notes"))
		c.AskFor("query_cancelled", M{"type": "unwatch", "stream_id": w.id})
	}
}

// A watch outlives a reload that leaves its query, and ends with one that does not.
func TestWatchAndReload(t *testing.T) {
	path := database(t, "pragma journal_mode = wal", "create table notes (id integer primary key, owner text, text text)", "insert into notes values (1, 'a', 'b')")
	with := func(where, more string) string {
		return ws("source db sqlite " + path + "\nquery notes {\nsource db\nsql \"select id, owner, text from notes " + where +
			"\"\nallow anyone\nwatch {\nkey id\non table notes\n}\n" + more + "}")
	}
	s := serveSite(t, with("", ""))
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c := s.dial()
	w := follows(c, M{"query": "notes"})
	w.until("id", table(t, db, "select * from notes"))
	s.reload(with("where id < 5", ""))
	execute(t, db, "insert into notes values (2, 'c', 'd'), (7, 'e', 'f')")
	w.until("id", table(t, db, "select * from notes where id < 5"))
	s.reload(with("where id < @least", "param least integer\n"))
	if m := c.Until("error"); m.Text("code") != "QUERY_NOT_FOUND" || m.Text("stream_id") != w.id {
		t.Errorf("got %v", m)
	}
	w = follows(c, M{"query": "notes", "params": M{"least": 2}})
	w.until("id", table(t, db, "select * from notes where id < 2"))
	s.reload(ws(""))
	if m := c.Until("error"); m.Text("code") != "QUERY_NOT_FOUND" {
		t.Errorf("got %v", m)
	}
	c.Ping()
}

// Row-level security holds for what is watched, and users do not share what it makes differ.
func TestWatchOnPostgres(t *testing.T) {
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
			sql "select id, owner, total from orders where id <= @last order by id"
			param last integer
			allow authenticated
			watch {
				key id owner
				on notify orders
				debounce 5ms
			}
		}`)
	dial := func(user string) *wstest.Client {
		return wstest.Dial(t, s.url(), wstest.Options{Header: map[string][]string{"X-User": {user}}})
	}
	ann, bob := dial("ann"), dial("bob")
	wa, wb := follows(ann, M{"query": "orders", "params": M{"last": 10}}), follows(bob, M{"query": "orders", "params": M{"last": 10}})
	for !wa.ready || !wb.ready {
		if !wa.ready {
			wa.takeAny(ann.Next())
		} else {
			wb.takeAny(bob.Next())
		}
	}
	if len(wa.rows) != 5 || len(wb.rows) != 5 {
		t.Fatalf("%v and %v", wa.rows, wb.rows)
	}
	superuser(t, server, "update orders set total = 99 where id in (4, 5); delete from orders where id = 1; notify orders")
	for wa.changes < 1 {
		wa.takeAny(ann.Next())
	}
	for wb.changes < 2 {
		wb.takeAny(bob.Next())
	}
	if wa.rows[`[4,"ann"]`] == "" || !strings.Contains(wa.rows[`[4,"ann"]`], "99") || wb.rows[`[1,"bob"]`] != "" || len(wb.rows) != 4 {
		t.Errorf("%v and %v", wa.rows, wb.rows)
	}
	// The connection that listens is lost, and what is told meanwhile with it: that is seen as well.
	superuser(t, server, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'neuroquantum_ws'; update orders set total = 1 where id = 6")
	for wa.changes < 2 {
		if m := ann.Next(); m.Type() != "error" {
			wa.takeAny(m)
		} else if !m.Has("retry_after_ms") {
			t.Fatalf("got %v", m)
		}
	}
}
