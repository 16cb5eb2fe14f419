package sqlite

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

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
	params := []stream.Param{{Name: "a", Type: stream.TypeText}, {Name: "b", Type: stream.TypeText}}
	run := func(sql string, args ...stream.Value) time.Duration {
		began := threadTime(t)
		// Errors are an answer too, such as that of a value that is too long.
		if st, err := s.PrepareRaw(t.Context(), sql, params[:len(args)]); err == nil {
			if r, err := st.Query(t.Context(), stream.Run{Args: args}); err == nil {
				for r.Next() {
					r.AppendValue(nil, 0)
				}
				_ = r.Close()
			}
		}
		return threadTime(t) - began
	}
	const units = 20
	began := threadTime(t)
	for range units {
		run("select upper(@a)", values[5])
	}
	unit := (threadTime(t) - began) / units
	most := 150 * unit
	calls := 0
	for name, kinds := range offered(t, s) {
		for _, count := range arities(kinds) {
			slowest, worst := time.Duration(0), ""
			try := func(i, j int) {
				args := make([]string, count)
				for k := range args {
					args[k] = []string{"@a", "@b"}[k%2]
				}
				call := call(name, args)
				for _, sql := range []string{"select " + call, "select " + call + " over () from (values (1), (2))"} {
					if kinds[int64(count)] != "w" && strings.Contains(sql, "over") {
						continue
					}
					calls++
					if took := run(sql, []stream.Value{values[i], values[j]}[:min(count, 2)]...); took > slowest {
						slowest, worst = took, fmt.Sprintf("%s with %.40s and %.40s", sql, values[i], values[j])
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
				for i := range values {
					for j := range values {
						try(i, j)
					}
				}
			}
			t.Logf("%-20s %3d %v = %.0f units  %s", name, count, slowest, float64(slowest)/float64(unit), worst[:min(len(worst), 120)])
			if slowest > most {
				t.Errorf("%.150s: %v, more than %v", worst, slowest, most)
			}
		}
	}
	t.Logf("%d calls, a unit is %v", calls, unit)
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
