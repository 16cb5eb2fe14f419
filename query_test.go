package neuroquantumws_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// endless never gives a row and never ends by itself; an endless count is what `total exact` would wait for.
const endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n where i < 0"

// queries is a site's options with queries on the demo database.
func queries(t testing.TB, more string) string {
	return "rate_limit 100000\nsource demo sqlite " + demoDB(t) + `
		query readings {
			source demo
			sql "select id, sensor, value, at, unit from readings order by id"
			total exact
			allow anyone
		}
		query sensor {
			source demo
			sql "select id, value from readings where sensor = @sensor and id > @after order by id"
			param sensor text {
				max_length 64
			}
			param after integer {
				min 0
				max 100000
				default 0
			}
			allow anyone
		}
		query none {
			source demo
			sql "select id from readings where id < 0"
			total exact
			allow anyone
		}
		query slow {
			source demo
			sql "` + endless + `"
			allow anyone
		}
		query many {
			source demo
			sql "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
			allow anyone
		}
		query forbidden {
			source demo
			sql "select 1"
			allow user:alice
		}
		` + more
}

// expected are the rows of a query as database/sql gives them, each as JSON.
func expected(t testing.TB, path, query string) (rows []string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	result, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	names, err := result.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for result.Next() {
		values, targets := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := result.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, rowText(values))
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func rowText(values []any) string {
	text, err := json.Marshal(values)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// outcome is a stream as its client saw it.
type outcome struct {
	started M
	rows    []string // as arrays
	batches int
	end     M
}

// follow takes a stream's messages from the one behind query_started to its ending, and checks their form. each is called with
// every batch and may be nil.
func follow(c *wstest.Client, started M, each func(batch M)) outcome {
	t := c.T()
	t.Helper()
	o := outcome{started: started}
	var names []string
	for _, column := range started.List("columns") {
		names = append(names, column.(map[string]any)["name"].(string))
	}
	more := true
	for {
		m := c.Next()
		if m.Text("stream_id") != started.Text("stream_id") {
			t.Fatalf("in the stream %v: %v", started, m)
		}
		switch m.Type() {
		case "query_progress":
		case "query_batch":
			if m.Int("batch_number") != o.batches || !more || len(m.List("rows")) == 0 {
				t.Fatalf("batch %d: %v", o.batches, m)
			}
			o.batches++
			more = m.Bool("has_more")
			for _, row := range m.List("rows") {
				o.rows = append(o.rows, asArray(t, row, names))
			}
			if each != nil {
				each(m)
			}
		case "query_completed", "query_cancelled", "error":
			o.end = m
			if m.Type() == "query_completed" && (m.Int("total_rows") != len(o.rows) || m.Int("batches") != o.batches || more != (o.batches == 0)) {
				t.Errorf("%d rows in %d batches, more: %v, and %v", len(o.rows), o.batches, more, m)
			}
			return o
		default:
			t.Fatalf("in a stream: %v", m)
		}
	}
}

func asArray(t testing.TB, row any, names []string) string {
	values, ok := row.([]any)
	if object, isObject := row.(map[string]any); isObject {
		for _, name := range names {
			value, there := object[name]
			ok = there
			values = append(values, value)
		}
	}
	if !ok || len(values) != len(names) {
		t.Fatalf("the row %v has not the columns %q", row, names)
	}
	return rowText(values)
}

func (o outcome) completed(t testing.TB, want []string) {
	t.Helper()
	if o.end.Type() != "query_completed" {
		t.Errorf("it ended with %v", o.end)
	}
	if !slices.Equal(o.rows, want) {
		for i := range min(len(o.rows), len(want)) {
			if o.rows[i] != want[i] {
				t.Fatalf("row %d is %s, want %s", i, o.rows[i], want[i])
			}
		}
		t.Errorf("%d rows, want %d", len(o.rows), len(want))
	}
}

func start(c *wstest.Client, request M) M {
	c.T().Helper()
	request["type"] = "stream_query"
	return c.AskFor("query_started", request)
}

const allReadings = "select id, sensor, value, at, unit from readings order by id"

func TestAllRowsInOrder(t *testing.T) {
	s := serve(t, queries(t, ""))
	want := expected(t, demoDB(t), allReadings)
	if len(want) != 11688 {
		t.Fatalf("the demo database has %d rows", len(want))
	}
	for _, batch := range []int{1, 100, 1000, 10000, 0} {
		for _, format := range []string{"", "objects", "arrays"} {
			if batch == 1 && format != "arrays" {
				continue // the same again, and slow
			}
			t.Run(fmt.Sprint(batch, format), func(t *testing.T) {
				s := s.in(t)
				c := s.dial()
				request := M{"query": "readings"}
				size := 100
				if batch > 0 {
					request["batch_size"], size = batch, batch
				}
				if format != "" {
					request["format"] = format
				}
				started := start(c, request)
				if started.Int("estimated_rows") != len(want) || started.Text("total_kind") != "exact" || started.Text("query") != "readings" {
					t.Errorf("got %v", started)
				}
				columns := fmt.Sprint(started["columns"])
				for _, column := range []string{"name:id type:integer", "name:sensor type:text", "name:value type:real"} {
					if !strings.Contains(columns, column) {
						t.Errorf("columns: %v", columns)
					}
				}
				o := follow(c, started, func(b M) {
					_, array := b.List("rows")[0].([]any)
					if array != (format == "arrays") || len(b.List("rows")) != size && b.Bool("has_more") {
						t.Fatalf("batch %v with %d rows", b["batch_number"], len(b.List("rows")))
					}
				})
				o.completed(t, want)
				if o.batches != (len(want)+size-1)/size {
					t.Errorf("%d batches", o.batches)
				}
				c.Ping()
				if c.Backlog() > 0 {
					t.Errorf("behind the ending: %v", c.Next())
				}
			})
		}
	}
}

func TestParameters(t *testing.T) {
	s := serve(t, queries(t, ""))
	c := s.dial()
	o := follow(c, start(c, M{"query": "sensor", "params": M{"sensor": "seattle/wind", "after": 5000}}), nil)
	o.completed(t, expected(t, demoDB(t), "select id, value from readings where sensor = 'seattle/wind' and id > 5000 order by id"))
	if len(o.rows) == 0 || o.started["estimated_rows"] != nil || o.started.Text("total_kind") != "unknown" {
		t.Errorf("%d rows, %v", len(o.rows), o.started)
	}
	// Values are bound, not put into the SQL.
	o = follow(c, start(c, M{"query": "sensor", "params": M{"sensor": "' or 1=1 --"}}), nil)
	o.completed(t, nil)
	o = follow(c, start(c, M{"query": "none"}), nil)
	o.completed(t, nil)
	if o.started.Int("estimated_rows") != 0 {
		t.Errorf("got %v", o.started)
	}
	for _, params := range []any{
		nil, M{}, M{"after": 1}, M{"sensor": 5}, M{"sensor": nil}, M{"sensor": strings.Repeat("x", 65)}, M{"sensor": "x", "extra": 1},
		M{"sensor": "x", "after": "5"}, M{"sensor": "x", "after": 1.5}, M{"sensor": "x", "after": -1}, M{"sensor": "x", "after": 100001},
		M{"sensor": "x", "after": true}, M{"sensor": []string{"x"}}, []any{}, "sensor", 5,
	} {
		m := c.Refused("INVALID_PARAMS", M{"type": "stream_query", "query": "sensor", "params": params})
		if strings.Contains(m.Text("message"), "select") {
			t.Errorf("SQL in %v", m)
		}
	}
	for _, request := range []M{
		{"batch_size": 0}, {"batch_size": 10001}, {"format": "csv"},
	} {
		request["type"], request["query"] = "stream_query", "readings"
		c.Refused("INVALID_PARAMS", request)
	}
	for _, id := range []string{"x", noStream} {
		c.Refused("INVALID_STREAM_ID", M{"type": "stream_query", "query": "readings", "resume": M{"stream_id": id, "batch_number": 1}})
		c.Refused("INVALID_STREAM_ID", M{"type": "stream_query", "resume": M{"stream_id": id}})
	}
	for _, request := range []M{
		{"resume": 1}, {"resume": M{}}, {"resume": M{"stream_id": 5}}, {"resume": M{"stream_id": noStream, "batch_number": -2}},
		{"batch_size": "5"}, {"batch_size": -1}, {"credits": -1}, {"credits": "5"}, {"format": 5}, {"query": 5}, {"query": nil},
	} {
		request["type"] = "stream_query"
		if !request.Has("query") {
			request["query"] = "readings"
		}
		c.Refused("INVALID_MESSAGE", request)
	}
	for _, query := range []string{"nothing", "select 1", allReadings, "Readings"} {
		c.Refused("QUERY_NOT_FOUND", M{"type": "stream_query", "query": query})
	}
	c.Refused("FORBIDDEN", M{"type": "stream_query", "query": "forbidden"})
}

func TestBoundParameters(t *testing.T) {
	path := database(t, "create table notes (owner text, text text)",
		"insert into notes values ('alice', 'of alice'), ('bob', 'of bob')")
	s := serve(t, "user {http.request.header.X-User}\nsource db sqlite "+path+`
		query notes {
			source db
			sql "select text from notes where owner = @owner"
			bind owner {http.request.header.X-User}
			allow anyone
		}`)
	for _, user := range []string{"alice", "bob", "' or '1'='1"} {
		c := wstest.Dial(t, s.url(), wstest.Options{Header: map[string][]string{"X-User": {user}}})
		o := follow(c, start(c, M{"query": "notes"}), nil)
		want := []string{`["of ` + user + `"]`}
		if strings.Contains(user, " ") {
			want = nil
		}
		o.completed(t, want)
		c.Refused("INVALID_PARAMS", M{"type": "stream_query", "query": "notes", "params": M{"owner": "bob"}})
	}
	s.dial().Refused("FORBIDDEN", M{"type": "stream_query", "query": "notes"})
}

// Everything that SQLite can hold arrives as the protocol says.
func TestValues(t *testing.T) {
	path := database(t, `create table v (n integer, i integer, f real, s text, b blob, yes boolean, j json)`,
		`insert into v values (1, 9007199254740991, 1.5, 'a"\ é' || char(10) || char(0x1F600), x'00ff10', 1, '{"a":[1,2]}')`,
		`insert into v values (2, -1, 9e999, '', x'', 0, 'no json')`,
		`insert into v values (3, null, -9e999, null, null, null, null)`)
	s := serve(t, "source db sqlite "+path+"\nquery v {\nsource db\nsql \"select * from v order by n\"\nallow anyone\n}")
	c := s.dial()
	o := follow(c, start(c, M{"query": "v", "format": "arrays"}), nil)
	o.completed(t, []string{
		`[1,9007199254740991,1.5,"a\"\\ é\n😀","AP8Q",true,{"a":[1,2]}]`,
		`[2,-1,null,"","",false,"no json"]`,
		`[3,null,null,null,null,null,null]`,
	})
}

// Streams of one connection go on side by side; channel messages go on beside them.
func TestStreamsAtOnce(t *testing.T) {
	s := serve(t, queries(t, ""))
	want := expected(t, demoDB(t), allReadings)
	for _, count := range []int{2, 8} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			s := s.in(t)
			c, publisher := s.dial(), s.dial()
			c.Subscribe("news")
			streams := map[string]*outcome{}
			for range count {
				started := start(c, M{"query": "readings", "batch_size": 500, "credits": 0, "format": "arrays"})
				streams[started.Text("stream_id")] = &outcome{started: started}
			}
			if count == 8 {
				c.Refused("LIMIT_EXCEEDED", M{"type": "stream_query", "query": "readings"})
			}
			for id := range streams {
				c.Send(M{"type": "credit", "stream_id": id, "batches": 5})
			}
			const news = 20
			for i := range news {
				publisher.Publish("news", i)
			}
			ended, heard, switches, last := 0, 0, 0, ""
			for ended < count || heard < news {
				m := c.Next()
				o := streams[m.Text("stream_id")]
				switch m.Type() {
				case "channel_message":
					if m.Int("data") != heard {
						t.Fatalf("got %v, want %d", m, heard)
					}
					heard++
				case "query_progress":
				case "query_batch":
					if m.Int("batch_number") != o.batches {
						t.Fatalf("batch %d is %v", o.batches, m["batch_number"])
					}
					o.batches++
					for _, row := range m.List("rows") {
						o.rows = append(o.rows, rowText(row.([]any)))
					}
					if m.Text("stream_id") != last {
						switches++
						last = m.Text("stream_id")
					}
					if m.Bool("has_more") {
						c.Send(M{"type": "credit", "stream_id": last, "batches": 1})
					}
				case "query_completed":
					o.end = m
					o.completed(t, want)
					ended++
				default:
					t.Fatalf("got %v", m)
				}
			}
			if switches <= count {
				t.Errorf("the streams did not take turns: %d changes", switches)
			}
			start(c, M{"query": "none"}) // there is room again
			c.Until("query_completed")
		})
	}
}

// With a stream that no credit lets go on, channel messages and answers still come.
func TestChannelsGoOnBesideAStream(t *testing.T) {
	s := serve(t, queries(t, ""))
	c, publisher := s.dial(), s.dial()
	c.Subscribe("news")
	slow := start(c, M{"query": "slow"})
	paused := start(c, M{"query": "readings", "credits": 0})
	for i := range 50 {
		publisher.Publish("news", i)
		if m := c.Until("channel_message"); m.Int("data") != i {
			t.Fatalf("got %v, want %d", m, i)
		}
	}
	for _, started := range []M{slow, paused} {
		cancelled := c.AskFor("query_cancelled", M{"type": "cancel_query", "stream_id": started["stream_id"]})
		if cancelled.Int("rows_sent") != 0 {
			t.Errorf("got %v", cancelled)
		}
	}
}
