package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database makes a database file by running script.
func database(t testing.TB, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	execute(t, path, script)
	return path
}

func execute(t testing.TB, path, script string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(script); err != nil {
		t.Fatal(err)
	}
}

const readings = `
create table readings (id integer primary key, sensor text not null, value real, ok boolean, extra json);
insert into readings values
	(1, 'kitchen', 21.5, 1, '{"a": [1]}'),
	(2, 'kitchen', null, 0, 'no json'),
	(3, 'attic', -3, 2, null);
create view warm as select * from readings where value > 20;
`

func provision(t testing.TB, s *Source) *Source {
	t.Helper()
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

func mustQuery(t testing.TB, st stream.Statement, total stream.TotalMode, args ...stream.Value) stream.Rows {
	t.Helper()
	r, err := st.Query(context.Background(), stream.Run{Args: args, Total: total})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// drain reads all rows as JSON arrays without their brackets, and closes them.
func drain(t testing.TB, r stream.Rows) []string {
	t.Helper()
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
	if err := errors.Join(r.Err(), r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	return all
}

func text(s string) stream.Value   { return stream.Value{Type: stream.TypeText, Text: s} }
func integer(n int64) stream.Value { return stream.Value{Type: stream.TypeInteger, Integer: n} }

func TestProvision(t *testing.T) {
	folder := t.TempDir()
	other := filepath.Join(folder, "other.txt")
	if err := os.WriteFile(other, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	good := database(t, readings)
	t.Setenv("NQ_TEST_DB", good)
	for _, s := range []*Source{{Path: good}, {Path: "{env.NQ_TEST_DB}"}} {
		provision(t, s)
	}
	missing := filepath.Join(folder, "missing.db")
	for _, s := range []*Source{
		{}, {Path: missing}, {Path: folder}, {Path: other}, {Path: ":memory:"}, {Path: "{env.NQ_TEST_NONE}"}, {Path: "{nonsense}"},
		{Path: good, MaxConnections: -1}, {Path: good, MaxConnections: 1001}, {Path: good, BusyTimeout: -1},
	} {
		if err := s.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v passes", s)
		}
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing database was made: %v", err)
	}
	if _, err := new(Source).Prepare(context.Background(), stream.Text{SQL: "select 1"}, nil); err == nil {
		t.Error("prepared on nothing")
	}
}

func TestPrepare(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings)})
	sensor := stream.Param{Name: "sensor", Type: stream.TypeText}
	for _, query := range []string{
		"select * from readings", "select * from readings;", " /* a */ select 1 -- b ; c", "select 1; -- c\n ; /* d */",
		"values (1), (2)", "with t(a) as (select 1) select a from t", "select * from warm", "select upper(sensor) from readings",
		"with recursive c(i) as (select 1 union all select i+1 from c limit 3) select i from c",
	} {
		if _, err := s.Prepare(context.Background(), stream.Text{SQL: query}, nil); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	mustPrepare(t, s, "select * from readings where sensor = @sensor or @sensor = ''", sensor)
	for query, complaint := range map[string]string{
		"":                                     "no statement",
		" ; -- nothing":                        "no statement",
		"select * from nowhere":                "nowhere",
		"select nothing from readings":         "nothing",
		`select "sensr" from readings`:         "sensr",
		"selec 1":                              "selec",
		"select 1; select 2":                   "more than one",
		"select 1; drop table readings":        "more than one",
		"select 1; nonsense":                   "more than one",
		"select 1\x00":                         "NUL",
		"insert into readings values (9, 'x')": "",
		"delete from readings":                 "not authorized",
		"insert into readings(id) values (7) returning id": "not authorized",
		"create table t (a)":                          "",
		"attach 'x.db' as x":                          "not authorized",
		"pragma table_info(readings)":                 "not authorized",
		"select * from pragma_table_info('readings')": "",
		"begin":                       "not authorized",
		"commit":                      "not authorized",
		"savepoint a":                 "not authorized",
		"vacuum into 'x.db'":          "",
		"explain select 1":            "not a select",
		"explain query plan select 1": "not a select",
		"select load_extension('x')":  "load_extension",
		"select @other":               "@other",
		"select ?":                    "parameters are written @name",
		"select ?1":                   "parameters are written @name",
		"select :sensor":              "parameters are written @name",
		"select $sensor":              "parameters are written @name",
		"select 1 as unused":          "@sensor is not used",
	} {
		params := []stream.Param{sensor}
		if _, err := s.Prepare(context.Background(), stream.Text{SQL: query}, params); err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%s: %v, want %s", query, err, complaint)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Prepare(ctx, stream.Text{SQL: "select 1"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestValues(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings)})
	r := mustQuery(t, mustPrepare(t, s, "select * from readings order by id"), stream.TotalNone)
	want := []stream.Column{{Name: "id", Type: "integer"}, {Name: "sensor", Type: "text"}, {Name: "value", Type: "real"}, {Name: "ok", Type: "boolean"}, {Name: "extra", Type: "json"}}
	for i, c := range r.Columns() {
		if c != want[i] {
			t.Errorf("column %d is %+v", i, c)
		}
	}
	if _, kind := r.Total(); kind != stream.KindUnknown {
		t.Errorf("total is %s", kind)
	}
	got := strings.Join(drain(t, r), "\n")
	if want := `1,"kitchen",21.5,true,{"a": [1]}` + "\n" + `2,"kitchen",null,false,"no json"` + "\n" + `3,"attic",-3,2,null`; got != want {
		t.Errorf("got\n%s", got)
	}
	for expression, want := range map[string]string{
		"9223372036854775807": "9223372036854775807", "-1": "-1", "0.1": "0.1", "1e300": "1e+300", "9e999": "null", "-0.0": "-0",
		"x'00ff'": `"AP8="`, "x''": `""`, "''": `""`, "'ä\"'": `"ä\""`, "cast(x'61ff' as text)": `"a` + "\ufffd" + `"`,
		"'a' || char(0) || 'b'": `"a\u0000b"`, "char(10)": `"\n"`, "null": "null", "1 = 1": "1",
	} {
		r := mustQuery(t, mustPrepare(t, s, "select "+expression+" as v"), stream.TotalNone)
		if c := r.Columns()[0]; c != (stream.Column{Name: "v"}) {
			t.Errorf("column %+v", c)
		}
		if got := drain(t, r); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %s, want %s", expression, got, want)
		}
	}
}

func TestArguments(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings)})
	params := []stream.Param{
		{Name: "t", Type: stream.TypeText}, {Name: "i", Type: stream.TypeInteger}, {Name: "n", Type: stream.TypeNumber},
		{Name: "b", Type: stream.TypeBoolean}, {Name: "at", Type: stream.TypeTimestamp}, {Name: "u", Type: stream.TypeUUID},
	}
	st := mustPrepare(t, s, "select @u, @at, @b, @n, @i, @t, @t", params...)
	args := []stream.Value{
		text("x' or 1=1 --ä"), integer(1 << 62), {Type: stream.TypeNumber, Number: 0.5}, {Type: stream.TypeBoolean, Boolean: true},
		{Type: stream.TypeTimestamp, Timestamp: time.Date(2026, 1, 31, 1, 2, 3, 4_000_000, time.UTC)}, {Type: stream.TypeUUID, Text: "u-u"},
	}
	for _, total := range []stream.TotalMode{stream.TotalNone, stream.TotalExact} {
		got := drain(t, mustQuery(t, st, total, args...))
		if want := `"u-u","2026-01-31T01:02:03.004Z",1,0.5,4611686018427387904,"x' or 1=1 --ä","x' or 1=1 --ä"`; got[0] != want {
			t.Errorf("got %s", got[0])
		}
	}
	if _, err := st.Query(context.Background(), stream.Run{Args: args[:2]}); err == nil {
		t.Error("too few arguments pass")
	}
}

func TestTotals(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings)})
	st := mustPrepare(t, s, "select id from readings where sensor = @s -- no order", stream.Param{Name: "s", Type: stream.TypeText})
	check := func(mode stream.TotalMode, arg string, want int64, kind stream.TotalKind) {
		t.Helper()
		r := mustQuery(t, st, mode, text(arg))
		if n, k := r.Total(); n != want || k != kind {
			t.Errorf("%s of %s: got %d, %s", mode, arg, n, k)
		}
		drain(t, r)
	}
	check(stream.TotalExact, "kitchen", 2, stream.KindExact)
	check(stream.TotalEstimate, "none", 0, stream.KindExact)
	// Without any time to count, an estimate is what the last complete run with the same arguments had.
	st.budget = 0
	check(stream.TotalEstimate, "attic", 0, stream.KindUnknown)
	check(stream.TotalEstimate, "attic", 1, stream.KindEstimate)
	check(stream.TotalEstimate, "kitchen", 0, stream.KindUnknown)
	check(stream.TotalExact, "kitchen", 2, stream.KindExact)

	// A run that was broken off says nothing of the number of rows.
	r := mustQuery(t, st, stream.TotalEstimate, text("cellar"))
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	check(stream.TotalEstimate, "cellar", 0, stream.KindUnknown)
}

func TestCountsAreBounded(t *testing.T) {
	c := newCounts()
	for i := range int64(3 * maxCounts) {
		c.put(keyOf([]stream.Value{integer(i)}), i)
	}
	if len(c.rows) != maxCounts {
		t.Errorf("%d counts", len(c.rows))
	}
	if a, b := keyOf([]stream.Value{text("a"), text("b")}), keyOf([]stream.Value{text("a1:b"), text("")}); a == b {
		t.Errorf("one key %s for different arguments", a)
	}
}

// The total and the rows are of one state of the database, whatever is written in between.
func TestTotalAndRowsAgree(t *testing.T) {
	path := database(t, "pragma journal_mode = wal;"+readings)
	s := provision(t, &Source{Path: path})
	r := mustQuery(t, mustPrepare(t, s, "select id from readings"), stream.TotalExact)
	execute(t, path, "insert into readings(id, sensor) values (100, 'new')")
	if n, _ := r.Total(); n != int64(len(drain(t, r))) {
		t.Errorf("total %d", n)
	}
}

func TestUnmarshalCaddyfile(t *testing.T) {
	for input, want := range map[string]Source{
		"sqlite a.db": {Path: "a.db"},
		"sqlite a.db {\n max_connections 3\n busy_timeout 2s\n}": {Path: "a.db", MaxConnections: 3, BusyTimeout: caddy.Duration(2 * time.Second)},
	} {
		var s Source
		if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)); err != nil || s != want {
			t.Errorf("%s: got %+v, %v", input, s, err)
		}
	}
	for _, input := range []string{
		"sqlite", "sqlite a b", "sqlite a {\n max_connections\n}", "sqlite a {\n max_connections x\n}", "sqlite a {\n max_connections 0\n}",
		"sqlite a {\n busy_timeout x\n}", "sqlite a {\n busy_timeout 0\n}", "sqlite a {\n nonsense 1\n}",
		"sqlite a {\n max_connections 1\n max_connections 2\n}", "sqlite a {\n max_connections 1 2\n}",
	} {
		var s Source
		if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)); err == nil || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: %v", input, err)
		}
	}
}

func TestInt64Strings(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings)})
	st := mustPrepare(t, s, "select id, value, ok, 9223372036854775807, null from readings where id = 1")
	r, err := st.Query(context.Background(), stream.Run{Int64Strings: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := drain(t, r); got[0] != `"1",21.5,true,"9223372036854775807",null` {
		t.Errorf("got %s", got)
	}
}
