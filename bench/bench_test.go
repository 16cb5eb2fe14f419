package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// TestMain lets the test's binary be the servers too, as the program's own is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serveWord {
		if err := serve(os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// Every case, so small that it takes no time: that all arrives, and that all figures are there.
func TestCases(t *testing.T) {
	// The race detector has every process sleep for a second at its end, and the servers are many.
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=10")
	o := &options{rounds: 1, large: true, sizes: sizes{
		subscribers: 5, many: 6, broadcasts: 4, flood: 20, paced: 10, idle: 5, settle: time.Millisecond, idleOn: time.Millisecond,
		operations: 20, turns: 5,
		rows: 1050, streaming: time.Millisecond, readers: 2, stopped: 1000, calm: 20 * time.Millisecond, cancels: 2,
		sharing: 20 * time.Millisecond, firsts: 3,
	}}
	var progress bytes.Buffer
	measured, err := run(t.Context(), o, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	var text strings.Builder
	if err := measured.write(&text); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &text)
	for _, c := range cases() {
		for _, s := range c.subjects {
			figures := 0
			for _, r := range measured.rows {
				if r.bench == c.name && r.subject.name == s.name && len(r.rounds) == 1 {
					figures++
				}
			}
			if figures < 2 {
				t.Errorf("%s has %d figures for %s", c.name, figures, s.name)
			}
		}
	}
}

// A message that does not come must be told, and how many.
func TestMissing(t *testing.T) {
	a := &audience{members: []*member{{}, {}, {}}, all: make(chan struct{}, 1), failed: make(chan error, 1)}
	a.expect(4)
	a.members[1].got.Store(3)
	a.failed <- errSlow
	if err := a.wait(t.Context()); err == nil || !strings.Contains(err.Error(), "9 of 12 deliveries are missing") {
		t.Errorf("got %v", err)
	}
}

// The rows are the same from everywhere, value by value: otherwise the figures of two sources are not comparable.
func TestSourcesAgree(t *testing.T) {
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=10")
	const n = 230
	whole := t.Context()
	data := &databases{rows: n}
	defer func() {
		if err := data.close(); err != nil {
			t.Error(err)
		}
	}()
	subjects := []subject{raw}
	for _, source := range []string{"memory", "sqlite", "postgres", "ndjson", "neuroquantum"} {
		subjects = append(subjects, reading(source, ""))
	}
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			l, err := s.launch(whole, data) // which may start what others need too
			if err != nil {
				t.Fatal(err)
			}
			p, err := startProcess(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := p.stop(); err != nil {
					t.Error(err)
				}
			}()
			for i, row := range allRows(t, p, s.source, n) {
				var want any
				if err := json.Unmarshal(appendRow(nil, int64(i)+1), &want); err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(row) != fmt.Sprint(want) {
					t.Fatalf("row %d is %v, want %v", i+1, row, want)
				}
			}
		})
	}
}

// allRows takes n rows of a stream.
func allRows(t *testing.T, p *process, source string, n int64) (all []any) {
	c, err := dialStreams(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.ask("rows", rowsOf(source, n), batchRows, noCredit); err != nil {
		t.Fatal(err)
	}
	for {
		e, err := c.event()
		if err != nil {
			t.Fatal(err)
		}
		switch e.kind {
		case "batch":
			var batch struct{ Rows []any }
			if err := json.Unmarshal(e.text, &batch); err != nil {
				t.Fatal(err)
			}
			all = append(all, batch.Rows...)
		case "completed":
			if int64(len(all)) != n {
				t.Fatalf("%d rows of %d", len(all), n)
			}
			return all
		}
	}
}

// A stream whose batches are not all there, once and in order must be told.
func TestTally(t *testing.T) {
	batch := func(number, first, last int64, more bool) string {
		msg := protocol.AppendQueryBatchStart(nil, theStream, number)
		for id := first; id <= last; id++ {
			if msg = appendRow(msg, id); id < last {
				msg = append(msg, ',')
			}
		}
		return string(protocol.AppendQueryBatchEnd(msg, more))
	}
	completed := func(rows, batches int64) string {
		return string(protocol.AppendQueryCompleted(nil, protocol.QueryCompleted{StreamID: theStream, Rows: rows, Batches: batches}))
	}
	for name, test := range map[string]struct {
		messages []string
		good     bool
	}{
		"all":              {[]string{batch(0, 1, 100, true), batch(1, 101, 150, false), completed(150, 2)}, true},
		"a batch missing":  {[]string{batch(0, 1, 100, true), batch(2, 201, 250, false), completed(150, 2)}, false},
		"a number missing": {[]string{batch(0, 1, 100, true), batch(2, 101, 150, false), completed(150, 2)}, false},
		"a batch twice":    {[]string{batch(0, 1, 100, true), batch(0, 1, 100, true), completed(150, 2)}, false},
		"a row missing":    {[]string{batch(0, 1, 99, true), batch(1, 101, 150, false), completed(150, 2)}, false},
		"the end missing":  {[]string{batch(0, 1, 100, true), completed(150, 2)}, false},
		"no last batch":    {[]string{batch(0, 1, 100, true), batch(1, 101, 150, true), completed(150, 2)}, false},
		"more behind it":   {[]string{batch(0, 1, 100, false), batch(1, 101, 150, false), completed(150, 2)}, false},
		"another total":    {[]string{batch(0, 1, 100, true), batch(1, 101, 150, false), completed(149, 2)}, false},
		"other batches":    {[]string{batch(0, 1, 100, true), batch(1, 101, 150, false), completed(150, 3)}, false},
		"an error":         {[]string{batch(0, 1, 100, true), `{"type":"error","code":"QUERY_FAILED"}`}, false},
		"cancelled":        {[]string{batch(0, 1, 100, true), `{"type":"query_cancelled","stream_id":"` + theStream + `"}`}, false},
		"cut":              {[]string{batch(0, 1, 100, true)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				for _, msg := range test.messages {
					if _, err := theirs.Write(appendFrame(nil, opText, []byte(msg), false)); err != nil {
						return
					}
				}
			}()
			c := &client{framer: framer{conn: ours, buf: make([]byte, 64)}}
			defer c.close()
			if err := c.drain(150, true); (err == nil) != test.good {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFiguresAreShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.0123456: "0.0123", 1.2345: "1.23", 12.345: "12.3", 1234.5: "1234"} {
		if got := short(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}
