package neuroquantumws_test

import (
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

const noStream = "00000000-0000-4000-8000-000000000000"

func TestCancel(t *testing.T) {
	s := serve(t, queries(t, ""))
	c, other := s.dial(), s.dial()
	for _, request := range []M{
		{"query": "many", "batch_size": 1},                   // runs as fast as it can
		{"query": "readings", "batch_size": 1, "credits": 5}, // waits for credit
		{"query": "slow"},                                    // waits for the database
	} {
		t.Run(rowText([]any{request}), func(t *testing.T) {
			started := start(c, request)
			id := started.Text("stream_id")
			cancel := M{"type": "cancel_query", "stream_id": id}
			other.Refused("CANCEL_FAILED", cancel)
			c.Send(M{"type": "cancel_query", "stream_id": strings.ToUpper(id), "id": "the cancel"})
			o := follow(c, started, nil)
			if m := o.end; m.Type() != "query_cancelled" || m["id"] != "the cancel" || m.Int("rows_sent") != len(o.rows) || m.Text("reason") == "" {
				t.Errorf("after %d rows: %v", len(o.rows), m)
			}
			c.Refused("CANCEL_FAILED", cancel)
			if m := c.AskFor("query_status", M{"type": "query_status", "stream_id": id}); m.Text("status") != "cancelled" ||
				m.Int("rows_sent") != len(o.rows) || m.Int("batches_sent") != o.batches {
				t.Errorf("got %v", m)
			}
			c.Ping()
			if c.Backlog() > 0 {
				t.Errorf("after the cancel: %v", c.Next())
			}
		})
	}
	c.Refused("CANCEL_FAILED", M{"type": "cancel_query", "stream_id": noStream})
	for _, id := range []any{"", "x", strings.Repeat("x", 1000)} {
		c.Refused("INVALID_STREAM_ID", M{"type": "cancel_query", "stream_id": id})
		c.Refused("INVALID_STREAM_ID", M{"type": "query_status", "stream_id": id})
		c.Refused("INVALID_STREAM_ID", M{"type": "credit", "stream_id": id, "batches": 1})
	}
	c.Refused("INVALID_STREAM_ID", M{"type": "query_status", "stream_id": noStream})
	c.Refused("INVALID_MESSAGE", M{"type": "cancel_query"})
	c.Refused("INVALID_MESSAGE", M{"type": "query_status", "stream_id": 5})
}

// More batches than were granted are never sent, whether the client reads them or not.
func TestCreditIsNeverExceeded(t *testing.T) {
	s := serve(t, queries(t, "stream {\nprogress_interval 20ms\n}"))
	c := s.dial()
	started := start(c, M{"query": "readings", "batch_size": 100, "credits": 3})
	id := started.Text("stream_id")
	granted, batches, pauses := 3, 0, 0
	grants := []int{1, 2, 7, 1}
	for {
		m := c.Next()
		switch m.Type() {
		case "query_batch":
			batches++
			if batches > granted {
				t.Fatalf("batch %d with a credit of %d", batches, granted)
			}
		case "query_progress":
			if m.Text("state") != "paused" || batches < granted {
				continue
			}
			status := c.AskFor("query_status", M{"type": "query_status", "stream_id": id})
			if status.Text("status") != "paused" || status.Int("batches_sent") != granted || status.Int("rows_sent") != granted*100 {
				t.Fatalf("with a credit of %d: %v", granted, status)
			}
			if len(grants) == 0 {
				grants = []int{1000}
			}
			pauses++
			c.Send(M{"type": "credit", "stream_id": id, "batches": grants[0]})
			granted, grants = granted+grants[0], grants[1:]
		case "query_completed":
			if batches != 117 || pauses != 5 {
				t.Errorf("%d batches, %d pauses", batches, pauses)
			}
			c.Send(M{"type": "credit", "stream_id": id, "batches": 1}) // too late, which is no fault
			c.Ping()
			if c.Backlog() > 0 {
				t.Errorf("got %v", c.Next())
			}
			for _, batches := range []any{0, -1, 1.5, "1", nil} {
				c.Refused("INVALID_MESSAGE", M{"type": "credit", "stream_id": id, "batches": batches})
			}
			return
		default:
			t.Fatalf("got %v", m)
		}
	}
}

func TestProgress(t *testing.T) {
	s := serve(t, queries(t, "stream {\nprogress_interval 10ms\n}"))
	c := s.dial()
	started := start(c, M{"query": "readings", "batch_size": 100, "credits": 1})
	id := started.Text("stream_id")
	rows, percentage, elapsed := 0, -1.0, -1
	for seen := 0; seen < 60; {
		m := c.Next()
		if m.Type() == "query_batch" {
			continue
		}
		if m.Type() != "query_progress" || m.Text("stream_id") != id {
			t.Fatalf("got %v", m)
		}
		seen++
		p, ok := m["percentage"].(float64)
		if !ok || p < percentage || p > 100 || m.Int("rows_processed") < rows || m.Int("elapsed_ms") < elapsed {
			t.Fatalf("after %d rows and %v %%: %v", rows, percentage, m)
		}
		rows, percentage, elapsed = m.Int("rows_processed"), p, m.Int("elapsed_ms")
		for _, name := range []string{"throughput", "bytes", "stalled_ms"} {
			if n, ok := m[name].(float64); !ok || n < 0 {
				t.Fatalf("%s of %v", name, m)
			}
		}
		if !m.Has("eta_ms") || m.Text("state") == "" {
			t.Fatalf("got %v", m)
		}
		c.Send(M{"type": "credit", "stream_id": id, "batches": 1})
	}
	c.AskFor("query_cancelled", M{"type": "cancel_query", "stream_id": id})
	// The time that the database takes is told as well, and a total that is not known.
	id = start(c, M{"query": "slow"}).Text("stream_id")
	for range 5 {
		if m := c.Until("query_progress"); m.Text("stream_id") != id || m["percentage"] != nil || m["eta_ms"] != nil {
			t.Fatalf("got %v", m)
		}
	}
	if m := c.AskFor("query_status", M{"type": "query_status", "stream_id": id}); m.Text("status") != "streaming" ||
		!m.Has("progress") || m["progress"] != nil || m.Int("elapsed_ms") < 0 {
		t.Errorf("got %v", m)
	}
}

func TestStatusOfEndedStreams(t *testing.T) {
	s := serve(t, queries(t, ""))
	c, other := s.dial(), s.dial()
	id := start(c, M{"query": "readings", "batch_size": 5000}).Text("stream_id")
	done := c.Until("query_completed")
	m := c.AskFor("query_status", M{"type": "query_status", "stream_id": id})
	if m.Text("status") != "completed" || m.Int("progress") != 100 || m.Int("rows_sent") != 11688 || m.Int("batches_sent") != 3 ||
		m["stream_id"] != m["query_id"] || done.Int("execution_time_ms") < 0 {
		t.Errorf("%v, then %v", done, m)
	}
	other.Refused("INVALID_STREAM_ID", M{"type": "query_status", "stream_id": id})
	other.Refused("INVALID_STREAM_ID", M{"type": "credit", "stream_id": id, "batches": 1})
}

// failing starts a query and takes the error that ends it.
func failing(c *wstest.Client, request M, code string) {
	t := c.T()
	t.Helper()
	started := start(c, request)
	id := started.Text("stream_id")
	o := follow(c, started, nil)
	if o.end.Type() != "error" || o.end.Text("code") != code || o.end.Has("id") {
		t.Errorf("got %v, want %s", o.end, code)
	}
	for _, secret := range []string{"select", "recursive", "demo.db", "/"} {
		if strings.Contains(o.end.Text("message"), secret) {
			t.Errorf("the client is told %q", o.end.Text("message"))
		}
	}
	if m := c.AskFor("query_status", M{"type": "query_status", "stream_id": id}); m.Text("status") != "failed" {
		t.Errorf("got %v", m)
	}
	c.Refused("CANCEL_FAILED", M{"type": "cancel_query", "stream_id": id})
	if c.Backlog() > 0 {
		t.Errorf("behind the ending: %v", c.Next())
	}
}

func TestMaxDuration(t *testing.T) {
	s := serve(t, queries(t, `
		stream {
			max_duration 500ms
		}
		query patient {
			source demo
			sql "`+endless+`"
			max_duration 1s
			allow anyone
		}`))
	c := s.dial()
	for _, query := range []string{"slow", "patient"} {
		failing(c, M{"query": query}, "QUERY_TIMEOUT")
	}
	failing(c, M{"query": "readings", "credits": 1}, "QUERY_TIMEOUT") // its client's slowness is included
}

// While the number of rows is still counted there is nothing to cancel by, but the limit holds.
func TestMaxDurationHoldsForTheTotal(t *testing.T) {
	s := serve(t, queries(t, `
		stream {
			max_duration 150ms
		}
		query counted {
			source demo
			sql "`+endless+`"
			total exact
			allow anyone
		}`))
	c := s.dial()
	c.Refused("QUERY_TIMEOUT", M{"type": "stream_query", "query": "counted"})
	c.Ping()
}

func TestStall(t *testing.T) {
	s := serve(t, queries(t, "stream {\nstall_timeout 1s\nprogress_interval 20ms\n}"))
	c := s.dial()
	failing(c, M{"query": "readings", "credits": 0}, "STREAM_ERROR")
	failing(c, M{"query": "readings", "batch_size": 10, "credits": 3}, "STREAM_ERROR")
	// One that grants in time goes on for longer than that in all. Its progress is the clock.
	id := start(c, M{"query": "many", "batch_size": 1, "credits": 1}).Text("stream_id")
	for told := 0; told < 60; {
		m := c.Next()
		switch m.Type() {
		case "query_progress":
			told++
			c.Send(M{"type": "credit", "stream_id": id, "batches": 1})
		case "query_batch":
		default:
			t.Fatalf("got %v", m)
		}
	}
	c.AskFor("query_cancelled", M{"type": "cancel_query", "stream_id": id})
}

func TestQueryThatFails(t *testing.T) {
	path := database(t, "create table n (i integer)", "insert into n values (1), (2), (3)")
	s := serve(t, "source db sqlite "+path+`
		query fails {
			source db
			sql "select case when i < 3 then i else abs(-9223372036854775807 - 1) end from n"
			allow anyone
		}`)
	c := s.dial()
	failing(c, M{"query": "fails", "batch_size": 1}, "QUERY_FAILED")
}

// A client that goes takes its queries along, whatever they wait for.
func TestStreamsEndWithTheirConnection(t *testing.T) {
	s := serve(t, queries(t, ""))
	h := hubOf(t, "default")
	for _, request := range []M{
		{"query": "slow"}, {"query": "readings", "credits": 0}, {"query": "many", "batch_size": 1},
	} {
		for _, go_ := range []func(*wstest.Client){(*wstest.Client).Close, (*wstest.Client).Cut} {
			c := s.dial()
			start(c, request)
			conn := h.Connection(c.Welcome.Text("connection_id"))
			go_(c)
			ended(t, conn) // it waits for its streams
		}
	}
}
