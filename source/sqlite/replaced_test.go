package sqlite

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// The functions of ours answer as SQLite's own do.
func TestReplacedFunctionsAnswerAsSQLitesOwn(t *testing.T) {
	s := provision(t, &Source{Path: database(t, readings)})
	value := rapid.OneOf(
		rapid.SampledFrom([]string{"null", "''", "x''", "12", "1.5", "'1.50'", "x'c3a4'", "'ä'"}),
		rapid.Map(rapid.StringMatching("[ab0-9 ä€😀-]{0,6}"), func(s string) string { return "'" + s + "'" }),
	)
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(replaced).Draw(t, "function")
		call := f.name + "("
		for i := range f.args {
			if i > 0 {
				call += ", "
			}
			call += value.Draw(t, "value")
		}
		sql := "select typeof(v), quote(v) from (select " + call + ") as v)"
		named, err := s.Prepare(t.Context(), stream.Text{SQL: sql}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := named.Query(t.Context(), stream.Run{})
		if err != nil {
			t.Fatal(err)
		}
		r.Next()
		want := string(r.AppendValue(r.AppendValue(nil, 0), 1))
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if r, err = mustRaw(t, s, sql); err != nil {
			t.Fatal(err)
		}
		r.Next()
		got := string(r.AppendValue(r.AppendValue(nil, 0), 1))
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("%s: got %s, SQLite's own gives %s", call, got, want)
		}
	})
}

func mustRaw(t *rapid.T, s *Source, sql string) (stream.Rows, error) {
	st, err := s.PrepareRaw(t.Context(), sql, nil)
	if err != nil {
		return nil, err
	}
	return st.Query(t.Context(), stream.Run{})
}
