package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/goleak"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/pgtest"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

var server *pgtest.Server

// The roles and tables that the tests share; none of them changes these tables.
const schema = `
create role web nologin;
create role reader login;
grant web to reader;
create type mood as enum ('sad', 'so so', 'happy');
create type pair as (a int, b text);
create domain positive as int check (value > 0);
create domain tiny as positive check (value < 100);
create domain intlist as int[];
create domain intlists as intlist[];
create table readings (id bigint primary key, sensor text not null, value float8, ok boolean, at timestamptz);
insert into readings select i, 'kitchen', i / 8.0, i % 2 = 0, timestamptz '2026-01-31 22:30:00Z' + i * interval '1 minute'
	from generate_series(1, 5) i;
create table secrets (id int, owner text);
insert into secrets values (1, 'ann'), (2, 'bob'), (3, 'ann'), (4, '');
alter table secrets enable row level security;
create policy own on secrets using (owner = current_setting('nq.user'));
grant select on readings, secrets to web;
create table hidden (id int);
analyze;
`

func TestMain(m *testing.M) {
	var err error
	if server, err = pgtest.Start(); err == nil {
		_, err = server.Exec(context.Background(), schema)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if server != nil {
			server.Stop()
		}
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), goleak.Cleanup(func(code int) {
		server.Stop()
		os.Exit(code)
	}))
}

func provision(t testing.TB, s *Source) *Source {
	t.Helper()
	if s.DSN == "" {
		s.DSN = server.DSN()
	}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func mustPrepare(t testing.TB, s *Source, text string, params ...stream.Param) *statement {
	t.Helper()
	st, err := s.Prepare(context.Background(), stream.Text{SQL: text}, params)
	if err != nil {
		t.Fatal(err)
	}
	return st.(*statement)
}

func mustQuery(t testing.TB, st stream.Statement, run stream.Run) stream.Rows {
	t.Helper()
	r, err := st.Query(context.Background(), run)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// read gives the rows as JSON arrays without their brackets, closes them, and tells how they ended.
func read(r stream.Rows) ([]string, error) {
	var all []string
	for r.Next() {
		var buf []byte
		for i := range r.Columns() {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = r.AppendValue(buf, i)
		}
		all = append(all, string(buf))
	}
	return all, errors.Join(r.Err(), r.Close(), r.Close())
}

func drain(t testing.TB, r stream.Rows) []string {
	t.Helper()
	all, err := read(r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func execute(t testing.TB, script string) [][]string {
	t.Helper()
	rows, err := server.Exec(context.Background(), script)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func text(s string) stream.Value   { return stream.Value{Type: stream.TypeText, Text: s} }
func integer(n int64) stream.Value { return stream.Value{Type: stream.TypeInteger, Integer: n} }

func param(name string, t stream.ParamType) stream.Param { return stream.Param{Name: name, Type: t} }

func TestRows(t *testing.T) {
	for _, fetch := range []int{0, 1, 2, 5, 100} {
		s := provision(t, &Source{FetchCursor: fetch})
		st := mustPrepare(t, s, "select * from readings where id >= @from order by id; -- all", param("from", stream.TypeInteger))
		r := mustQuery(t, st, stream.Run{Args: []stream.Value{integer(2)}})
		want := []stream.Column{
			{Name: "id", Type: "bigint"}, {Name: "sensor", Type: "text"}, {Name: "value", Type: "double precision"},
			{Name: "ok", Type: "boolean"}, {Name: "at", Type: "timestamp with time zone"},
		}
		if got := r.Columns(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("columns %v", got)
		}
		got := strings.Join(drain(t, r), "\n")
		if want := `2,"kitchen",0.25,true,"2026-01-31T22:32:00Z"` + "\n" + `3,"kitchen",0.375,false,"2026-01-31T22:33:00Z"` + "\n" +
			`4,"kitchen",0.5,true,"2026-01-31T22:34:00Z"` + "\n" + `5,"kitchen",0.625,false,"2026-01-31T22:35:00Z"`; got != want {
			t.Errorf("fetch %d: got\n%s", fetch, got)
		}
		if got := drain(t, mustQuery(t, st, stream.Run{Args: []stream.Value{integer(6)}})); len(got) != 0 {
			t.Errorf("got %v", got)
		}
	}
}

func TestArguments(t *testing.T) {
	s := provision(t, &Source{})
	params := []stream.Param{
		param("t", stream.TypeText), param("i", stream.TypeInteger), param("n", stream.TypeNumber), param("b", stream.TypeBoolean),
		param("at", stream.TypeTimestamp), param("u", stream.TypeUUID),
	}
	args := []stream.Value{
		text("x' or 1=1 --ä"), integer(1 << 62), {Type: stream.TypeNumber, Number: 0.5}, {Type: stream.TypeBoolean, Boolean: true},
		{Type: stream.TypeTimestamp, Timestamp: time.Date(2026, 1, 31, 1, 2, 3, 4_000_000, time.UTC)},
		{Type: stream.TypeUUID, Text: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
	}
	want := `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","2026-01-31T01:02:03.004Z",true,0.5,4611686018427387904,"x' or 1=1 --ä","x' or 1=1 --ä"`
	for _, total := range []stream.TotalMode{stream.TotalNone, stream.TotalEstimate, stream.TotalExact} {
		for _, fetch := range []int{0, 3} {
			s.FetchCursor = fetch
			st := mustPrepare(t, s, "select @u, @at, @b, @n, @i, @t, @t", params...)
			if got := drain(t, mustQuery(t, st, stream.Run{Args: args, Total: total})); got[0] != want {
				t.Errorf("got %s", got[0])
			}
			if _, err := st.Query(context.Background(), stream.Run{Args: args[:2], Total: total}); err == nil {
				t.Error("too few arguments pass")
			}
		}
	}
	s.FetchCursor = 0
	// The types that the statement itself gives its parameters.
	for query, arg := range map[string]stream.Value{
		"select @v::int":                                             integer(7),
		"select @v + 1::numeric - 1":                                 integer(7),
		"select 7 where @v::float8 = 7":                              integer(7),
		"select 7 where @v = 'so so'::mood":                          text("so so"),
		"select 7 where 7 = @v::text::int":                           text("7"),
		"select id + 2 from readings where id = @v":                  text("5"),
		"select 7 where @v is not null":                              integer(1),
		"select 7 where @v = date '2026-01-31'":                      {Type: stream.TypeTimestamp, Timestamp: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)},
		"select 7 from readings where value = 0.5 and id=4 limit @v": integer(1),
	} {
		st, err := s.Prepare(context.Background(), stream.Text{SQL: query}, []stream.Param{param("v", arg.Type)})
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if got := drain(t, mustQuery(t, st, stream.Run{Args: []stream.Value{arg}})); len(got) != 1 || got[0] != "7" {
			t.Errorf("%s: got %s", query, got)
		}
	}
}

// What clients give is a value, whatever it looks like.
func TestInjection(t *testing.T) {
	s := provision(t, &Source{Set: []Setting{{"nq.user", "{user}"}}})
	st := mustPrepare(t, s, "select @v::text, current_setting('nq.user')", param("v", stream.TypeText))
	for _, v := range []string{
		"'", "''; drop table readings; --", "$1", "@v", "$$", `\`, "'; select pg_sleep(100); --", "{user}", "ä\u2028", "%s", "/*", "E'\\''",
	} {
		got := drain(t, mustQuery(t, st, stream.Run{Args: []stream.Value{text(v)}, User: v, Total: stream.TotalExact}))
		want := string(stream.AppendText(append(stream.AppendText(nil, v), ','), v))
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %s", v, got)
		}
	}
}

func TestRowLevelSecurity(t *testing.T) {
	dsn := strings.Replace(server.DSN(), "user=postgres", "user=reader", 1)
	s := provision(t, &Source{DSN: dsn, Role: "web", Set: []Setting{{"nq.user", "{user}"}, {"nq.site", "a-{user}-{user}"}}, MaxConnections: 1})
	st := mustPrepare(t, s, "select id, current_user::text, current_setting('nq.site') from secrets order by id")
	for user, want := range map[string]string{
		"ann": `1,"web","a-ann-ann";3,"web","a-ann-ann"`, "bob": `2,"web","a-bob-bob"`, "": `4,"web","a--"`, "ann' or '1": "",
	} {
		for _, total := range []stream.TotalMode{stream.TotalNone, stream.TotalExact, stream.TotalEstimate} {
			r := mustQuery(t, st, stream.Run{User: user, Total: total})
			n, kind := r.Total()
			got := drain(t, r)
			if strings.Join(got, ";") != want || kind == stream.KindExact && int(n) != len(got) {
				t.Errorf("%q: got %v of %d", user, got, n)
			}
		}
	}
	// The connection keeps nothing of it.
	plain := mustPrepare(t, s, "select current_user::text, coalesce(current_setting('nq.user', true), '')")
	if got := drain(t, mustQuery(t, plain, stream.Run{})); got[0] != `"web",""` {
		t.Errorf("got %s", got)
	}
	_, err := read(mustQuery(t, mustPrepare(t, s, "select id from hidden"), stream.Run{User: "ann"}))
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v", err)
	}
	if _, err := provision(t, &Source{DSN: dsn, Role: "postgres"}).Prepare(context.Background(), stream.Text{SQL: "select 1"}, nil); err == nil {
		t.Error("a role that the login is no member of passes")
	}
}

// Nothing that a configured statement does writes, not even one that only looks like reading, and nothing lasts.
func TestReadOnly(t *testing.T) {
	execute(t, `drop table if exists written cascade; create table written (id int);
		create or replace function writes() returns int language sql as 'insert into written values (1) returning id'`)
	s := provision(t, &Source{MaxConnections: 1})
	for _, query := range []string{
		"select writes()", "with w as (insert into written values (2) returning id) select id from w", "select id from written for update",
		"select set_config('transaction_read_only', 'off', true), writes()", "select nextval(pg_get_serial_sequence('written', 'id')), writes()",
	} {
		if _, err := read(mustQuery(t, mustPrepare(t, s, query), stream.Run{})); err == nil {
			t.Errorf("%s passes", query)
		}
	}
	if got := execute(t, "select count(*) from written"); got[0][0] != "0" {
		t.Errorf("%s rows were written", got[0][0])
	}
	drain(t, mustQuery(t, mustPrepare(t, s, "select set_config('nq.left', 'behind', false), set_config('datestyle', 'German', false)"), stream.Run{}))
	if got := drain(t, mustQuery(t, mustPrepare(t, s, "select current_setting('nq.left', true), current_date > '2000-01-01'"), stream.Run{})); got[0] != `"",true` && got[0] != `null,true` {
		t.Errorf("got %s", got)
	}
}

func TestPrepare(t *testing.T) {
	s := provision(t, &Source{MaxConnections: 1})
	for _, query := range []string{
		"select * from readings", "select 1;", " /* a /* b */ */ (select 1) union select 2 -- b ; c", "select 1; -- c\n ; /* d */", "values (1), (2)",
		"with t(a) as (select 1) select a from t", "table readings", "SELECT 1",
	} {
		if _, err := s.Prepare(context.Background(), stream.Text{SQL: query}, nil); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	id := param("id", stream.TypeInteger)
	for query, complaint := range map[string]string{
		"":                                    "no statement",
		" ; -- nothing":                       "no statement",
		"select * from nowhere where 1 = @id": "nowhere",
		"select nothing, @id from readings":   "nothing",
		"select @id +":                        "syntax",
		"selec 1":                             "not a select",
		"select 1; select 2":                  "more than one",
		"select 1; drop table readings":       "more than one",
		"select 1\x00":                        "NUL",
		"insert into readings values (9)":     "not a select",
		"commit":                              "not a select",
		"explain select 1":                    "not a select",
		"select from readings where id = @id": "no columns",
		"select @other":                       "no parameter @other",
		"select $1":                           "parameters are written @name",
		"select 1 as unused":                  "@id is not used",
		"select 'a @id'":                      "@id is not used",
		"select 1 where 1 =@id":               "write a space",
		"select 1 where true = @id":           "has the type integer, but the statement uses it as bool",
		"select 'open":                        "does not end",
		"select 1 from readings where ok > @id::mood": "",
	} {
		if _, err := s.Prepare(context.Background(), stream.Text{SQL: query}, []stream.Param{id}); err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%s: %v, want %s", query, err, complaint)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Prepare(ctx, stream.Text{SQL: "select 1"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := new(Source).Prepare(context.Background(), stream.Text{SQL: "select 1"}, nil); err == nil {
		t.Error("prepared on nothing")
	}
}

// A database that is down when the configuration is loaded is no reason to refuse the configuration.
func TestDatabaseDown(t *testing.T) {
	s := provision(t, &Source{DSN: "host=" + t.TempDir() + " user=postgres"})
	st := mustPrepare(t, s, "select @n + 1", param("n", stream.TypeInteger))
	broken := mustPrepare(t, s, "select nothing")
	if _, err := s.Prepare(context.Background(), stream.Text{SQL: "select @n + 1"}, nil); err == nil {
		t.Error("an undeclared parameter passes")
	}
	if _, err := st.Query(context.Background(), stream.Run{Args: []stream.Value{integer(1)}}); err == nil || !strings.Contains(err.Error(), "no connection") {
		t.Errorf("got %v", err)
	}
	if !s.down.Load() {
		t.Error("every query would wait for the database")
	}
	config, err := parseDSN(server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	s.pool.config = config // it is up
	if got := drain(t, mustQuery(t, st, stream.Run{Args: []stream.Value{integer(1)}})); got[0] != "2" {
		t.Errorf("got %v", got)
	}
	if _, err := broken.Query(context.Background(), stream.Run{}); err == nil || !strings.Contains(err.Error(), "syntax or names") {
		t.Errorf("got %v", err)
	}
	// A login that is refused will not be better later.
	wrong := provision(t, &Source{DSN: strings.Replace(server.DSN(), "dbname=postgres", "dbname=nowhere", 1)})
	if _, err := wrong.Prepare(context.Background(), stream.Text{SQL: "select 1"}, nil); err == nil || !strings.Contains(err.Error(), "no such database") {
		t.Errorf("got %v", err)
	}
}

func TestTotals(t *testing.T) {
	s := provision(t, &Source{})
	st := mustPrepare(t, s, "select id from readings where id > @from -- no order", param("from", stream.TypeInteger))
	for mode, want := range map[stream.TotalMode]stream.TotalKind{
		"": stream.KindUnknown, stream.TotalNone: stream.KindUnknown, stream.TotalEstimate: stream.KindEstimate, stream.TotalExact: stream.KindExact,
	} {
		r := mustQuery(t, st, stream.Run{Args: []stream.Value{integer(2)}, Total: mode})
		n, kind := r.Total()
		if kind != want || kind == stream.KindExact && n != 3 || kind == stream.KindEstimate && (n < 1 || n > 5) {
			t.Errorf("%s: got %d, %s", mode, n, kind)
		}
		if got := drain(t, r); len(got) != 3 {
			t.Errorf("got %v", got)
		}
	}
	// Counting is given up in time; the query runs as usual, under its role and settings.
	s = provision(t, &Source{MaxConnections: 1, Set: []Setting{{"nq.user", "{user}"}}})
	s.budget = time.Millisecond
	st = mustPrepare(t, s, "select current_setting('nq.user'), generate_series(1, 1000000000)")
	r := mustQuery(t, st, stream.Run{Total: stream.TotalExact, User: "ann"})
	if _, kind := r.Total(); kind != stream.KindUnknown || !r.Next() || string(r.AppendValue(nil, 0)) != `"ann"` {
		t.Errorf("%s, %v", kind, r.Err())
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// The total and the rows are of one state of the database, whatever is written in between.
func TestTotalAndRowsAgree(t *testing.T) {
	execute(t, "drop table if exists growing; create table growing as select 1 as id")
	s := provision(t, &Source{})
	r := mustQuery(t, mustPrepare(t, s, "select id from growing"), stream.Run{Total: stream.TotalExact})
	execute(t, "insert into growing values (2)")
	if n, _ := r.Total(); n != int64(len(drain(t, r))) {
		t.Errorf("total %d", n)
	}
}

// What others do to a table counts from the next query on, its columns and types included.
func TestSchemaChanges(t *testing.T) {
	execute(t, "drop table if exists changing; drop type if exists later; create table changing (id int); insert into changing values (1)")
	s := provision(t, &Source{MaxConnections: 1})
	st := mustPrepare(t, s, "select * from changing")
	drain(t, mustQuery(t, st, stream.Run{}))
	execute(t, `create type later as enum ('a b'); alter table changing add column more later[] default array['a b'::later]`)
	r := mustQuery(t, st, stream.Run{})
	if c := r.Columns(); len(c) != 2 || c[1] != (stream.Column{Name: "more", Type: "later[]"}) {
		t.Errorf("columns %v", c)
	}
	if got := drain(t, r); got[0] != `1,["a b"]` {
		t.Errorf("got %s", got)
	}
	execute(t, "drop table changing")
	if _, err := st.Query(context.Background(), stream.Run{}); err == nil {
		t.Error("a query on a table that is gone")
	}
}

func TestProvision(t *testing.T) {
	t.Setenv("NQ_TEST_DSN", server.DSN())
	s := provision(t, &Source{DSN: "{env.NQ_TEST_DSN}"})
	mustPrepare(t, s, "select 1")
	for _, s := range []*Source{
		{}, {DSN: "{env.NQ_TEST_NONE}"}, {DSN: "{nonsense}"}, {DSN: "host=a port=x"}, {DSN: server.DSN(), MaxConnections: -1},
		{DSN: server.DSN(), MaxConnections: 1001}, {DSN: server.DSN(), FetchCursor: -1}, {DSN: server.DSN(), AcquireTimeout: -1},
		{DSN: server.DSN(), FirstRowTimeout: -1}, {DSN: server.DSN(), Set: []Setting{{"", "a"}}}, {DSN: server.DSN(), Set: []Setting{{"ROLE", "a"}}},
		{DSN: server.DSN(), Set: []Setting{{"a.b", ""}, {"A.b", ""}}}, {DSN: server.DSN(), Set: []Setting{{"a.b", "{nonsense}"}}},
	} {
		err := s.Provision(caddy.Context{})
		if err == nil {
			t.Errorf("%+v passes", s)
		}
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	if err := (&Source{DSN: "postgres://u:se%cret@h/d"}).Provision(caddy.Context{}); err == nil || strings.Contains(err.Error(), "cret") {
		t.Errorf("got %v", err)
	}
}

func TestUnmarshalCaddyfile(t *testing.T) {
	all := `postgres {
		dsn {env.NQ_DSN}
		max_connections 3
		role web
		set nq.user {user}
		set nq.site "a {user}"
		fetch cursor 500
		acquire_timeout 2s
		first_row_timeout 1m
	}`
	want := Source{
		DSN: "{env.NQ_DSN}", MaxConnections: 3, Role: "web", Set: []Setting{{"nq.user", "{user}"}, {"nq.site", "a {user}"}}, FetchCursor: 500,
		AcquireTimeout: caddy.Duration(2 * time.Second), FirstRowTimeout: caddy.Duration(time.Minute),
	}
	var s Source
	if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(all)); err != nil || fmt.Sprintf("%+v", s) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, options := range []string{
		"", "dsn", "dsn a b", "dsn a\n dsn b", "dsn a\n nonsense 1", "dsn a\n max_connections 0", "dsn a\n max_connections x",
		"dsn a\n max_connections 1 2", "dsn a\n role", "dsn a\n role a b", "dsn a\n role a\n role b", "dsn a\n set a", "dsn a\n set a b c",
		"dsn a\n set a.b 1\n set a.b 2", "dsn a\n set role x", "dsn a\n set DateStyle x", "dsn a\n fetch", "dsn a\n fetch cursor",
		"dsn a\n fetch cursor 0", "dsn a\n fetch all 5", "dsn a\n fetch cursor 5\n fetch cursor 6", "dsn a\n acquire_timeout 0",
		"dsn a\n acquire_timeout x", "dsn a\n first_row_timeout -1s",
	} {
		var s Source
		if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser("postgres {\n " + options + "\n}")); err == nil || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: %v", options, err)
		}
	}
	if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser("postgres dsn {\n dsn a\n}")); err == nil {
		t.Error("an argument passes")
	}
}
