package stream

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// one are the parameters of interrupted.
var one = []byte(`{"n":1}`)

// place is a hub in which connections come and go.
type place struct{ registry *Registry }

// connect makes a user's connection.
func (p place) connect(t testing.TB, user string) (*Group, *recorder) {
	client := &recorder{}
	group := p.registry.NewGroup(Owner{ConnectionID: "c-" + user, User: user}, client)
	t.Cleanup(group.Close)
	return group, client
}

// resumption drives one result over several connections.
type resumption struct {
	t        *rapid.T
	place    place
	result   *memory
	request  Request
	got      []string // rows
	batches  int
	ended    bool
	resumed  int
	streamID string
}

// on runs the stream on a connection of its own, which breaks after so many batches.
func (r *resumption) on(breakAfter int) {
	client := &recorder{ended: make(chan message, 1)}
	group := r.place.registry.NewGroup(Owner{User: "ann"}, client)
	defer group.Close()
	broken := make(chan struct{})
	seen, credit := 0, 2
	client.hook = func(m message) {
		if m.Type != "query_batch" {
			return
		}
		if seen++; seen > breakAfter {
			return // it is on its way, but never arrives
		}
		if m.BatchNumber != r.batches {
			r.t.Errorf("batch %d comes behind %d batches", m.BatchNumber, r.batches)
		}
		r.batches++
		for _, row := range m.Rows {
			r.got = append(r.got, string(row))
		}
		if credit--; credit == 0 && r.request.Credits != nil && seen < breakAfter {
			credit = 2
			if err := group.Credit(m.StreamID, 2); err != nil {
				r.t.Error(err)
			}
		}
		if seen == breakAfter {
			close(broken)
		}
	}
	req := r.request
	if r.streamID != "" {
		req.Resume = &Resume{StreamID: r.streamID, Batch: int64(r.batches - 1)}
		r.resumed++
	}
	if err := group.Start(req); err != nil {
		r.t.Fatal(err)
	}
	var m message
	select {
	case <-broken:
	case m = <-client.ended:
	}
	select {
	case <-broken: // what came behind it was lost
		group.Close()
	default:
		r.ended = true
		if m.Type != "query_completed" || m.TotalRows != int64(r.result.rows) || m.Batches != int64(r.batches) {
			r.t.Fatalf("after %d rows in %d batches: %+v", len(r.got), r.batches, m)
		}
	}
	if started := client.of("query_started"); len(started) == 1 {
		if r.streamID != "" && started[0].StreamID != r.streamID {
			r.t.Fatalf("%s goes on as %s", r.streamID, started[0].StreamID)
		}
		r.streamID = started[0].StreamID
	}
}

// However often its connection breaks, a client that resumes gets every row once and in order.
func TestResumeAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &resumption{t: t, place: place{NewRegistry(nil)}, result: &memory{rows: rapid.IntRange(0, 200).Draw(t, "rows")}}
		r.request = Request{Query: &Query{Name: "q", Statement: r.result}, BatchSize: rapid.IntRange(1, 20).Draw(t, "batch size")}
		if rapid.Bool().Draw(t, "with credit") {
			r.request.Credits = ptr(2)
		}
		if rapid.Bool().Draw(t, "wide rows") {
			wide := strings.Repeat("x", maxKept/10)
			r.result.value = func(dst []byte, row, i int) []byte { return fmt.Appendf(dst, `"%d %d %s"`, row, i, wide) }
		}
		for range 30 {
			if r.on(rapid.IntRange(1, 8).Draw(t, "batches until it breaks")); r.ended {
				break
			}
		}
		for !r.ended {
			r.on(1000)
		}
		if len(r.got) != r.result.rows || !r.result.idle() {
			t.Fatalf("%d rows of %d", len(r.got), r.result.rows)
		}
		for i, row := range r.got {
			want := fmt.Sprintf(`{"id":%d,"name":"row %d"}`, i, i)
			if r.result.value != nil {
				want = `{"id":` + string(r.result.value(nil, i, 0)) + `,"name":` + string(r.result.value(nil, i, 1)) + "}"
			}
			if row != want {
				t.Fatalf("row %d is %.100s", i, row)
			}
		}
		if totals := r.place.registry.Totals(); totals.Resumed != int64(r.resumed) {
			t.Fatalf("%d of %d were resumed", totals.Resumed, r.resumed)
		}
	})
}

// interrupted is a stream of ann's whose connection is closed with so many batches of two rows sent.
func interrupted(t *testing.T, p place, result *memory, batches int) (streamID string, query *Query) {
	t.Helper()
	group, client := p.connect(t, "ann")
	query = &Query{Name: "q", Statement: result, Params: []Param{{Name: "n", Type: TypeInteger}}}
	start(t, group, Request{Query: query, Params: one, BatchSize: 2, Credits: &batches, Format: FormatArrays})
	synctest.Wait()
	group.Close()
	return client.streamID(t), query
}

func TestResumeRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{NewRegistry(nil)}
		id, query := interrupted(t, p, &memory{rows: 10}, 2)
		ann, client := p.connect(t, "ann")
		for name, test := range map[string]struct {
			user string
			req  Request
			code protocol.Code
		}{
			"another user":      {"bob", Request{Query: query, Params: one, Resume: &Resume{id, 1}}, protocol.InvalidStreamID},
			"nobody":            {"", Request{Query: query, Params: one, Resume: &Resume{id, 1}}, protocol.InvalidStreamID},
			"another stream":    {"ann", Request{Query: query, Params: one, Resume: &Resume{strings.Replace(id, id[:8], "00000000", 1), 1}}, protocol.InvalidStreamID},
			"no stream":         {"ann", Request{Query: query, Params: one, Resume: &Resume{"x", 1}}, protocol.InvalidStreamID},
			"another query":     {"ann", Request{Query: &Query{Name: "r", Statement: query.Statement}, Params: one, Resume: &Resume{id, 1}}, protocol.InvalidParams},
			"no query any more": {"ann", Request{QueryName: "q", Resume: &Resume{id, 1}}, protocol.QueryNotFound},
			"bad parameters":    {"ann", Request{Query: query, Params: []byte(`{"n":"x"}`), Resume: &Resume{id, 1}}, protocol.InvalidParams},
		} {
			group, _ := p.connect(t, test.user)
			if test.user == "ann" {
				group = ann
			}
			err, ok := protocol.AsError(group.Start(test.req))
			if !ok || err.Code != test.code {
				t.Errorf("%s: got %v, want %s", name, err, test.code)
			}
		}
		if name, params, err := p.registry.Resumable(id, "ann"); name != "q" || string(params) != `{"n":1}` || err != nil {
			t.Errorf("got %q, %s, %v", name, params, err)
		}
		_, _, err := p.registry.Resumable(id, "bob")
		wantRefusal(t, err, protocol.InvalidStreamID, "")
		if n := len(client.all()); n != 0 {
			t.Errorf("%d messages", n)
		}
		// What was not sent cannot be gone on from, and the stream is at an end then.
		start(t, ann, Request{ID: "1", Query: query, Params: one, Resume: &Resume{id, 2}})
		synctest.Wait()
		if m := client.last(); m.Type != "error" || m.Code != protocol.InvalidParams || string(m.ID) != "1" {
			t.Errorf("got %+v", m)
		}
	})
}

// Parameters, format and size of the batches stay; credit is granted anew.
func TestResumeGoesOnAsItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{NewRegistry(nil)}
		var asked []int64
		result := &memory{rows: 7, total: 7, kind: KindExact, start: func(_ context.Context, args []Value) error {
			asked = append(asked, args[0].Integer)
			return nil
		}}
		id, query := interrupted(t, p, result, 2)
		group, client := p.connect(t, "ann")
		start(t, group, Request{ID: "5", Query: query, Params: one, Resume: &Resume{strings.ToUpper(id), 0}, BatchSize: 5, Credits: ptr(1)})
		synctest.Wait()
		all := client.all()
		if len(all) != 2 || all[0].StreamID != id || string(all[0].ID) != "5" || *all[0].EstimatedRows != 7 || !strings.Contains(client.raw[0], `"resumed":true`) {
			t.Fatalf("got %+v", all)
		}
		if all[1].BatchNumber != 1 || len(all[1].Rows) != 2 || string(all[1].Rows[0]) != `[2,"row 2"]` {
			t.Fatalf("got %s", client.raw[1])
		}
		if status, err := group.Status(id); err != nil || status.Status != "paused" || status.Rows != 4 || status.Batches != 2 {
			t.Errorf("got %+v, %v", status, err)
		}
		if err := group.Credit(id, 10); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if m := client.last(); m.Type != "query_completed" || m.TotalRows != 7 || m.Batches != 4 || len(client.all()) != 5 {
			t.Errorf("got %+v", client.all())
		}
		if fmt.Sprint(asked) != "[1 1]" || !result.idle() {
			t.Errorf("asked with %v", asked)
		}
	})
}

// A result that is not what it was cannot be gone on with, wherever it has changed.
func TestResumeOfAChangedResult(t *testing.T) {
	for name, change := range map[string]func(m *memory){
		"another row": func(m *memory) { m.value = func(dst []byte, _, _ int) []byte { return append(dst, '0') } },
		"fewer rows":  func(m *memory) { m.rows = 3 },
		"a new row":   func(m *memory) { m.value = func(dst []byte, row, _ int) []byte { return fmt.Append(dst, row-1) } },
		"other names": func(m *memory) { m.columns = []Column{{Name: "a"}, {Name: "b"}, {Name: "c"}} },
		"nothing":     func(*memory) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := place{NewRegistry(nil)}
				result := &memory{rows: 10}
				id, query := interrupted(t, p, result, 3)
				again := &memory{rows: 10}
				change(again)
				query.Statement = again
				group, client := p.connect(t, "ann")
				start(t, group, Request{Query: query, Params: one, Resume: &Resume{id, 1}})
				synctest.Wait()
				m := client.last()
				if name == "nothing" {
					if m.Type != "query_completed" {
						t.Errorf("got %+v", m)
					}
					return
				}
				if m.Type != "error" || m.Code != protocol.StreamError || len(client.of("query_batch")) > 0 || !again.idle() {
					t.Errorf("got %+v", client.all())
				}
			})
		})
	}
}

// The end of a result is sent again without asking the database, where the client may not have it.
func TestResumeOfACompletedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{NewRegistry(nil)}
		result := &memory{rows: 7}
		id, query := interrupted(t, p, result, 4)
		for range 2 { // the connection breaks in the midst of it
			group, client := p.connect(t, "ann")
			start(t, group, Request{Query: query, Params: one, Resume: &Resume{id, 1}, Credits: ptr(1)})
			synctest.Wait()
			if all := client.all(); len(all) != 2 || all[1].BatchNumber != 2 || !*all[1].HasMore || *all[0].EstimatedRows != 7 || len(all[0].Columns) != 2 {
				t.Fatalf("got %+v", all)
			}
			group.Close()
		}
		group, client := p.connect(t, "ann")
		start(t, group, Request{Query: query, Params: one, Resume: &Resume{id, 3}})
		synctest.Wait()
		if all := client.all(); len(all) != 2 || all[1].Type != "query_completed" || all[1].TotalRows != 7 || all[1].Batches != 4 {
			t.Fatalf("got %+v", all)
		}
		if result.opened != 1 {
			t.Errorf("the database was asked %d times", result.opened)
		}
	})
}

// What belongs to other values than those at the beginning is not sent from memory.
func TestResumeWithOtherValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{NewRegistry(nil)}
		result := &memory{rows: 7}
		id, query := interrupted(t, p, result, 4)
		group, client := p.connect(t, "ann")
		start(t, group, Request{Query: query, Params: []byte(`{"n":2}`), Resume: &Resume{id, 1}})
		synctest.Wait()
		if client.last().Type != "query_completed" || result.opened != 2 {
			t.Errorf("the database was asked %d times, then %+v", result.opened, client.last())
		}
	})
}

// A connection may be gone without the server knowing it yet.
func TestResumeTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{NewRegistry(nil)}
		old, oldClient := p.connect(t, "ann")
		hold := make(chan struct{})
		result := &memory{rows: 10, before: func(_ context.Context, row int) error {
			if row == 5 {
				<-hold // the database takes its time to stop
			}
			return nil
		}}
		query := &Query{Name: "q", Statement: result}
		options := Options{MaxStreamsPerUser: 1, MaxStreamsTotal: 1}
		start(t, old, Request{Query: query, BatchSize: 2, Options: options})
		synctest.Wait()
		id := oldClient.streamID(t)
		wantRefusal(t, old.Start(Request{Query: query, Resume: &Resume{id, 0}}), protocol.InvalidStreamID, "this connection")
		lost, _ := p.connect(t, "ann")
		group, client := p.connect(t, "ann")
		start(t, group, Request{Query: query, Resume: &Resume{id, 0}, Options: options})
		synctest.Wait()
		// What the connection before this one had asked for as well may be read only now.
		wantRefusal(t, lost.Start(Request{Query: query, Resume: &Resume{id, 0}, Options: options}), protocol.InvalidStreamID, "made later")
		if n := len(client.all()); n != 0 || !p.registry.List()[0].Started.Equal(time.Now()) {
			t.Fatalf("%d messages while the other still runs", n)
		}
		close(hold)
		synctest.Wait()
		if m := oldClient.last(); m.Type != "query_cancelled" || m.Reason != "resumed on another connection" {
			t.Errorf("got %+v", m)
		}
		if batches := client.of("query_batch"); len(batches) != 4 || batches[0].BatchNumber != 1 || client.last().Type != "query_completed" {
			t.Errorf("got %+v", client.all())
		}
		if !result.idle() || p.registry.Active() != 0 || len(p.registry.users) != 0 {
			t.Error("something still runs")
		}
	})
}

func TestResumeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{NewRegistry(nil)}
		id, query := interrupted(t, p, &memory{rows: 10}, 2)
		time.Sleep(30 * time.Second)
		later, _ := interrupted(t, p, &memory{rows: 10}, 2)
		time.Sleep(resumeTime - 30*time.Second - 1)
		synctest.Wait()
		if _, _, err := p.registry.Resumable(id, "ann"); err != nil {
			t.Error("it was forgotten early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		group, _ := p.connect(t, "ann")
		wantRefusal(t, group.Start(Request{Query: query, Params: one, Resume: &Resume{id, 1}}), protocol.InvalidStreamID, "start it again")
		if _, _, err := p.registry.Resumable(later, "ann"); err != nil {
			t.Error("one that ended later is forgotten as well")
		}
		time.Sleep(resumeTime)
		synctest.Wait()
		if s := &p.registry.shelf; len(s.items) != 0 || s.bytes != 0 || s.timer != nil {
			t.Errorf("left: %+v", s)
		}
		// What its client has cancelled is at an end.
		group, client := p.connect(t, "ann")
		start(t, group, Request{Query: query, Params: []byte(`{"n":1}`), BatchSize: 2, Credits: ptr(1)})
		synctest.Wait()
		if err := group.Cancel(client.streamID(t), "", "client"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		_, _, err := p.registry.Resumable(client.streamID(t), "ann")
		wantRefusal(t, err, protocol.InvalidStreamID, "")
	})
}

func TestRemainsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := place{NewRegistry(nil)}
		var ids []string
		for range 600 { // of about 32 KiB each
			id, _ := interrupted(t, p, &memory{rows: 20, value: func(dst []byte, _, _ int) []byte {
				return append(append(append(dst, '"'), strings.Repeat("x", 2000)...), '"')
			}}, 10)
			ids = append(ids, id)
		}
		s := &p.registry.shelf
		if s.bytes > maxRemainsBytes || len(s.items) < 300 {
			t.Errorf("%d bytes of %d streams", s.bytes, len(s.items))
		}
		if _, _, err := p.registry.Resumable(ids[0], "ann"); err == nil {
			t.Error("the oldest was kept")
		}
		if _, _, err := p.registry.Resumable(ids[599], "ann"); err != nil {
			t.Error("the newest was not kept")
		}
		total := 0
		for _, r := range s.items {
			if r.trail.bytes > maxKept {
				t.Fatalf("%d bytes are kept of one", r.trail.bytes)
			}
			total += r.size()
		}
		if total != s.bytes {
			t.Errorf("%d bytes are counted, and %d there", s.bytes, total)
		}
	})
}

// TestTrailAgainstModel holds the trail against lists of all that was ever put into it.
func TestTrailAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tr trail
		type batch struct {
			text string
			mark mark
		}
		var all []batch
		var first, acked, sent, keptFrom int64 // keptFrom: of what was added since the last cut
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 400).Draw(t, "batches") {
					b := batch{strings.Repeat("x", rapid.IntRange(1, 3).Draw(t, "size")*1000), mark{rapid.Int64().Draw(t, "rows"), 7}}
					all = append(all, b)
					tr.add([]byte(b.text), b.mark)
					first = max(first, int64(len(all))-maxMarks)
					sent = int64(len(all))
				}
			},
			"acknowledge": func(t *rapid.T) {
				n := rapid.Int64Range(0, 10).Draw(t, "batches")
				tr.acknowledge(n)
				acked = min(acked+n, sent)
				keptFrom = max(keptFrom, acked)
			},
			"go back and cut": func(t *rapid.T) {
				if int64(len(all)) == first {
					return
				}
				at := rapid.Int64Range(first, int64(len(all))-1).Draw(t, "batch")
				tr.goBack(at)
				acked, sent = at+1, at+1
				if rapid.Bool().Draw(t, "cut") {
					tr.cut(at)
					all = all[:at+1]
					keptFrom = at + 1
				}
				keptFrom = max(keptFrom, at+1)
			},
			"": func(t *rapid.T) {
				if tr.length() != int64(len(all)) || tr.bytes > maxKept {
					t.Fatalf("%d batches, %d bytes", tr.length(), tr.bytes)
				}
				for _, n := range []int64{-2, -1, 0, first - 1, first, (first + int64(len(all))) / 2, int64(len(all)) - 1, int64(len(all))} {
					got, ok := tr.markOf(n)
					switch {
					case n == -1:
						if !ok || got != (mark{}) {
							t.Fatalf("the beginning is %v, %v", got, ok)
						}
					case ok != (n >= first && n < int64(len(all)) && n >= 0):
						t.Fatalf("batch %d of %d from %d: %v", n, len(all), first, ok)
					case ok && got != all[n].mark:
						t.Fatalf("batch %d is %v, want %v", n, got, all[n].mark)
					}
				}
				from, bytes := int64(len(all)), 0
				for from > keptFrom && bytes+len(all[from-1].text) <= maxKept {
					from--
					bytes += len(all[from].text)
				}
				if got := tr.next - int64(len(tr.kept)); got < keptFrom || tr.bytes < min(bytes, maxKept-3000) {
					t.Fatalf("kept from %d (%d bytes), want from %d (%d bytes)", got, tr.bytes, from, bytes)
				}
				for n := tr.next - int64(len(tr.kept)); n < tr.next; n++ {
					if string(tr.kept[n-(tr.next-int64(len(tr.kept)))]) != all[n].text {
						t.Fatalf("batch %d is another", n)
					}
				}
				if tr.holds(tr.next-int64(len(tr.kept))-2) || !tr.holds(tr.next-1) {
					t.Fatal("it holds what it does not, or does not what it does")
				}
			},
		})
	})
}
