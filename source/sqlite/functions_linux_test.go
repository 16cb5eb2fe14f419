package sqlite

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	lib "modernc.org/sqlite/lib"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// threadTime returns the CPU time of the calling thread.
func threadTime(t testing.TB) time.Duration {
	t.Helper()
	const thread = 1 // RUSAGE_THREAD
	var usage syscall.Rusage
	if err := syscall.Getrusage(thread, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// offered lists the functions that SQLite offers, by name, with the numbers of their arguments, of which -1 is any, and their kinds.
func offered(t testing.TB, s *Source) map[string]map[int64]string {
	t.Helper()
	c, err := s.pool.get(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.pool.put(c, true)
	st, _, err := c.prepare(t.Context(), "select distinct name, narg, type from pragma_function_list")
	if err != nil {
		t.Fatal(err)
	}
	defer st.finalize()
	functions := make(map[string]map[int64]string)
	for {
		row, err := st.step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !row {
			return functions
		}
		name := string(st.columnText(0))
		if functions[name] == nil {
			functions[name] = make(map[int64]string)
		}
		functions[name][st.columnInt64(1)] = string(st.columnText(2))
	}
}

// Whatever can be a window function counts against maxAggregates.
func TestAggregatesAreKnown(t *testing.T) {
	for name, kinds := range offered(t, provision(t, &Source{Path: database(t, readings)})) {
		for _, kind := range kinds {
			if kind != "s" && !isOneOf(name, aggregates) {
				t.Errorf("%s is of kind %s and not among the aggregates", name, kind)
			}
		}
	}
}

// dearest returns values of the largest size that functions may find hard.
func dearest() []stream.Value {
	const n = defaultRawValue - 8
	fill := func(part string) string { return strings.Repeat(part, n/len(part)) }
	members := func(prefix string) string {
		var b strings.Builder
		for i := 0; b.Len() < n-20; i++ {
			fmt.Fprintf(&b, `,"%s%d":1`, prefix, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	var distinct strings.Builder
	for r := rune(0x4e00); distinct.Len() < n-4; r++ {
		distinct.WriteRune(r)
	}
	texts := []string{
		fill("a"), fill("z"), fill("y") + "z", fill("a")[:n/2] + "b", fill("0"), fill("9"), "0." + fill("0")[2:] + "1", distinct.String(), fill("'"),
		fill("%a")[:255], strings.Repeat("%_", 127) + "b", "*" + strings.Repeat("[^b]", 63), strings.Repeat("*a", 127) + "b", strings.Repeat("*?", 127),
		members("k"), members("z"), "[" + fill("1,")[:n-3] + "1]", strings.Repeat("[", 999) + strings.Repeat("]", 999), fill("["), fill(`{"a":`),
		strings.Repeat(`{"a":`, 990) + "1" + strings.Repeat("}", 990), `"` + fill(`\u0061`) + `"`, fill(`\u0061`),
		"$" + fill(".a"), "$" + fill("[0]"), "$[#-1]", "$.k1", "$" + strings.Repeat(".a", 900),
		fill("%s"), fill("%J"), fill("%!.9999999999f"), "%60000.60000f", "%-.*c", "2024-01-01", "0000-01-01", "9999-12-31 23:59:59.999", "+9999 months", "auto",
	}
	values := []stream.Value{
		{Type: stream.TypeInteger, Integer: 1<<63 - 1}, {Type: stream.TypeInteger, Integer: -1 << 63}, {Type: stream.TypeInteger, Integer: n},
		{Type: stream.TypeNumber, Number: 1e308}, {Type: stream.TypeNumber, Number: -5e-324},
	}
	for _, s := range texts {
		values = append(values, text(s))
	}
	return values
}

// No call of a function that is open to clients takes long, whatever its arguments: nothing interrupts it. SQLite is asked which functions
// there are. What a call takes is counted in CPU time of its thread, against that of a simple function on a value of the same size.
func TestEveryFunctionIsBounded(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := provision(t, &Source{Path: database(t, readings)})
	values := dearest()
	c, err := s.pool.get(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	heap.enter(c)
	defer func() {
		heap.leave(c)
		s.pool.put(c, true)
	}()
	prepare := func(sql string) *stmt {
		st, _, err := c.prepare(t.Context(), sql)
		if err != nil {
			return nil // it is closed, or takes other arguments
		}
		t.Cleanup(st.finalize)
		return st
	}
	run := func(st *stmt, args ...stream.Value) time.Duration {
		began := threadTime(t)
		for i, arg := range args {
			_ = bindValue(st, i+1, arg)
		}
		// Errors are an answer too, such as that of a value that is too long.
		for row, err := st.step(t.Context()); row && err == nil; row, err = st.step(t.Context()) {
			st.columnText(0)
		}
		lib.Xsqlite3_reset(c.tls, st.handle)
		return threadTime(t) - began
	}
	const units = 500
	began := threadTime(t)
	upper := prepare("select upper(@a)")
	for range units {
		run(upper, values[5])
	}
	unit := (threadTime(t) - began) / units
	most := 3000 * unit // glob takes 1,300; unhex with two arguments would take 100,000
	open := 0
	for name, kinds := range offered(t, s) {
		for _, count := range arities(kinds) {
			args := make([]string, count)
			for k := range args {
				args[k] = []string{"@a", "@b"}[k%2]
			}
			statements := []string{"select " + call(name, args)}
			if kinds[int64(count)] == "w" {
				statements = append(statements, statements[0]+" over () from (values (1), (2))")
			}
			var prepared []*stmt
			for _, sql := range statements {
				if st := prepare(sql); st != nil {
					prepared = append(prepared, st)
					open++
				}
			}
			slowest, worst := time.Duration(0), ""
			try := func(i, j int) {
				for k, st := range prepared {
					if took := run(st, []stream.Value{values[i], values[j]}[:min(count, 2)]...); took > slowest {
						slowest, worst = took, fmt.Sprintf("%.80s with %.40s and %.40s", statements[k], values[i], values[j])
					}
				}
			}
			switch count {
			case 0:
				try(0, 0)
			case 1:
				for i := range values {
					try(i, 0)
				}
			default:
				// All pairs where a function takes two; each value in a few where it takes any number.
				stride := 1
				if kinds[int64(count)] == "" || count > 2 {
					stride = 13
				}
				if underRace {
					stride = 127 // the rest is tried without the race detector
				}
				for pair := 0; pair < len(values)*len(values); pair += stride {
					try(pair/len(values), pair%len(values))
				}
			}
			t.Logf("%s/%d: %.0f units", name, count, float64(slowest)/float64(unit))
			if slowest > most {
				t.Errorf("%.150s: %v, more than %v", worst, slowest, most)
			}
		}
	}
	t.Logf("%d calls are open, a unit is %v", open, unit)
	if open < 150 {
		t.Errorf("%d calls are open", open)
	}
}

// call writes a call of a function, some of which are operators.
func call(name string, args []string) string {
	if name == "->" || name == "->>" {
		return args[0] + " " + name + " " + args[1]
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// arities lists the numbers of arguments to try.
func arities(kinds map[int64]string) []int {
	var list []int
	for n := range kinds {
		if n >= 0 {
			list = append(list, int(n))
		} else {
			list = append(list, 1, 2, 3, 99)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
