package stream

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// script is one run of a stream: what the client asks for and does, and what the database does.
type script struct {
	rows, batchSize int
	credits         int // -1: none
	grants          []int
	cancelAt        int // message after which the client cancels; -1: never
	failAt          int // row instead of which the database fails; -1: never
}

func drawScript(t *rapid.T) script {
	s := script{
		rows:      rapid.IntRange(0, 120).Draw(t, "rows"),
		batchSize: rapid.IntRange(1, 40).Draw(t, "batch size"),
		credits:   rapid.IntRange(-1, 4).Draw(t, "credits"),
		grants:    rapid.SliceOfN(rapid.IntRange(0, 3), 1, 20).Draw(t, "grants"),
		cancelAt:  rapid.IntRange(-1, 8).Draw(t, "cancel at"),
		failAt:    -1,
	}
	if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
		s.failAt = rapid.IntRange(0, s.rows).Draw(t, "fail at")
	}
	return s
}

// play runs the script; the client's side acts within Send, where the order of events is certain.
func (s script) play(t *rapid.T) []message {
	result := &memory{rows: s.rows, before: func(_ context.Context, row int) error {
		if row == s.failAt {
			return errors.New("disk on fire")
		}
		return nil
	}}
	client := &recorder{ended: make(chan message, 1)}
	group := NewRegistry(nil).NewGroup(Owner{}, client)
	defer group.Close()
	credit, seen := s.credits, 0
	client.hook = func(m message) {
		if seen == s.cancelAt && !m.ending() {
			if err := group.Cancel(m.StreamID, `"c"`, "client"); err != nil {
				t.Errorf("cancel: %v", err)
			}
		}
		if m.Type == "query_batch" {
			credit--
		}
		if s.credits >= 0 && !m.ending() {
			if m.Type == "query_batch" && credit < 0 {
				t.Errorf("batch %d came without credit", m.BatchNumber)
			}
			n := s.grants[seen%len(s.grants)]
			if credit == 0 {
				n = max(n, 1)
			}
			if credit += n; n > 0 {
				if err := group.Credit(m.StreamID, n); err != nil {
					t.Errorf("credit: %v", err)
				}
			}
		}
		seen++
	}
	req := Request{Query: &Query{Name: "q", Statement: result}, BatchSize: s.batchSize, ID: "7"}
	if s.credits >= 0 {
		req.Credits = &s.credits
	}
	if err := group.Start(req); err != nil {
		t.Fatal(err)
	}
	<-client.ended
	group.Close()
	if !result.idle() {
		t.Errorf("the result was not closed")
	}
	return client.all()
}

// expect is the naive model: all messages but the stream's id.
func (s script) expect() (batches [][]int, ending string) {
	available := s.rows
	if s.failAt >= 0 {
		available = s.failAt
	}
	for from := 0; from < available; from += s.batchSize {
		to := min(from+s.batchSize, available)
		// The batch in which the database fails is not sent, nor is one whose next row cannot be had.
		if s.failAt >= 0 && to == s.failAt {
			break
		}
		var batch []int
		for row := from; row < to; row++ {
			batch = append(batch, row)
		}
		batches = append(batches, batch)
	}
	switch {
	case s.cancelAt >= 0 && s.cancelAt <= len(batches):
		return batches[:s.cancelAt], "query_cancelled"
	case s.failAt >= 0:
		return batches, "error"
	default:
		return batches, "query_completed"
	}
}

func TestStreamAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScript(t)
		got := s.play(t)
		batches, ending := s.expect()
		if len(got) != len(batches)+2 {
			t.Fatalf("%d messages, want query_started, %d batches, %s: %+v", len(got), len(batches), ending, got)
		}
		if first := got[0]; first.Type != "query_started" || string(first.ID) != "7" || first.Query != "q" {
			t.Fatalf("first is %+v", first)
		}
		sent := 0
		for i, want := range batches {
			m := got[i+1]
			if m.Type != "query_batch" || m.BatchNumber != i || m.StreamID != got[0].StreamID || len(m.Rows) != len(want) {
				t.Fatalf("batch %d is %+v, want rows %v", i, m, want)
			}
			for j, row := range want {
				if text := fmt.Sprintf(`{"id":%d,"name":"row %d"}`, row, row); string(m.Rows[j]) != text {
					t.Fatalf("batch %d has row %s, want %s", i, m.Rows[j], text)
				}
			}
			sent += len(want)
			if last := s.failAt < 0 && sent == s.rows; m.HasMore == nil || *m.HasMore == last {
				t.Fatalf("batch %d of %+v has has_more %v", i, s, m.HasMore)
			}
		}
		checkEnding(t, s, got[len(got)-1], got[0].StreamID, ending, sent, len(batches))
	})
}

func checkEnding(t *rapid.T, s script, m message, streamID, want string, sent, batches int) {
	if m.Type != want || m.StreamID != streamID {
		t.Fatalf("%+v ends with %+v, want %s", s, m, want)
	}
	switch want {
	case "query_completed":
		if m.TotalRows != int64(sent) || m.Batches != int64(batches) {
			t.Fatalf("%+v after %d rows in %d batches", m, sent, batches)
		}
	case "query_cancelled":
		if m.RowsSent != int64(sent) || m.Reason != "client" || string(m.ID) != `"c"` {
			t.Fatalf("%+v after %d rows", m, sent)
		}
	case "error":
		if m.Code != protocol.QueryFailed || m.ID != nil {
			t.Fatalf("%+v", m)
		}
	}
}
