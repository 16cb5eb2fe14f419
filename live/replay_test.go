package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// table is a statement that gives the same rows at every run, each value being JSON, unless something fails.
type table struct {
	columns []string
	rows    [][]string
	refuse  func(run int) error      // of Query
	fail    func(run, row int) error // of Next

	runs, open int
}

func (s *table) Query(ctx context.Context, run stream.Run) (stream.Rows, error) {
	s.runs++
	if len(run.Args) != 0 || run.Total != "" || run.User != "" {
		return nil, fmt.Errorf("run %+v", run)
	}
	if s.refuse != nil {
		if err := s.refuse(s.runs); err != nil {
			return nil, err
		}
	}
	s.open++
	return &tableRows{table: s, ctx: ctx, at: -1, run: s.runs}, nil
}

type tableRows struct {
	*table
	ctx     context.Context
	at, run int
	err     error
	closed  bool
}

func (r *tableRows) Columns() (out []stream.Column) {
	for _, name := range r.columns {
		out = append(out, stream.Column{Name: name})
	}
	return out
}

func (r *tableRows) Total() (int64, stream.TotalKind) { return 0, stream.KindUnknown }

func (r *tableRows) Next() bool {
	if r.err = r.ctx.Err(); r.err != nil || r.at+1 >= len(r.rows) {
		return false
	}
	r.at++
	if r.fail != nil {
		r.err = r.fail(r.run, r.at)
	}
	return r.err == nil
}

func (r *tableRows) AppendValue(dst []byte, i int) []byte { return append(dst, r.rows[r.at][i]...) }
func (r *tableRows) Err() error                           { return r.err }

func (r *tableRows) Close() error {
	if !r.closed {
		r.closed = true
		r.open--
	}
	return nil
}

// sent is a published message and when it was.
type sent struct {
	after         time.Duration
	channel, data string
}

// replay runs a replay for so long and gives what it has published and logged. It must end with its context and close its rows.
func replay(t *testing.T, r Replay, statement *table, runFor time.Duration) (out []sent, logged []observer.LoggedEntry) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	r.Name, r.Statement, r.Log, r.Counts = "feed", statement, zap.New(core), new(Counts)
	refuse := r.Publish
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		r.Publish = func(ctx context.Context, channel string, data []byte) error {
			if !json.Valid(data) {
				t.Errorf("published %q", data)
			}
			out = append(out, sent{time.Since(start), channel, string(data)})
			if refuse != nil {
				return refuse(ctx, channel, data)
			}
			return nil
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.Run(ctx)
		}()
		<-time.After(runFor)
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case <-ended:
		default:
			t.Error("it runs on without a context")
			<-ended
		}
	})
	if statement.open != 0 {
		t.Errorf("%d results are still open", statement.open)
	}
	return out, logs.All()
}

func template(t *testing.T, text string) Template {
	t.Helper()
	out, err := ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// three is a table of three sensors.
func three() *table {
	return &table{columns: []string{"sensor", "value"}, rows: [][]string{{`"a"`, "1"}, {`"b\u002fc"`, "2.5"}, {"7", "null"}}}
}

// steps are the seconds at which rows went out, by their first letter.
func steps(out []sent) (seconds []int) {
	for _, s := range out {
		seconds = append(seconds, int(s.after/time.Second))
	}
	return seconds
}

func TestReplay(t *testing.T) {
	out, logged := replay(t, Replay{Channel: template(t, "s/{row.sensor}"), Every: time.Second, Rows: 1}, three(), 4*time.Second)
	want := []sent{
		{1 * time.Second, "s/a", `{"sensor":"a","value":1}`},
		{2 * time.Second, "s/b/c", `{"sensor":"b\u002fc","value":2.5}`},
		{3 * time.Second, "s/7", `{"sensor":7,"value":null}`},
		{4 * time.Second, "s/a", `{"sensor":"a","value":1}`},
	}
	if !slices.Equal(out, want) {
		t.Errorf("got  %v\nwant %v", out, want)
	}
	if len(logged) != 0 {
		t.Errorf("logged %v", logged)
	}
}

func TestReplayPace(t *testing.T) {
	five := &table{columns: []string{"n"}, rows: [][]string{{"1"}, {"2"}, {"3"}, {"4"}, {"5"}}}
	none := &table{columns: []string{"n"}}
	tests := []struct {
		name      string
		statement *table
		rows      int
		want      []int // seconds of the rows of 6 seconds
		runs      int
	}{
		{"one a step", five, 1, []int{1, 2, 3, 4, 5, 6}, 2},
		{"several a step, the last step of a run not full", five, 2, []int{1, 1, 2, 2, 3, 4, 4, 5, 5, 6}, 3},
		{"a run a step", five, 5, []int{1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6}, 7},
		{"more a step than there are", five, 9, []int{1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6}, 7},
		{"no rows", none, 1, nil, 7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.statement.runs = 0
			out, logged := replay(t, Replay{Channel: template(t, "c"), Every: time.Second, Rows: tt.rows}, tt.statement, 6*time.Second)
			if got := steps(out); !slices.Equal(got, tt.want) {
				t.Errorf("rows went out at %v, want %v", got, tt.want)
			}
			if tt.statement.runs != tt.runs {
				t.Errorf("%d runs, want %d", tt.statement.runs, tt.runs)
			}
			if len(logged) != 0 {
				t.Errorf("logged %v", logged)
			}
		})
	}
}

func TestReplayTriesAgain(t *testing.T) {
	fault := errors.New("disk on fire")
	firstRun := func(run int) error {
		if run == 1 {
			return fault
		}
		return nil
	}
	tests := []struct {
		name    string
		change  func(*table, *Replay)
		want    []int // seconds of the first rows
		message string
	}{
		{"the query does not start", func(s *table, _ *Replay) { s.refuse = firstRun }, []int{5, 6, 7}, "starting the query: disk on fire"},
		{"a row cannot be read", func(s *table, _ *Replay) {
			s.fail = func(run, row int) error {
				if row == 1 {
					return firstRun(run)
				}
				return nil
			}
		}, []int{1, 6, 7}, "disk on fire"},
		{"publishing fails", func(_ *table, r *Replay) {
			calls := 0
			r.Publish = func(context.Context, string, []byte) error { calls++; return firstRun(calls) }
		}, []int{1, 6, 7}, `publishing to "s/a": disk on fire`},
		{"a row makes no channel", func(s *table, _ *Replay) { s.rows[0][0] = `"a b"` }, nil,
			`a row gives the channel "s/a b": a channel name holds no control characters, no white space and no invisible characters`},
		{"a row makes a pattern", func(s *table, _ *Replay) { s.rows[0][0] = `"*"` }, nil,
			`a row gives the channel "s/*": this needs the name of one channel, not a pattern`},
		{"a row makes a channel of the server", func(s *table, r *Replay) {
			s.rows[0][0] = `"$sys"`
			r.Channel.literals[0] = ""
		}, nil, `a row gives the channel "$sys": channels that begin with $ belong to the server`},
		{"a column is missing", func(s *table, _ *Replay) { s.columns[0] = "Sensor" }, nil, `the query has no column "sensor"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			statement, r := three(), Replay{Channel: template(t, "s/{row.sensor}"), Every: time.Second, Rows: 1}
			tt.change(statement, &r)
			out, logged := replay(t, r, statement, 7*time.Second)
			if got := steps(out); !slices.Equal(got, tt.want) {
				t.Errorf("rows went out at %v, want %v", got, tt.want)
			}
			if len(logged) == 0 || logged[0].Level != zapcore.ErrorLevel {
				t.Fatalf("logged %v", logged)
			}
			if fields := logged[0].ContextMap(); fields["error"] != tt.message || fields["feed"] != "feed" {
				t.Errorf("logged %v", fields)
			}
			if wantLines := map[bool]int{true: 1, false: 2}[tt.want != nil]; len(logged) != wantLines {
				t.Errorf("%d lines, want %d", len(logged), wantLines)
			}
		})
	}
}

// TestReplayEndsWhileItWaits ends the context at all the places where a replay waits: for a step, and after an error.
func TestReplayEndsWhileItWaits(t *testing.T) {
	failing := &table{refuse: func(int) error { return errors.New("no") }}
	for name, tt := range map[string]struct {
		statement *table
		runFor    time.Duration
	}{
		"for the first step": {three(), 500 * time.Millisecond},
		"between two":        {three(), 1500 * time.Millisecond},
		"without rows":       {&table{}, 500 * time.Millisecond},
		"after an error":     {failing, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			_, logged := replay(t, Replay{Channel: template(t, "c"), Every: time.Second, Rows: 1}, tt.statement, tt.runFor)
			if want := map[bool]int{true: 1, false: 0}[tt.statement.refuse != nil]; len(logged) != want {
				t.Errorf("logged %v", logged)
			}
		})
	}
}

func TestReplayWithoutColumns(t *testing.T) {
	out, _ := replay(t, Replay{Channel: template(t, "c"), Every: time.Second, Rows: 1}, &table{rows: [][]string{{}}}, time.Second)
	if len(out) != 1 || out[0].data != "{}" {
		t.Errorf("published %v", out)
	}
}
