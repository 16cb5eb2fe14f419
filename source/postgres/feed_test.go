package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/pgtest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func script(t testing.TB, s *pgtest.Server, text string) [][]string {
	t.Helper()
	rows, err := s.Exec(context.Background(), text)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// What the change feed cannot do is refused when the configuration is loaded, and the error says what to do.
func TestChangeFeedIsChecked(t *testing.T) {
	script(t, server, `
		create role teller login replication;
		create schema shop;
		create schema "closed Shop";
		create table shop.items (id int primary key, v text, twice int generated always as (id * 2) stored);
		create table "closed Shop"."Items" (a int, b int, primary key (b, a));
		create table shop.loose (id int);
		create table shop.full (id int);
		alter table shop.full replica identity full;
		create table shop.mute (id int primary key);
		alter table shop.mute replica identity nothing;
		create table shop.other (id int primary key);
		create unlogged table shop.fast (id int primary key);
		create view shop.seen as select * from shop.items;
		create table shop.parts (id int primary key) partition by range (id);
		create table shop.part partition of shop.parts for values from (0) to (10);
		alter table shop.items enable row level security;
		create publication shop for table shop.items, "closed Shop"."Items", shop.loose, shop.full, shop.mute, shop.parts
			with (publish_via_partition_root = true);
		create publication part for table shop.items with (publish = 'insert, update');`)
	dsn := strings.Replace(server.DSN(), "user=postgres", "user=teller", 1)
	for _, c := range []struct{ publication, table, columns, onTable, feed string }{
		{"shop", "shop.items", "id v", "", ""},
		{"shop", "Shop.ITEMS", "v id", "", ""},
		{"shop", `"closed Shop"."Items"`, "a b", "", ""},
		{"shop", `"closed Shop"."Items"`, "a", "", "column b key"},
		{"shop", "items", "id", "no table items", "no table items"},
		{"shop", "shop.items", "id w", "", "column w"},
		{"shop", "shop.items", "id twice", "", "column twice"},
		{"shop", "shop.items", "v", "", "column id key"},
		{"shop", "shop.loose", "id", "", "primary key"},
		{"shop", "shop.full", "id", "", "primary key"},
		{"shop", "shop.mute", "id", "", "replica identity"},
		{"shop", "shop.other", "id", `ALTER PUBLICATION "shop" ADD TABLE "shop"."other"`, `ALTER PUBLICATION "shop" ADD TABLE`},
		{"shop", "shop.fast", "id", "unlogged", "unlogged"},
		{"shop", "shop.seen", "id", "view", "view"},
		{"shop", "shop.parts", "id", "", ""},
		{"shop", "shop.part", "id", "", "shop.parts"},
		{"shop", "shop.none", "id", "shop.none", "shop.none"},
		{"shop", "a.b.c", "id", "a.b.c", "a.b.c"},
		{"part", "shop.items", "id", "delete, truncate", ""},
		{"none", "shop.items", "id", `CREATE PUBLICATION "none"`, `CREATE PUBLICATION "none"`},
		{"", "shop.items", "id", "publication", "publication"},
	} {
		s := provision(t, &Source{DSN: dsn, Publication: c.publication})
		fits := func(err error, words string) {
			t.Helper()
			if (err == nil) != (words == "") {
				t.Errorf("%+v: got %v", c, err)
			}
			for word := range strings.FieldsSeq(words) {
				if err != nil && !strings.Contains(err.Error(), word) {
					t.Errorf("%+v: got %v", c, err)
				}
			}
		}
		_, err := s.OnTable(t.Context(), c.table)
		fits(err, c.onTable)
		changes, err := s.OnChanges(t.Context(), c.table, strings.Fields(c.columns), false)
		fits(err, c.feed)
		if err == nil && c.table == "shop.items" {
			if facts, known := changes.Facts(); !known || !facts.RowSecurity || !facts.Known["id"] || facts.Known["v"] {
				t.Errorf("%+v: %v %v", c, facts, known)
			}
		}
	}
	// A search path counts as for queries.
	s := provision(t, &Source{DSN: dsn, Publication: "shop", Set: []Setting{{"search_path", "shop"}}})
	script(t, server, "grant usage on schema shop to teller")
	if _, err := s.OnTable(t.Context(), "items"); err != nil {
		t.Error(err)
	}
	// The login may not.
	s = provision(t, &Source{DSN: strings.Replace(server.DSN(), "user=postgres", "user=reader", 1), Publication: "shop"})
	if _, err := s.OnTable(t.Context(), "shop.items"); err == nil || !strings.Contains(err.Error(), `ALTER ROLE "reader" REPLICATION`) {
		t.Errorf("got %v", err)
	}
	// A database that is not there is no mistake of the configuration's.
	s = provision(t, &Source{DSN: "host=" + t.TempDir() + " user=x", Publication: "shop"})
	if _, err := s.OnTable(t.Context(), "shop.items"); err != nil {
		t.Error(err)
	}
	changes, err := s.OnChanges(t.Context(), "shop.items", []string{"id"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, known := changes.Facts(); known {
		t.Error("facts of nothing are known")
	}
}

func TestChangeFeedNeedsLogicalWAL(t *testing.T) {
	other, err := pgtest.Start("wal_level=replica")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Stop()
	script(t, other, "create table items (id int primary key); create publication nq for table items")
	s := provision(t, &Source{DSN: other.DSN(), Publication: "nq"})
	if _, err := s.OnTable(t.Context(), "items"); err == nil || !strings.Contains(err.Error(), "wal_level = logical") {
		t.Errorf("got %v", err)
	}
}

// A commit that nobody sees yet is not told of, though it is in the log: here for want of a standby.
func TestChangesWaitUntilTheyAreSeen(t *testing.T) {
	other, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Stop()
	script(t, other, "create table items (id int primary key); create publication nq for table items")
	script(t, other, "alter system set synchronous_standby_names = 'nobody'")
	script(t, other, "select pg_reload_conf()")
	s := provision(t, &Source{DSN: other.DSN(), Publication: "nq"})
	trigger, err := s.OnTable(t.Context(), "items")
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan string, 100)
	count := func() string { return script(t, other, "select count(*) from items")[0][0] }
	stop := trigger.Start(func() { changed <- count() })
	defer stop()
	feed, err := s.OnChanges(t.Context(), "items", []string{"id"}, false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	keys := make(chan string, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		feed.Run(ctx, zap.NewNop(), func(_ context.Context, c *stream.RowChange) {
			if c.Op == protocol.OpInsert {
				keys <- string(c.Key) + " of " + count()
			}
		})
	}()
	defer func() { cancel(); <-ended }()
	if n := <-changed; n != "0" { // once it listens
		t.Errorf("at the beginning there are %s", n)
	}
	// Another setting would have the reader's own transactions wait.
	go func() {
		_, _ = other.Exec(context.Background(), "insert into items values (7)") // it is ended below
	}()
	other.Until(t, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'", "1")
	other.Until(t, "select count(*) from pg_stat_replication where sent_lsn >= pg_current_wal_lsn()", "1")
	select {
	case n := <-changed:
		t.Fatalf("told of, though %s rows are seen", n)
	case k := <-keys:
		t.Fatalf("told of %s", k)
	case <-time.After(100 * time.Millisecond): // it can only be missed, not fail without cause
	}
	script(t, other, "alter system reset synchronous_standby_names")
	script(t, other, "select pg_reload_conf()")
	if n := <-changed; n != "1" {
		t.Errorf("told of when %s rows were seen", n)
	}
	if k := <-keys; k != "7 of 1" {
		t.Errorf("got %s", k)
	}
}

// A table that is taken out of the publication looks like one to which nothing happens: it is looked for.
func TestTableLeavesThePublication(t *testing.T) {
	script(t, server, "create table leaving (id int primary key); create publication leaving for table leaving")
	core, logs := observer.New(zap.WarnLevel)
	s := provision(t, &Source{DSN: server.DSN(), Publication: "leaving"})
	s.log = zap.New(core)
	s.reader.auditInterval = time.Millisecond
	trigger, err := s.OnTable(t.Context(), "leaving")
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 1)
	stop := trigger.Start(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer stop()
	for _, step := range []struct {
		statement, logged string
		lost              int
	}{
		{"alter publication leaving drop table leaving", `ALTER PUBLICATION "leaving" ADD TABLE`, 1},
		{"alter publication leaving add table leaving", "told again", 0},
		{"alter publication leaving set (publish = 'insert')", "update, delete, truncate", 1},
		{"alter publication leaving set (publish = 'insert, update, delete, truncate')", "told again", 0},
		{"alter table leaving rename to left_over", "there is no table public.leaving", 1},
		{"alter table left_over rename to leaving", "told again", 0},
	} {
		script(t, server, step.statement)
		wait.Until(t, step.statement, func() bool {
			for _, entry := range logs.All() {
				if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, step.logged) {
					stats, ok := s.ChangeFeed()
					return ok && stats.Wanted && stats.Up && stats.Lost == step.lost
				}
			}
			return false
		})
		if n := logs.Len(); n > 1 {
			t.Errorf("%s: logged %d times: %v", step.statement, n, logs.All())
		}
		logs.TakeAll()
		if step.lost > 0 { // as long as it is not told of it calls all the same
			<-changed
			<-changed
		}
	}
}

// TestTwoReaders: each of two processes reads all, with a slot of its own.
func TestTwoReaders(t *testing.T) {
	script(t, server, "create table shared (id int primary key); create publication twice for table shared")
	var got [2]chan string
	for i := range got {
		got[i] = make(chan string, 100)
		// Another application_name is another key, and so a reader of its own, as in another process.
		s := provision(t, &Source{DSN: fmt.Sprintf("%s application_name=edge%d", server.DSN(), i), Publication: "twice"})
		feed, err := s.OnChanges(t.Context(), "shared", []string{"id"}, false)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			feed.Run(ctx, zap.NewNop(), func(_ context.Context, c *stream.RowChange) { got[i] <- c.Op + " " + string(c.Key) })
		}()
		defer func() { cancel(); <-ended }()
		server.Until(t, fmt.Sprintf("select count(*) from pg_stat_replication where application_name = 'edge%d' and state = 'streaming'", i), "1")
	}
	script(t, server, "insert into shared values (1), (2); delete from shared where id = 1")
	for i := range got {
		if seen := strings.Join([]string{<-got[i], <-got[i], <-got[i]}, ", "); seen != "insert 1, insert 2, delete 1" {
			t.Errorf("reader %d: %s", i, seen)
		}
	}
}

func TestImpersonal(t *testing.T) {
	for value, want := range map[string]bool{"": true, "web": true, "{user}": false, "u-{user}": false} {
		s := &Source{Role: "web"}
		if value != "" {
			s.Set = []Setting{{"nq.user", value}}
		}
		statement := mustPrepare(t, provision(t, s), "select 1")
		if got := stream.Impersonal(statement); got != want {
			t.Errorf("nq.user %q: %v", value, got)
		}
	}
}
