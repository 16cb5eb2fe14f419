package neuroquantumws_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/pgtest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// itemsServer is a PostgreSQL that tells of its table items, to the login feed.
func itemsServer(t testing.TB, more string) *pgtest.Server {
	t.Helper()
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	superuser(t, server, `
		create role feed login replication;
		create table items (id bigint primary key, owner text, text text, n numeric);
		grant select on items to feed;
		create publication nq for table items;
		insert into items select i, 'ann', 'x', i from generate_series(1, 3) i;`+more)
	t.Setenv("NQ_TEST_DSN", strings.Replace(server.DSN(), "user=postgres", "user=feed", 1))
	return server
}

const itemsSource = `
	source main postgres {
		dsn {env.NQ_TEST_DSN}
		publication nq
	}
`

// pgEventually waits until a query gives a value.
func pgEventually(t testing.TB, server *pgtest.Server, query, want string) {
	t.Helper()
	server.Until(t, query, want)
}

// reading waits until so many change feeds are being read.
func reading(t testing.TB, server *pgtest.Server, want int) {
	t.Helper()
	pgEventually(t, server, "select count(*) from pg_stat_replication where state = 'streaming' and application_name = 'neuroquantum_ws'", fmt.Sprint(want))
}

// told takes the data of the next messages of a channel.
func told(c *wstest.Client, n int) string {
	c.T().Helper()
	var out []string
	for range n {
		m := c.Until("channel_message")
		out = append(out, m.Text("channel")+" "+jsonText(c.T(), m["data"]))
	}
	return strings.Join(out, "\n")
}

func expectTold(c *wstest.Client, want ...string) {
	c.T().Helper()
	if got := told(c, len(want)); got != strings.Join(want, "\n") {
		c.T().Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestFeedOfTable(t *testing.T) {
	server := itemsServer(t, `
		create table pairs (a int, b text, v text, big text, primary key (b, a));
		alter table pairs alter column big set storage external;
		alter publication nq add table pairs;`)
	s := serveSite(t, "metrics /metrics\n"+ws(itemsSource+`
		channel ** {
			history 1000
			allow subscribe anyone
		}
		feed items {
			source main
			table items id owner n
			publish items/all
			int64 string
		}
		feed pairs {
			source main
			table `+"`\"public\".\"pairs\"`"+` b a big
			publish pairs/{row.b}
		}`))
	reading(t, server, 1)
	c := s.dial()
	c.Subscribe("**")
	superuser(t, server, "insert into items values (9, 'b\"b', 'y', 1.50), (10, null, null, 'NaN'); update items set n = n + 1 where id = 2")
	expectTold(c,
		`items/all {"key":"9","op":"insert","row":{"id":"9","n":"1.50","owner":"b\"b"}}`,
		`items/all {"key":"10","op":"insert","row":{"id":"10","n":null,"owner":null}}`,
		`items/all {"key":"2","op":"update","row":{"id":"2","n":"3","owner":"ann"}}`)
	superuser(t, server, "update items set id = 20 where id = 2; delete from items where id = 1; truncate items")
	expectTold(c,
		`items/all {"key":"2","op":"delete"}`, `items/all {"key":"20","op":"insert","row":{"id":"20","n":"3","owner":"ann"}}`,
		`items/all {"key":"1","op":"delete"}`, `items/all {"op":"truncate"}`)

	// A key of two columns, in the order of its index; a large value that was not touched; a row that moves; one that has no channel.
	superuser(t, server, "insert into pairs values (1, 'x', 'v', repeat('z', 5000)); update pairs set v = 'w'; update pairs set b = 'y'")
	large := strings.Repeat("z", 5000)
	expectTold(c,
		`pairs/x {"key":["x",1],"op":"insert","row":{"a":1,"b":"x","big":"`+large+`"}}`,
		`pairs/x {"key":["x",1],"op":"update","row":{"a":1,"b":"x"},"unchanged":["big"]}`,
		`pairs/x {"key":["x",1],"op":"delete"}`,
		`pairs/y {"key":["y",1],"op":"insert","row":{"a":1,"b":"y"},"unchanged":["big"]}`)
	superuser(t, server, "insert into pairs values (2, '../x', '', ''), (3, '', '', ''), (4, '*', '', ''), (5, 'a/b', '', ''), (6, 'ok.', '', '')")
	expectTold(c, `pairs/ok. {"key":["ok.",6],"op":"insert","row":{"a":6,"b":"ok.","big":""}}`)
	superuser(t, server, "alter table pairs replica identity full; update pairs set v = 'w' where a = 1; update pairs set b = '**' where a = 1; update pairs set b = 'q' where a = 1")
	expectTold(c,
		`pairs/y {"key":["y",1],"op":"update","row":{"a":1,"b":"y","big":"`+large+`"}}`,
		`pairs/y {"key":["y",1],"op":"delete"}`,
		`pairs/q {"key":["q",1],"op":"insert","row":{"a":1,"b":"q","big":"`+large+`"}}`)
	superuser(t, server, "begin; delete from pairs; rollback; truncate pairs; insert into items values (1, 'x', 'y', 1)")
	expectTold(c, `items/all {"key":"1","op":"insert","row":{"id":"1","n":"1","owner":"x"}}`)

	// A transaction is counted when all of it was published.
	until(c, "the last is counted", func() bool {
		return s.metrics("default")[`change_feed_transactions_total{source="main"}`] == 6
	})
	expect(t, "metrics", s.metrics("default"), map[string]float64{
		`change_feed_up{source="main"}`: 1, `change_feed_tables_lost{source="main"}`: 0, `change_feed_interruptions_total{source="main"}`: 0,
		`change_feed_transactions_total{source="main"}`: 6, `change_feed_changes_total{source="main"}`: 19,
		`feed_messages_total{feed="items",outcome="published"}`: 8, `feed_messages_total{feed="items",outcome="untold"}`: 0,
		`feed_messages_total{feed="pairs",outcome="published"}`: 8, `feed_messages_total{feed="pairs",outcome="untold"}`: 7,
	})
	if delay := s.metrics("default")[`change_feed_delay_seconds{source="main"}`]; delay < 0 || delay > 60 {
		t.Errorf("the delay is %v", delay)
	}
}

// A column that is gone pauses a feed until it is back; others may come and go.
func TestFeedAndAlterTable(t *testing.T) {
	server := itemsServer(t, "")
	s := serve(t, itemsSource+"feed items {\nsource main\ntable items id n\npublish items\n}")
	reading(t, server, 1)
	c := s.dial()
	c.Subscribe("items")
	superuser(t, server, `
		insert into items values (10, 'a', 'b', 1);
		alter table items add column more int default 7;
		insert into items values (11, 'a', 'b', 2);
		alter table items drop column text;
		update items set n = 3 where id = 11;
		alter table items alter column n type text;
		update items set n = 'three' where id = 11;
		alter table items rename column n to m;
		update items set m = 'unseen' where id = 11;
		alter table items rename column m to n;
		update items set n = 'seen' where id = 11;
		alter table items rename to things;
		insert into things values (12, 'a', 'unseen', 1)`)
	superuser(t, server, "alter table things rename to items")
	superuser(t, server, "insert into items values (13, 'a', 'last', 1)")
	expectTold(c,
		`items {"key":10,"op":"insert","row":{"id":10,"n":1}}`, `items {"key":11,"op":"insert","row":{"id":11,"n":2}}`,
		`items {"key":11,"op":"update","row":{"id":11,"n":3}}`, `items {"key":11,"op":"update","row":{"id":11,"n":"three"}}`,
		`items {"key":11,"op":"update","row":{"id":11,"n":"seen"}}`, `items {"key":13,"op":"insert","row":{"id":13,"n":"last"}}`)
}

// Partitions and heirs are told of as the table that was named.
func TestFeedOfPartitions(t *testing.T) {
	server := itemsServer(t, `
		create table parts (id int primary key, v text) partition by range (id);
		create table parts1 partition of parts for values from (0) to (10);
		create table parts2 partition of parts for values from (10) to (20);
		grant select on parts, parts1 to feed;
		alter publication nq add table parts`)
	for _, viaRoot := range []string{"false", "true"} {
		t.Run("via root "+viaRoot, func(t *testing.T) {
			superuser(t, server, "truncate parts; drop table if exists parts3; alter publication nq set (publish_via_partition_root = "+viaRoot+")")
			s := serve(t, itemsSource+`
				feed parts {
					source main
					table parts id v
					publish parts
				}
				query one {
					source main
					sql "select id, v from parts1"
					allow anyone
					watch {
						key id
						on table parts1
						debounce 1ms
					}
				}`)
			reading(t, server, 1)
			c := s.dial()
			c.Subscribe("parts")
			superuser(t, server, `insert into parts values (1, 'a'), (11, 'b'); update parts set id = 12 where id = 1;
				create table parts3 partition of parts for values from (20) to (30); insert into parts values (21, 'c')`)
			expectTold(c, `parts {"key":1,"op":"insert","row":{"id":1,"v":"a"}}`, `parts {"key":11,"op":"insert","row":{"id":11,"v":"b"}}`,
				`parts {"key":1,"op":"delete"}`, `parts {"key":12,"op":"insert","row":{"id":12,"v":"a"}}`,
				`parts {"key":21,"op":"insert","row":{"id":21,"v":"c"}}`)
			w := follows(s.dial(), M{"query": "one"})
			w.until("id", map[string]string{})
			superuser(t, server, "insert into parts values (2, 'd')")
			w.until("id", map[string]string{"2": `{"id":2,"v":"d"}`})
		})
	}
}

const watchedItems = `
	query items {
		source main
		sql "select id, owner, text, n from items order by id"
		allow anyone
		watch {
			key id
			on table items
			debounce 1ms
		}
	}
`

// items are the rows of the table as a client has them.
func items(t testing.TB, server *pgtest.Server) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, row := range superuser(t, server, "select id, owner, text, n from items order by id") {
		out[row[0]] = fmt.Sprintf(`{"id":%s,"n":%s,"owner":%q,"text":%q}`, row[0], row[3], row[1], row[2])
	}
	return out
}

// untilQuiet is until, for a table that is written to so fast that changes are conflated: a row that is again as it was may be told.
func (w *copyOf) untilQuiet(key string, want map[string]string) {
	w.c.T().Helper()
	for !w.ready || !maps.Equal(w.rows, want) {
		m := w.c.Next()
		if m.Text("op") == "update" && jsonText(w.c.T(), m["row"]) == w.rows[jsonText(w.c.T(), m["key"])] {
			w.revision = m.Int("revision")
			continue
		}
		w.take(m, key)
	}
}

// writer writes to items with a connection of its own: each row has one writer.
func writer(ctx context.Context, t testing.TB, server *pgtest.Server, number, changes int) error {
	random := rand.New(rand.NewPCG(7, uint64(number)))
	var c *pgconn.PgConn
	defer func() {
		if c != nil {
			c.Close(context.WithoutCancel(ctx))
		}
	}()
	for range changes {
		if ctx.Err() != nil {
			return nil
		}
		id := 100 + 8*random.IntN(20) + number
		statement := fmt.Sprintf("insert into items values (%d, 'w', 'x', %d) on conflict do nothing", id, random.IntN(100))
		switch random.IntN(4) {
		case 0:
			statement = fmt.Sprintf("delete from items where id = %d", id)
		case 1:
			statement = fmt.Sprintf("update items set n = %d where id = %d", random.IntN(100), id)
		case 2:
			statement = fmt.Sprintf("begin; savepoint a; update items set n = n + 1 where id = %d; release a; commit", id)
		}
		if c == nil {
			var err error
			if c, err = pgconn.Connect(ctx, server.DSN()); err != nil {
				return err
			}
		}
		if _, err := c.Exec(ctx, statement).ReadAll(); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// TestWatchOnTableAgainstTheTable: whoever begins to watch while others write has at a quiet point what the table has.
func TestWatchOnTableAgainstTheTable(t *testing.T) {
	server := itemsServer(t, "")
	s := serve(t, "rate_limit 100000\n"+itemsSource+watchedItems)
	rounds := 10
	for round := range rounds {
		var writers sync.WaitGroup
		for i := range 8 {
			writers.Go(func() {
				if err := writer(t.Context(), t, server, i, 60); err != nil {
					t.Error(err)
				}
			})
		}
		var watches []*copyOf
		for range 20 {
			watches = append(watches, follows(s.dial(), M{"query": "items", "batch_size": 7}))
		}
		writers.Wait()
		want := items(t, server)
		for _, w := range watches {
			w.untilQuiet("id", want)
			if w.resets > 0 {
				t.Errorf("round %d: it was reset", round)
			}
			if round%2 == 0 {
				w.c.Cut() // at times nobody listens any more
			}
		}
	}
}

// TestChangeFeedIsInterrupted: the connection of the change feed is cut, and the server restarts, in the midst of writing.
func TestChangeFeedIsInterrupted(t *testing.T) {
	server := itemsServer(t, "")
	s := serve(t, "rate_limit 100000\n"+itemsSource+watchedItems+"feed items {\nsource main\ntable items id n\npublish items\n}")
	w := follows(s.dial(), M{"query": "items"})
	settle := func(what string) {
		t.Helper()
		want := items(t, server)
		for !w.ready || !maps.Equal(w.rows, want) {
			if m := w.c.Next(); m.Type() != "error" {
				w.take(m, "id")
			} else if !m.Has("retry_after_ms") {
				t.Fatalf("%s: %v", what, m)
			}
		}
	}
	settle("at the beginning")
	for round, interrupt := range []func(){
		func() {
			superuser(t, server, "select pg_terminate_backend(pid) from pg_stat_replication")
		},
		func() {
			superuser(t, server, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'neuroquantum_ws' and backend_type = 'client backend'")
		},
		func() {
			superuser(t, server, "alter publication nq drop table items; alter publication nq add table items; drop publication nq")
			superuser(t, server, "insert into items values (1000, 'w', 'no publication', 1) on conflict do nothing")
			pgEventually(t, server, "select count(*) from pg_replication_slots", "0")
			superuser(t, server, "create publication nq for table items")
		},
		func() {
			server.Halt()
			if err := server.Run(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		reading(t, server, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for i := range 4 {
			writers.Go(func() {
				for ctx.Err() == nil {
					_ = writer(ctx, t, server, i, 100) // the server may be gone
				}
			})
		}
		interrupt()
		superuser(t, server, fmt.Sprintf("insert into items values (%d, 'w', 'x', 1)", 2000+round))
		cancel()
		writers.Wait()
		settle(fmt.Sprint("round ", round))
	}
	// The feed has gone on, too.
	c := s.dial()
	c.Subscribe("items")
	reading(t, server, 1)
	superuser(t, server, "insert into items values (5000, 'w', 'x', 7)")
	for !strings.Contains(told(c, 1), `{"key":5000,"op":"insert"`) {
	}
	superuser(t, server, "truncate items")
	settle("truncated")
}

// TestFeedAgainstTheTable: the messages of a feed, in their order, make the table; also over reloads that leave the feed.
func TestFeedAgainstTheTable(t *testing.T) {
	server := itemsServer(t, "truncate items;")
	options := func(more string) string {
		return ws("hub feeds\nrate_limit 100000\n" + itemsSource + "channel items {\nhistory 100000\nallow subscribe anyone\n}\n" +
			"feed items {\nsource main\ntable items id owner text n\npublish items\n}\n" + more)
	}
	s := serveSite(t, options(""))
	reading(t, server, 1)
	c := s.dial()
	c.Subscribe("items")
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			if err := writer(t.Context(), t, server, i, 150); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 5 {
		s.reload(options(fmt.Sprintf("max_streams %d", 10+i)))
	}
	writers.Wait()
	superuser(t, server, "insert into items values (9999, 'w', 'last', 0)")
	rows := map[string]string{}
	for rows["9999"] == "" {
		m := c.Until("channel_message")
		data := m["data"].(map[string]any)
		key := jsonText(t, data["key"])
		was := rows[key] != ""
		if op := data["op"]; was != (op != "insert") {
			t.Fatalf("known %v: %v", was, m)
		}
		delete(rows, key)
		if data["op"] != "delete" {
			rows[key] = jsonText(t, data["row"])
		}
	}
	if got, want := jsonText(t, rows), jsonText(t, items(t, server)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	pgEventually(t, server, "select count(*) from pg_replication_slots", "1")
	s.reload(ws("hub feeds"))
	pgEventually(t, server, "select count(*) from pg_replication_slots", "0")
}

// A large transaction is told row by row, and kept nowhere.
func TestFeedOfLargeTransaction(t *testing.T) {
	const rows = 200_000
	// It takes longer than the server waits for a word.
	server := itemsServer(t, "alter role feed set wal_sender_timeout = '1s'")
	s := serve(t, itemsSource+`
		queue 100 10KiB drop_all
		health off
		write_timeout 5m
		feed items {
			source main
			table items id text
			publish items
		}
		query count {
			source main
			sql "select 1 as one, count(*) as n from items"
			allow anyone
			watch {
				key one
				on table items
			}
		}`)
	reading(t, server, 1)
	c := s.dial()
	c.Subscribe("items")
	w := follows(s.dial(), M{"query": "count"})
	w.until("one", map[string]string{"1": `{"n":3,"one":1}`})
	const sender = "select pid from pg_stat_replication"
	before := superuser(t, server, sender)
	most, stop := peak()
	defer stop()
	superuser(t, server, fmt.Sprintf("insert into items select i, 'w', repeat('x', 100), i from generate_series(10, %d) i", rows+9))
	written := superuser(t, server, "select pg_current_wal_lsn()")[0][0]
	pgEventually(t, server, "select count(*) from pg_stat_replication where replay_lsn >= '"+written+"'", "1")
	w.until("one", map[string]string{"1": fmt.Sprintf(`{"n":%d,"one":1}`, rows+3)})
	superuser(t, server, "insert into items values (0, 'w', 'last', 0)")
	for !strings.HasSuffix(told(c, 1), `"text":"last"}}`) {
	}
	stop()
	if after := superuser(t, server, sender); jsonText(t, after) != jsonText(t, before) {
		t.Error("the change feed was interrupted")
	}
	if most := most(); most > 60<<20 {
		t.Errorf("the heap had %d MiB more", most>>20)
	}
}

// peak watches how far the heap grows. It looks at what a collection has left, which what waits to be collected says nothing about.
func peak() (most func() int64, stop func()) {
	percent := debug.SetGCPercent(20)
	heap := func() int64 {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		return int64(live[0].Value.Uint64())
	}
	runtime.GC()
	base, top := heap(), int64(0)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				top = max(top, heap()-base)
			case <-quit:
				debug.SetGCPercent(percent)
				return
			}
		}
	}()
	return func() int64 { return top }, sync.OnceFunc(func() { close(quit); <-done })
}
