package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// blocked is a before that never gets a row until its context ends.
func blocked(ctx context.Context, _ int) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestCancelWherever(t *testing.T) {
	tests := map[string]struct {
		result  *memory
		credits *int
		full    bool
	}{
		"before the first row": {result: &memory{rows: 10, before: blocked}},
		"while it waits for row": {result: &memory{rows: 10, before: func(ctx context.Context, row int) error {
			if row == 5 {
				return blocked(ctx, row)
			}
			return nil
		}}},
		"without credit": {result: &memory{rows: 10}, credits: ptr(0)},
		"without room":   {result: &memory{rows: 10}, full: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &recorder{}
				unblock := func() {}
				if test.full {
					client.hook = func(m message) {
						if m.Type == "query_started" {
							unblock = client.block()
						}
					}
				}
				group := newGroup(t, client)
				start(t, group, Request{Query: &Query{Name: "q", Statement: test.result}, BatchSize: 2, Credits: test.credits})
				synctest.Wait()
				id := client.streamID(t)
				if err := group.Cancel(id, "9", "client"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if !test.result.idle() {
					t.Error("the database still works")
				}
				unblock()
				synctest.Wait()
				if m := client.last(); m.Type != "query_cancelled" || m.Reason != "client" || string(m.ID) != "9" {
					t.Errorf("got %+v", m)
				}
				wantRefusal(t, group.Cancel(id, "", "client"), protocol.CancelFailed, "")
				if status, err := group.Status(id); err != nil || status.Status != "cancelled" {
					t.Errorf("got %+v, %v", status, err)
				}
				if group.Active() != 0 {
					t.Error("the stream still runs")
				}
			})
		})
	}
}

// A query that has not even begun can be ended by closing the connection; nobody is told.
func TestCloseIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{}
		group := newGroup(t, client)
		starting := &memory{start: func(ctx context.Context, _ []Value) error { return blocked(ctx, 0) }}
		running := &memory{rows: 1, before: blocked}
		start(t, group, Request{Query: &Query{Name: "a", Statement: starting}})
		start(t, group, Request{Query: &Query{Name: "b", Statement: running}})
		start(t, group, Request{Query: &Query{Name: "c", Statement: &memory{rows: 5}}, Credits: ptr(0)})
		synctest.Wait()
		if n := group.Active(); n != 3 {
			t.Fatalf("%d streams run", n)
		}
		before := len(client.all())
		group.Close()
		group.Close()
		if after := len(client.all()); after != before {
			t.Errorf("%d messages after the end of the connection", after-before)
		}
		if !running.idle() || group.Active() != 0 || group.registry.Active() != 0 {
			t.Error("something still runs")
		}
		if err := group.Start(Request{Query: &Query{Name: "a", Statement: running}}); !errors.Is(err, ErrSenderClosed) {
			t.Errorf("start after close: %v", err)
		}
	})
}

// A connection that breaks ends its streams even before its group is closed.
func TestSenderCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{broken: ErrSenderClosed}
		group := newGroup(t, client)
		start(t, group, Request{Query: &Query{Name: "q", Statement: &memory{rows: 5}}})
		synctest.Wait()
		if totals := group.registry.Totals(); group.Active() != 0 || totals.Cancelled != 1 || totals.Started != 1 {
			t.Errorf("%d run, totals %+v", group.Active(), totals)
		}
	})
}

func TestRefusals(t *testing.T) {
	client := &recorder{}
	group := newGroup(t, client)
	query := &Query{Name: "q", Statement: &memory{}, Params: []Param{{Name: "n", Type: TypeInteger}}}
	params := []byte(`{"n":1}`)
	for _, test := range []struct {
		req  Request
		code protocol.Code
		text string
	}{
		{Request{QueryName: "none"}, protocol.QueryNotFound, `"none"`},
		{Request{Query: query}, protocol.InvalidParams, `"n"`},
		{Request{Query: query, Params: params, BatchSize: -1}, protocol.InvalidParams, "10000"},
		{Request{Query: query, Params: params, BatchSize: 10001}, protocol.InvalidParams, "10000"},
		{Request{Query: query, Params: params, BatchSize: 6, Options: Options{MaxBatchSize: 5}}, protocol.InvalidParams, " 5"},
		{Request{Query: query, Params: params, Format: "csv"}, protocol.InvalidParams, "arrays"},
		{Request{Query: query, Params: params, Credits: ptr(-1)}, protocol.InvalidParams, "credits"},
	} {
		wantRefusal(t, group.Start(test.req), test.code, test.text)
	}
	unknown := uuid.NewString()
	wantRefusal(t, group.Cancel("x", "", ""), protocol.InvalidStreamID, "")
	wantRefusal(t, group.Cancel(unknown, "", ""), protocol.CancelFailed, "")
	wantRefusal(t, group.Credit("x", 1), protocol.InvalidStreamID, "")
	wantRefusal(t, group.Credit(unknown, 1), protocol.InvalidStreamID, "")
	wantRefusal(t, group.Credit(unknown, 0), protocol.InvalidParams, "batches")
	for _, id := range []string{"", "x", unknown, "urn:uuid:" + unknown} {
		_, err := group.Status(id)
		wantRefusal(t, err, protocol.InvalidStreamID, "")
	}
	if n := len(client.all()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := NewRegistry(nil)
		group := func(id, user string) *Group {
			g := registry.NewGroup(Owner{ConnectionID: id, User: user}, &recorder{})
			t.Cleanup(g.Close)
			return g
		}
		first, second, other, stranger := group("a", "ann"), group("b", "ann"), group("c", "bob"), group("d", "")
		req := Request{
			Query:   &Query{Name: "q", Statement: &memory{rows: 1, before: blocked}},
			Options: Options{MaxStreams: 2, MaxStreamsPerUser: 3, MaxStreamsTotal: 6},
		}
		start(t, first, req)
		start(t, first, req)
		wantRefusal(t, first.Start(req), protocol.LimitExceeded, "2")
		start(t, second, req)
		wantRefusal(t, second.Start(req), protocol.LimitExceeded, "one user")
		start(t, other, req)
		start(t, stranger, req)
		start(t, stranger, req)
		wantRefusal(t, group("e", "").Start(req), protocol.LimitExceeded, "too many")
		if n := registry.Totals().Refused; n != 2 {
			t.Errorf("%d were refused", n)
		}
		synctest.Wait()

		list := registry.List()
		if len(list) != 6 || list[0].Status != "streaming" || list[0].Query != "q" {
			t.Fatalf("got %+v", list)
		}
		for _, info := range list {
			if !registry.Cancel(info.StreamID) {
				t.Errorf("%s does not run", info.StreamID)
			}
		}
		synctest.Wait()
		if registry.Cancel(list[0].StreamID) || registry.Cancel("x") {
			t.Error("an ended stream was cancelled")
		}
		if m := second.sender.(*recorder).last(); m.Type != "query_cancelled" || m.Reason != "operator" {
			t.Errorf("got %+v", m)
		}
		if registry.Active() != 0 || registry.Totals().Cancelled != 6 || len(registry.users) != 0 {
			t.Errorf("%d run of %v, %+v", registry.Active(), registry.users, registry.Totals())
		}
		start(t, second, req)
	})
}

// A client that starts and cancels without ever reading must not pile up endings.
func TestEndingsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{}
		group := newGroup(t, client)
		unblock := client.block()
		req := Request{Query: &Query{Name: "q", Statement: &memory{rows: 1}}, Options: Options{MaxStreams: 2}}
		started := 0
		for range 10 {
			if err := group.Start(req); err == nil {
				started++
			}
			for _, info := range group.registry.List() {
				if err := group.Cancel(info.StreamID, "", "client"); err != nil {
					t.Error(err)
				}
			}
			synctest.Wait()
		}
		if started != 2 {
			t.Errorf("%d streams while nothing could be told", started)
		}
		unblock()
		synctest.Wait()
		start(t, group, req)
		synctest.Wait()
		if m := client.last(); m.Type != "query_completed" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{}
		group := newGroup(t, client)
		query := &Query{Name: "q", Statement: &memory{rows: 10, total: 10, kind: KindExact}, Total: TotalExact}
		start(t, group, Request{Query: query, BatchSize: 4, Credits: ptr(1)})
		synctest.Wait()
		id := client.streamID(t)
		status, err := group.Status(strings.ToUpper(id))
		if err != nil || status.Status != "paused" || status.Rows != 4 || status.Batches != 1 || *status.Progress != 40 {
			t.Errorf("got %+v, %v", status, err)
		}
		if err := group.Credit(id, 2); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		status, err = group.Status(id)
		if err != nil || status.Status != "completed" || status.Rows != 10 || status.Batches != 3 || *status.Progress != 100 {
			t.Errorf("got %+v, %v", status, err)
		}
		if err := group.Credit(id, 1); err != nil {
			t.Errorf("credit that crossed the ending: %v", err)
		}
		for range recentEndings {
			start(t, group, Request{Query: query})
			synctest.Wait()
		}
		_, err = group.Status(id)
		wantRefusal(t, err, protocol.InvalidStreamID, "")
		if totals := group.registry.Totals(); totals.Completed != 17 || totals.Rows != 170 || totals.Batches != 19 || totals.Bytes == 0 {
			t.Errorf("got %+v", totals)
		}
	})
}

func TestFailures(t *testing.T) {
	secret := errors.New(`near "select password": syntax error`)
	fail := func(row int) *memory {
		return &memory{rows: 10, before: func(_ context.Context, at int) error {
			if at == row {
				return secret
			}
			return nil
		}}
	}
	tests := map[string]struct {
		result *memory
		code   protocol.Code
		logged bool
	}{
		"to start":     {&memory{start: func(context.Context, []Value) error { return secret }}, protocol.QueryFailed, true},
		"at first":     {fail(0), protocol.QueryFailed, true},
		"midway":       {fail(3), protocol.QueryFailed, true},
		"at the end":   {fail(10), protocol.QueryFailed, true},
		"for a client": {&memory{start: func(context.Context, []Value) error { return protocol.Errorf(protocol.LimitExceeded, "full") }}, protocol.LimitExceeded, false},
		"by panic":     {&memory{rows: 1, value: func([]byte, int, int) []byte { panic(secret) }}, protocol.QueryFailed, true},
		"by a row too long": {&memory{rows: 1, value: func(dst []byte, _, _ int) []byte {
			return append(dst, `"`+strings.Repeat("x", maxRowBytes)+`"`...)
		}}, protocol.QueryFailed, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			client := &recorder{ended: make(chan message, 1)}
			group := NewRegistry(zap.New(core)).NewGroup(Owner{ConnectionID: "c1", User: "ann"}, client)
			defer group.Close()
			start(t, group, Request{ID: "1", Query: &Query{Name: "q", Statement: test.result}})
			m := <-client.ended
			group.Close()
			if m.Type != "error" || m.Code != test.code || m.StreamID == "" || strings.Contains(m.Message, "password") {
				t.Errorf("got %+v", m)
			}
			if started := len(client.of("query_started")) == 1; started == (string(m.ID) == "1") {
				t.Errorf("started %v, yet the error has id %s", started, m.ID)
			}
			entries := logs.All()
			if len(entries) != 1 {
				t.Fatalf("%d log entries", len(entries))
			}
			fields := entries[0].ContextMap()
			ref, _ := fields["reference"].(string)
			if test.logged != (ref != "" && strings.Contains(m.Message, ref) && strings.Contains(fmt.Sprint(fields["error"]), "password")) {
				t.Errorf("message %q, logged %v", m.Message, fields)
			}
			if fields["stream_id"] != m.StreamID || fields["connection_id"] != "c1" || fields["user"] != "ann" {
				t.Errorf("logged %v", fields)
			}
			if !test.result.idle() || group.registry.Totals().Failed != 1 {
				t.Errorf("idle %v, %+v", test.result.idle(), group.registry.Totals())
			}
		})
	}
}

func TestRowsAsJSON(t *testing.T) {
	columns := []Column{{Name: "a"}, {Name: "a", Type: "text"}, {Name: "a_2"}, {Name: `q"`}, {Name: ""}, {Name: "a"}, {Name: ""}}
	value := func(dst []byte, _, i int) []byte { return fmt.Append(dst, i) }
	for format, want := range map[string]string{
		"":            `[{"a":0,"a_3":1,"a_2":2,"q\"":3,"":4,"a_4":5,"_2":6}]`,
		FormatObjects: `[{"a":0,"a_3":1,"a_2":2,"q\"":3,"":4,"a_4":5,"_2":6}]`,
		FormatArrays:  `[[0,1,2,3,4,5,6]]`,
	} {
		client := &recorder{ended: make(chan message, 1)}
		group := newGroup(t, client)
		start(t, group, Request{Format: format, Query: &Query{Name: "q", Statement: &memory{rows: 1, columns: columns, value: value}}})
		<-client.ended
		group.Close()
		if got := client.raw[1]; !strings.Contains(got, `"rows":`+want+`,"has_more":false}`) {
			t.Errorf("got %s, want %s", got, want)
		}
		got := client.of("query_started")[0].Columns
		if len(got) != 7 || got[1] != (Column{"a_3", "text"}) || got[6].Name != "_2" {
			t.Errorf("got columns %+v", got)
		}
	}
}

// Wide rows end a batch before it has batch_size rows.
func TestBatchBytes(t *testing.T) {
	wide := `"` + strings.Repeat("x", 300_000) + `"`
	client := &recorder{ended: make(chan message, 1)}
	group := newGroup(t, client)
	result := &memory{rows: 10, value: func(dst []byte, _, i int) []byte {
		if i == 0 {
			return append(dst, wide...)
		}
		return append(dst, '1')
	}}
	start(t, group, Request{Query: &Query{Name: "q", Statement: result}})
	if m := <-client.ended; m.TotalRows != 10 || m.Batches != 3 {
		t.Errorf("got %+v", m)
	}
	for i, m := range client.of("query_batch") {
		if len(client.raw[i+1]) > maxBatchBytes+len(wide)+100 || *m.HasMore != (i < 2) {
			t.Errorf("batch %d has %d bytes, has_more %v", i, len(client.raw[i+1]), *m.HasMore)
		}
	}
}

func TestCatalog(t *testing.T) {
	statement := &memory{}
	catalog, err := NewCatalog(&Query{Name: "b", Statement: statement}, &Query{Name: "a", Statement: statement, Total: TotalExact})
	if err != nil {
		t.Fatal(err)
	}
	if q, err := catalog.Lookup("a"); err != nil || q.Name != "a" {
		t.Errorf("got %+v, %v", q, err)
	}
	_, err = catalog.Lookup(long)
	wantRefusal(t, err, protocol.QueryNotFound, long[:64]+"…")
	if names := fmt.Sprint(catalog.Names()); names != "[a b]" {
		t.Errorf("got %s", names)
	}
	_, err = (*Catalog)(nil).Lookup("a")
	wantRefusal(t, err, protocol.QueryNotFound, `"a"`)
	for _, queries := range [][]*Query{
		{{Statement: statement}},
		{{Name: "a"}},
		{{Name: "a", Statement: statement, Total: "all"}},
		{{Name: "a", Statement: statement, MaxDuration: -1}},
		{{Name: "a", Statement: statement, Params: []Param{{Name: "p"}}}},
		{{Name: "a", Statement: statement}, {Name: "a", Statement: statement}},
	} {
		if _, err := NewCatalog(queries...); err == nil {
			t.Errorf("%+v passes", queries[0])
		}
	}
}

func TestOptionsValidate(t *testing.T) {
	if err := (Options{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, o := range []Options{
		{BatchSize: 5, MaxBatchSize: 4}, {BatchSize: -1}, {MaxStreams: -1}, {StallTimeout: -1},
	} {
		if o.Validate() == nil {
			t.Errorf("%+v passes", o)
		}
	}
}

// Whoever stops a stream first says how it ends, also while the database takes its time to stop.
func TestFirstStopCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{}
		group := newGroup(t, client)
		hold := make(chan struct{})
		stubborn := func(context.Context, int) error { <-hold; return nil }
		start(t, group, Request{Query: &Query{Name: "q", Statement: &memory{rows: 1, before: stubborn}}})
		synctest.Wait()
		id := client.streamID(t)
		if err := group.Cancel(id, "1", "first"); err != nil {
			t.Error(err)
		}
		wantRefusal(t, group.Cancel(id, "2", "second"), protocol.CancelFailed, "")
		if group.registry.Cancel(id) {
			t.Error("an operator cancelled it again")
		}
		close(hold)
		synctest.Wait()
		if m := client.last(); m.Type != "query_cancelled" || m.Reason != "first" || string(m.ID) != "1" || len(client.all()) != 2 {
			t.Errorf("got %+v", client.all())
		}
	})
}

// A stopped stream takes no further row, even from a database that would give them.
func TestStopEndsReading(t *testing.T) {
	client := &recorder{ended: make(chan message, 1)}
	group := newGroup(t, client)
	id, taken := make(chan string, 1), 0
	client.hook = func(m message) {
		if m.Type == "query_started" {
			id <- m.StreamID
		}
	}
	result := &memory{rows: 1000, before: func(_ context.Context, row int) error {
		if taken++; row == 5 {
			return group.Cancel(<-id, "", "client")
		}
		return nil
	}}
	start(t, group, Request{Query: &Query{Name: "q", Statement: result}, BatchSize: 1000})
	if m := <-client.ended; m.Type != "query_cancelled" || m.RowsSent != 0 || taken != 6 {
		t.Errorf("got %+v after %d rows", m, taken)
	}
}
