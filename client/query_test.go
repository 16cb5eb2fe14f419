package client_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	_ "modernc.org/sqlite"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

const allRows = 11688 // in the demo's database

func queries(t testing.TB) string {
	return ws(`
		rate_limit 1000000
		source demo sqlite ` + demoDB(t) + `
		query readings {
			source demo
			sql "select id, sensor, value, unit, at from readings order by id"
			total exact
			allow anyone
		}
		query some {
			source demo
			sql "select id, sensor from readings where id <= 2000 order by id"
			allow anyone
		}
		query sensor {
			source demo
			sql "select id, value from readings where sensor = @sensor order by id"
			param sensor text
			allow anyone
		}
		query broken {
			source demo
			sql "select abs(-9223372036854775807 - 1) from readings"
			allow anyone
		}
		query endless {
			source demo
			sql "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
			allow anyone
		}`)
}

type reading struct {
	ID     int64   `json:"id"`
	Sensor string  `json:"sensor"`
	Value  float64 `json:"value"`
}

func TestQuery(t *testing.T) {
	c := dial(t, sitetest.Start(t, queries(t)).URL(), client.Options{})
	ctx := wait.Context(t)
	reports := 0
	rows, err := c.Query(ctx, "readings", nil, &client.QueryOptions{BatchSize: 500, Window: 2, OnProgress: func(p client.Progress) { reports++ }})
	if err != nil {
		t.Fatal(err)
	}
	if total, kind := rows.Total(); total != allRows || kind != "exact" || len(rows.Columns()) != 5 || rows.Columns()[1].Name != "sensor" {
		t.Errorf("got %d %s %v", total, kind, rows.Columns())
	}
	if status, err := rows.Status(ctx); err != nil || status.Status == "" {
		t.Errorf("got %+v, %v", status, err)
	}
	n := int64(0)
	for r, err := range client.Into[reading](rows.All()) {
		if n++; err != nil || r.ID != n || r.Sensor == "" {
			t.Fatalf("row %d: %+v, %v", n, r, err)
		}
	}
	if result, ok := rows.Result(); !ok || result.Rows != n || n != allRows || result.Batches != 24 {
		t.Errorf("got %+v, %v", result, ok)
	}
	// Arrays and parameters.
	rows, err = c.Query(ctx, "sensor", map[string]any{"sensor": "seattle/wind"}, &client.QueryOptions{Arrays: true})
	if err != nil {
		t.Fatal(err)
	}
	n = 0
	for r, err := range client.Into[[2]float64](rows.All()) {
		if n++; err != nil || r[0] <= 0 {
			t.Fatalf("row %d: %v, %v", n, r, err)
		}
	}
	if n != 1461 {
		t.Errorf("got %d rows", n)
	}
	// What goes wrong.
	if _, err = c.Query(ctx, "none", nil, nil); codeOf(err) != protocol.QueryNotFound {
		t.Errorf("got %v", err)
	}
	if _, err = c.Query(ctx, "sensor", map[string]int{"sensor": 1}, nil); codeOf(err) != protocol.InvalidParams {
		t.Errorf("got %v", err)
	}
	rows, err = c.Query(ctx, "broken", nil, nil)
	for err == nil {
		for _, err = range rows.All() {
		}
	}
	if codeOf(err) != protocol.QueryFailed {
		t.Errorf("got %v", err)
	}
}

// Credit stays far below what a site lets a client send, however fast the rows are taken.
func TestCreditRate(t *testing.T) {
	site := sitetest.Start(t, strings.Replace(queries(t), "rate_limit 1000000", "rate_limit 200 200", 1))
	c := dial(t, site.URL(), client.Options{OnState: func(s client.State) {
		if s.Status == client.Waiting {
			t.Errorf("got %+v", s)
		}
	}})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			rows, err := c.Query(wait.Context(t), "endless", nil, &client.QueryOptions{BatchSize: 10, Window: 4})
			if err != nil {
				t.Error(err)
				return
			}
			n := 0
			for _, err := range rows.All() {
				if err != nil {
					t.Errorf("behind row %d: %v", n, err)
				}
				if n++; n == 3000 {
					break
				}
			}
		})
	}
	readers.Wait()
}

// A query that nobody wants any more ends on the server.
func TestCancelQuery(t *testing.T) {
	c := dial(t, sitetest.Start(t, queries(t)).URL(), client.Options{})
	status := func(id string) string {
		s, err := c.QueryStatus(wait.Context(t), id)
		if err != nil {
			t.Fatal(err)
		}
		return s.Status
	}
	cancelled := func(rows *client.Rows) {
		t.Helper()
		for s := status(rows.StreamID()); s != "cancelled"; s = status(rows.StreamID()) {
			if s != "streaming" && s != "paused" && s != "initializing" {
				t.Fatalf("the query is %s", s)
			}
		}
	}
	rows, err := c.Query(wait.Context(t), "endless", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for row, err := range rows.All() {
		if err != nil {
			t.Fatal(err)
		}
		if row.String() == `{"i":1000}` {
			break
		}
	}
	cancelled(rows)
	for _, err := range rows.All() {
		if !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	ctx, cancel := context.WithCancel(wait.Context(t))
	defer cancel()
	if rows, err = c.Query(ctx, "endless", nil, nil); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err = range rows.All() {
		if n++; n == 500 {
			cancel()
		}
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	cancelled(rows)
	if rows, err = c.Query(wait.Context(t), "endless", nil, nil); err != nil {
		t.Fatal(err)
	}
	rows.Close()
	cancelled(rows)
}

// TestCutQuery reads a result over connections that are cut again and again.
func TestCutQuery(t *testing.T) {
	p := sitetest.NewProxy(t, sitetest.Start(t, queries(t)).Address)
	c := dial(t, p.URL(), quick)
	var progress atomic.Int64
	var readers sync.WaitGroup
	var over atomic.Bool
	for i, o := range []client.QueryOptions{{BatchSize: 10}, {BatchSize: 50, Window: 1}, {BatchSize: 7, Arrays: true}, {BatchSize: 1000}} {
		readers.Go(func() {
			for round := 0; !over.Load() || round == 0; round++ {
				if err := readAll(wait.Context(t), c, &o, &progress); err != nil {
					t.Errorf("%d, round %d: %v", i, round, err)
					return
				}
			}
		})
	}
	cutter(p, 100, &progress, rand.New(rand.NewPCG(2, rand.Uint64())))
	over.Store(true)
	readers.Wait()
}

func readAll(ctx context.Context, c *client.Client, o *client.QueryOptions, progress *atomic.Int64) error {
	rows, err := c.Query(ctx, "some", nil, o)
	if err != nil {
		return err
	}
	var n int64
	for row, err := range rows.All() {
		if err != nil {
			return fmt.Errorf("behind row %d: %w", n, err)
		}
		var id int64
		if o.Arrays {
			var values []any
			err = row.Decode(&values)
			id = int64(values[0].(float64))
		} else {
			var r reading
			err = row.Decode(&r)
			id = r.ID
		}
		if n++; err != nil || id != n {
			return fmt.Errorf("row %d is %s: %w", n, row, err)
		}
		if n%50 == 0 {
			progress.Add(1)
		}
	}
	if n != 2000 {
		return fmt.Errorf("got %d rows", n)
	}
	return nil
}

// shop is a database that can be written to, and a site that lets it be watched.
func shop(t testing.TB) (db *sql.DB, directives string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	write(t, db, "pragma journal_mode = wal")
	write(t, db, "create table orders (id integer primary key, owner text, total integer)")
	return db, ws(`
		rate_limit 1000000
		source shop sqlite ` + path + `
		query orders {
			source shop
			sql "select id, owner, total from orders order by id"
			allow anyone
			watch {
				key id
				on table orders
				debounce 1ms
			}
		}
		query owned {
			source shop
			sql "select id, owner, total from orders order by id"
			allow anyone
			watch {
				key owner id
				on table orders
				debounce 1ms
			}
		}`)
}

func write(t testing.TB, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// mirror is what follows from a watch's changes.
type mirror map[string]string

func (m mirror) apply(change client.Change) error {
	key := string(change.Key)
	_, there := m[key]
	if there != (change.Op != client.Insert) || (change.Row == nil) != (change.Op == client.Delete) {
		return fmt.Errorf("%s of %s, where it is %v that there is one", change.Op, key, there)
	}
	if change.Op == client.Delete {
		delete(m, key)
	} else {
		m[key] = change.Row.String()
	}
	return nil
}

func watch(t testing.TB, c *client.Client, query string, key ...string) *client.Live {
	t.Helper()
	live, err := c.Watch(wait.Context(t), query, nil, client.WatchOptions{Key: key, BatchSize: 7})
	if err != nil {
		t.Fatal(err)
	}
	return live
}

func TestWatch(t *testing.T) {
	db, directives := shop(t)
	for i := range 20 {
		write(t, db, "insert into orders values (?, 'ann', ?)", i, 10*i)
	}
	c := dial(t, sitetest.Start(t, directives).URL(), client.Options{})
	live, owned := watch(t, c, "orders", "id"), watch(t, c, "owned", "owner", "id")
	if row, ok := live.Get(3); !ok || row.String() != `{"id":3,"owner":"ann","total":30}` || live.Len() != 20 || live.Stale() != nil {
		t.Errorf("got %s, %v, %d rows", row, ok, live.Len())
	}
	if row, ok := owned.Get([]any{"ann", 4}); !ok || len(owned.Snapshot()) != 20 {
		t.Errorf("got %s, %v", row, ok)
	}
	got, n := mirror{}, 0
	for change, err := range live.Changes(wait.Context(t)) {
		if err == nil {
			err = got.apply(change)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n++; n <= 20 && (change.Op != client.Insert || string(change.Key) != fmt.Sprint(n-1)) {
			t.Fatalf("change %d is %+v", n, change)
		}
		switch n {
		case 20:
			write(t, db, "update orders set total = 1 where id = 5")
		case 21:
			if string(change.Key) != "5" || change.Op != client.Update {
				t.Fatalf("got %+v", change)
			}
			write(t, db, "delete from orders where id = 6")
		case 22:
			write(t, db, "insert into orders values (100, 'bob', 7)")
		}
		if n == 23 {
			break
		}
	}
	if !maps.Equal(got, texts(live.Snapshot())) || got["100"] == "" || got["6"] != "" {
		t.Errorf("got %v", got)
	}
	if _, err := c.Watch(wait.Context(t), "orders", nil, client.WatchOptions{Key: []string{"nothing"}}); err == nil {
		t.Error("there is no such column")
	}
	if _, err := c.Watch(wait.Context(t), "orders", nil, client.WatchOptions{}); err == nil {
		t.Error("a key is needed")
	}
	if _, err := c.Watch(wait.Context(t), "orders", nil, client.WatchOptions{Key: []string{"id"}, MaxBytes: 100}); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Watch(wait.Context(t), "orders", nil, client.WatchOptions{Key: []string{"owner"}}); err == nil {
		t.Error("two rows have the same owner")
	}
	wrong := watch(t, c, "orders", "total") // as long as totals differ it works
	write(t, db, "update orders set owner = 'bob' where id = 9")
	for change, err := range wrong.Changes(wait.Context(t)) {
		if err != nil {
			break
		}
		if len(change.Key) == 0 {
			t.Fatalf("got %+v", change)
		}
	}
	live.Close()
	for _, err := range live.Changes(wait.Context(t)) {
		if err != nil && !errors.Is(err, client.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

func texts(rows map[string]client.Row) map[string]string {
	out := make(map[string]string, len(rows))
	for key, row := range rows {
		out[key] = row.String()
	}
	return out
}

// TestCutWatch changes a table while the connections of those who watch it are cut, and holds their copies against the table at the end.
func TestCutWatch(t *testing.T) {
	db, directives := shop(t)
	for i := range 50 {
		write(t, db, "insert into orders values (?, 'ann', 0)", i)
	}
	p := sitetest.NewProxy(t, sitetest.Start(t, directives).Address)
	c := dial(t, p.URL(), quick)
	var lives []*client.Live
	for range 3 {
		lives = append(lives, watch(t, c, "orders", "id"))
	}
	var progress atomic.Int64
	var writer, readers sync.WaitGroup
	var over atomic.Bool
	rng := rand.New(rand.NewPCG(3, rand.Uint64()))
	writer.Go(func() {
		rng := rand.New(rand.NewPCG(4, rand.Uint64()))
		for n := 1; !over.Load(); n++ {
			switch id := rng.IntN(80); rng.IntN(3) {
			case 0:
				write(t, db, "delete from orders where id = ?", id)
			case 1:
				write(t, db, "insert or replace into orders values (?, 'bob', ?)", id, n)
			default:
				write(t, db, "update orders set total = ? where id between ? and ?", n, id, id+rng.IntN(10))
			}
			progress.Add(1)
		}
		write(t, db, "insert into orders values (1000000, 'end', 0)")
	})
	got := make([]mirror, len(lives))
	for i, live := range lives {
		readers.Go(func() {
			got[i] = mirror{}
			for change, err := range live.Changes(wait.Context(t)) {
				if err == nil {
					err = got[i].apply(change)
				}
				if err != nil {
					t.Errorf("%d: %v", i, err)
					return
				}
				if string(change.Key) == "1000000" {
					break
				}
			}
		})
	}
	cutter(p, 100, &progress, rng)
	over.Store(true)
	writer.Wait()
	readers.Wait()
	want := table(t, db)
	for i, live := range lives {
		if have := texts(live.Snapshot()); !maps.Equal(have, want) {
			t.Errorf("%d: the copy has %d rows of %d", i, len(have), len(want))
		}
		// What Changes has not given yet.
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		live.Close()
		for change, err := range live.Changes(ended) {
			if err == nil {
				err = got[i].apply(change)
			} else if errors.Is(err, client.ErrClosed) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !maps.Equal(got[i], want) {
			t.Errorf("%d: the changes lead to %d rows of %d", i, len(got[i]), len(want))
		}
	}
}

func table(t testing.TB, db *sql.DB) map[string]string {
	t.Helper()
	rows, err := db.Query("select id, owner, total from orders")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := make(map[string]string)
	for rows.Next() {
		var r struct {
			ID    int64  `json:"id"`
			Owner string `json:"owner"`
			Total int64  `json:"total"`
		}
		if err := rows.Scan(&r.ID, &r.Owner, &r.Total); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		out[fmt.Sprint(r.ID)] = string(text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
