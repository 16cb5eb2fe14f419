package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	lib "modernc.org/sqlite/lib"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// runRaw runs a client's own statement to its end.
func runRaw(ctx context.Context, s *Source, sql string, params []stream.Param, args ...stream.Value) ([]string, error) {
	st, err := s.PrepareRaw(ctx, sql, params)
	if err != nil {
		return nil, err
	}
	r, err := st.Query(ctx, stream.Run{Args: args})
	if err != nil {
		return nil, err
	}
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
	return all, errors.Join(r.Err(), r.Close())
}

// bomb is a table of n rows, made while it is read.
func bomb(n int) string {
	return fmt.Sprintf("with recursive c(i) as (select 1 union all select i+1 from c limit %d) ", n)
}

func TestRawReads(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings)})
	if err := errors.Join(s.CheckRaw(), s.AllowRaw(t.Context())); err != nil {
		t.Fatal(err)
	}
	sensor := []stream.Param{{Name: "sensor", Type: stream.TypeText}}
	for sql, want := range map[string]string{
		"select id from readings order by id":                    "1 2 3",
		"select id from readings where sensor = 'attic'; -- end": "3",
		"with t as (select * from warm) select id from t":        "1",
		"values (1), (2)":                                           "1 2",
		bomb(3) + "select i from c":                                 "1 2 3",
		"select name from sqlite_schema order by 1":                 `"readings" "warm"`,
		"select value from json_each('[7,8]')":                      "7 8",
		"select upper('a') || printf('%d', 5)":                      `"A5"`,
		"select sum(id) over (order by id) from readings":           "1 3 6",
		"select trim('xäyäx', 'xä') || ltrim('--a-', '-')":          `"ya-"`,
		"select rtrim(null, 'a'), trim('a', null), trim('aa', 'a')": `null,null,""`,
		"select trim('  a ') || rtrim('abc', '') || ltrim('', 'x')": `"aabc"`,
		"select hex(trim(x'ff61ff', x'ff')), trim(121, 1)":          `"61","2"`,
		"select instr('äbc', 'c'), instr('a', ''), instr('', 'a')":  "3,1,0",
		"select instr(x'c3a462', x'62'), instr('ab', x'62')":        "3,2",
		"select instr(null, 'a'), instr('a', null), instr(121, 2)":  "null,null,2",
		"select replace('abcb', 'b', 'xx'), replace('a', 'b', 'c')": `"axxcxx","a"`,
		"select replace(12, '', 'x'), replace('aa', 'a', '')":       `"12",""`,
		"select replace(null,'a','b'), replace('a','a',null)":       "null,null",
		"select unhex('61 6-2', ' -'), unhex('6 1', ' ')":           "null,null",
		"select hex(unhex('61 ä62-', ' ä-')), hex(unhex('', 'a'))":  `"6162",""`,
		"select unhex('6', ''), unhex('zz', 'y'), unhex(null, '')":  "null,null,null",
	} {
		got, err := runRaw(t.Context(), s, sql, nil)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, %v", sql, got, err)
		}
	}
	got, err := runRaw(t.Context(), s, "select id from readings where sensor = @sensor", sensor, text("' or 1=1 --"))
	if err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	// Named statements are not held to any of it.
	drain(t, mustQuery(t, mustPrepare(t, s, "select length(zeroblob(2000000))"), stream.TotalExact))
}

func TestRawRefuses(t *testing.T) {
	path := database(t, readings)
	s := provision(t, &Source{Path: path})
	for sql, want := range map[string]string{
		"":                                   "no statement",
		"select 1; select 2":                 "more than one",
		"select 1;; delete from readings":    "more than one",
		"select 1\x00":                       "NUL",
		"explain select 1":                   "not a select",
		"select ?":                           "@name",
		"select @a":                          "@a",
		"insert into readings(id) values(9)": "more than read",
		"with t as (select 1) insert into readings(id) select * from t": "more than read",
		"delete from readings returning id":                             "more than read",
		"update readings set id = 1":                                    "more than read",
		"replace into readings(id) values(9)":                           "more than read",
		"create table t (a)":                                            "more than read",
		"create temp table t as select 1":                               "more than read",
		"drop view warm":                                                "more than read",
		"attach ':memory:' as x":                                        "more than read",
		"attach 'file:/tmp/x.db?mode=rwc' as x":                         "more than read",
		"detach main":                                                   "more than read",
		"pragma query_only = 0":                                         "more than read",
		"pragma table_info(readings)":                                   "more than read",
		"select * from pragma_table_info('readings')":                   "more than read",
		"select * from pragma_database_list":                            "more than read",
		"begin immediate":                                               "more than read",
		"commit":                                                        "more than read",
		"savepoint a":                                                   "more than read",
		"analyze":                                                       "more than read",
		"reindex":                                                       "not a select",
		"vacuum into '/tmp/x.db'":                                       "",
		"select load_extension('x')":                                    "load_extension",
		"select sqlite_log(1, 'x')":                                     "sqlite_log",
		"select data from sqlite_dbpage":                                "more than read",
		"select count(*) from sqlite_dbpage":                            "more than read",
		"select * from dbstat":                                          "more than read",
		"select geopoly_area('[[0,0],[1,0],[1,1],[0,0]]')":              "geopoly_area",
		"create virtual table f using fts5(a)":                          "more than read",
		"select writefile('/tmp/x', 'y')":                               "writefile",
		"select readfile('/etc/passwd')":                                "readfile",
		"select * from nowhere":                                         "nowhere",
		"selec 1":                                                       "selec",
		"select 1" + strings.Repeat("+1", 300):                          "depth",
		"select 1" + strings.Repeat(" union all select 1", 200):         "compound",
		"select max(1" + strings.Repeat(",1", 200) + ")":                "many arguments",
		"select '" + strings.Repeat("x", defaultRawValue) + "'":         "longer than",
		"select zeroblob(2000000)":                                      "longer than",
		"select hex(randomblob(1000000))":                               "longer than",
		"select printf('%2000000d', 1)":                                 "longer than",
		bomb(2000) + "select group_concat(printf('%1000d', i)) from c":  "longer than",
		"select json_patch('{}', '{}')":                                 "json_patch",
		"select replace(hex(zeroblob(20000)), '0', 'xx')":               "longer than",
		"select 1" + strings.Repeat(", sum(id) over ()", 101) + " from readings": "more than 100",
		"select 'a' like '" + strings.Repeat("%a", 1000) + "'":                   "complex",
	} {
		fresh := provision(t, &Source{Path: path}) // it holds from the first statement on
		got, err := runRaw(t.Context(), fresh, sql, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got %v, %v, want %s", sql, got, err, want)
		}
		var bad *stream.TextError
		if known := want == "more than read" || want == "longer than"; known && (!errors.As(err, &bad) || bad.Code != protocol.QueryFailed) {
			t.Errorf("%.80s: %T", sql, err)
		}
	}
	// Nothing of it stays.
	if got, err := runRaw(t.Context(), s, "select count(*) from readings", nil); err != nil || got[0] != "3" {
		t.Errorf("got %v, %v", got, err)
	}
	param := []stream.Param{{Name: "a", Type: stream.TypeText}}
	var bad *stream.TextError
	if _, err := s.PrepareRaw(t.Context(), "select 1", param); !errors.As(err, &bad) || bad.Code != protocol.InvalidParams {
		t.Errorf("an unused parameter: %v", err)
	}
}

// What a statement costs is bounded, whatever it does.
func TestRawIsBounded(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings), MaxConnections: 2, MaxRawValue: maxRawValue})
	if !heap.measured {
		t.Fatal("SQLite does not count its memory")
	}
	heap.share = 8 << 20 // which is sooner reached
	defer func() { heap.share = rawMemory }()
	var blobs, aggregates strings.Builder
	for i := range 100 {
		fmt.Fprintf(&blobs, "cast(zeroblob(1000000 - %d) as text),", i) // each is another
		fmt.Fprintf(&aggregates, "group_concat(cast(zeroblob(10000 + %d) as text), ''),", i)
	}
	for name, sql := range map[string]string{
		"one row":    "select " + blobs.String() + "1",
		"an array":   bomb(1_000_000_000) + "select json_group_array(printf('%3000d', i)) from c",
		"aggregates": bomb(1_000_000_000) + "select " + aggregates.String() + "1 from c",
		"a sort":     bomb(1_000_000_000) + "select cast(zeroblob(10000) as text) || i x from c order by x desc",
	} {
		within(t, func() {
			var bad *stream.TextError
			if got, err := runRaw(t.Context(), s, sql, nil); !errors.As(err, &bad) {
				t.Errorf("%s: got %d rows, %v", name, len(got), err)
			}
		})
	}
	// What grows step by step is stopped before SQLite itself runs out of memory, which would hit others.
	st, err := s.PrepareRaw(t.Context(), bomb(1_000_000_000)+"select json_group_array(printf('%3000d', i)) from c", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := st.Query(t.Context(), stream.Run{})
	if err != nil {
		t.Fatal(err)
	}
	var failed *errorDB
	if _, err := r.(*rows).stmt.step(t.Context()); !errors.As(err, &failed) || failed.code&0xff != lib.SQLITE_INTERRUPT {
		t.Errorf("got %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	// Others go on.
	drain(t, mustQuery(t, mustPrepare(t, s, "select * from readings"), stream.TotalExact))
	if got, err := runRaw(t.Context(), s, "select count(*) from readings", nil); err != nil || got[0] != "3" {
		t.Errorf("got %v, %v", got, err)
	}
	if heap.running != 0 {
		t.Errorf("%d statements are thought to run", heap.running)
	}
}

func TestRawIsCancelled(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings)})
	for _, sql := range []string{
		bomb(1_000_000_000) + "select count(*) from c",
		"with recursive c(i) as (select 1 union all select i+1 from c) select count(*) from c",
		bomb(1_000_000_000) + "select i % 7, count(*) from c group by 1",
		"select trim(hex(zeroblob(30000)), 'b' || hex(zeroblob(29999)) || '0')",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), soonEnoughToBe)
		within(t, func() {
			if _, err := runRaw(ctx, s, sql, nil); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", sql, err)
			}
		})
		cancel()
	}
}

// The authorizer also holds where SQLite compiles a statement again in the middle of its run: here a table turns into a view of what
// must not be read.
func TestRawIsCheckedAgainWhenTheSchemaChanges(t *testing.T) {
	path := database(t, readings)
	s := provision(t, &Source{Path: path})
	const sql = "select * from warm"
	st, err := s.PrepareRaw(t.Context(), sql, nil)
	if err != nil {
		t.Fatal(err)
	}
	execute(t, path, "drop view warm; create view warm as select * from dbstat")
	if r, err := st.Query(t.Context(), stream.Run{}); err == nil {
		t.Errorf("got %v", drain(t, r))
	}
}

// Named and raw statements use connections of their own, but no more in all than may be open.
func TestRawSharesThePool(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings), MaxConnections: 2})
	named := mustPrepare(t, s, "select 1")
	first, second := mustQuery(t, named, stream.TotalNone), mustQuery(t, named, stream.TotalNone)
	drain(t, first)
	drain(t, second)
	for range 3 {
		if _, err := runRaw(t.Context(), s, "select 2", nil); err != nil {
			t.Fatal(err)
		}
		drain(t, mustQuery(t, named, stream.TotalNone))
	}
	if n := len(s.pool.idle); n > 2 {
		t.Errorf("%d connections are open", n)
	}
}

func TestGistQuotesNothing(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings)})
	_, err := runRaw(t.Context(), s, "select nothing from readings where sensor = 'secret'", nil)
	var e *errorDB
	if !errors.As(err, &e) || strings.Contains(e.Gist(), "nothing") || !strings.Contains(e.Gist(), "SQL logic error") {
		t.Errorf("got %v", err)
	}
}

func FuzzRaw(f *testing.F) {
	path := database(f, readings)
	s := provision(f, &Source{Path: path})
	for _, sql := range []string{
		"select * from readings", "select 1; select 2", "with recursive c(i) as (select 1 union all select i+1 from c) select * from c",
		"select trim('a', x'ff')", "delete from readings", "pragma query_only=0", "select @a, :b", "/* a */ select '''", "values(1)",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = runRaw(ctx, s, sql, nil) // it must end, and change nothing
		if got, err := runRaw(t.Context(), s, "select count(*), (select count(*) from sqlite_schema) from readings", nil); err != nil || got[0] != "3,2" {
			t.Fatalf("after %q: %v, %v", sql, got, err)
		}
	})
}

// A statement that SQLite plans for seconds is stopped while it is planned.
func TestRawIsCancelledWhileItIsPlanned(t *testing.T) {
	s := provision(t, &Source{Path: database(t, "create table t(a, b, c, d); create index i on t(a, b); create index j on t(b, c); create index k on t(c, d)")})
	var from, where strings.Builder
	for i := range 60 {
		fmt.Fprintf(&from, ", t t%d", i)
	}
	for i := range 190 {
		fmt.Fprintf(&where, " and t%d.%c = t%d.%c", i%60, "abcd"[i%4], (i*13+i/60+1)%60, "abcd"[i/4%4])
	}
	ctx, cancel := context.WithTimeout(t.Context(), soonEnoughToBe)
	defer cancel()
	within(t, func() {
		_, err := s.PrepareRaw(ctx, "select 1 from "+from.String()[2:]+" where "+where.String()[5:], nil)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
