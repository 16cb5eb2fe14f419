package stream

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// every makes the database take so long for each row.
func every(d time.Duration) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestProgressWithoutCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{}
		group := newGroup(t, client)
		query := &Query{Name: "q", Statement: &memory{rows: 40, total: 40, kind: KindExact}}
		start(t, group, Request{Query: query, BatchSize: 10, Credits: ptr(1)})
		time.Sleep(1600 * time.Millisecond)
		synctest.Wait()
		progress := client.of("query_progress")
		if len(progress) != 3 {
			t.Fatalf("%d query_progress in 1.6 s", len(progress))
		}
		for i, m := range progress {
			at := int64(i+1) * 500
			// One row has been looked at ahead.
			if m.State != "paused" || m.RowsProcessed != 11 || *m.Percentage != 27.5 || m.ElapsedMS != at || m.StalledMS != at || m.Bytes == 0 {
				t.Errorf("got %+v", m)
			}
		}
		if first, last := progress[0], progress[2]; first.Throughput != 22 || *first.ETA != 1318 || last.Throughput >= first.Throughput {
			t.Errorf("throughput %v, eta %v, then %v", first.Throughput, *first.ETA, last.Throughput)
		}
		if err := group.Credit(client.streamID(t), 3); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if m := client.last(); m.Type != "query_completed" || m.ExecutionTime != 1600 {
			t.Errorf("got %+v", m)
		}
		count := len(client.all())
		time.Sleep(time.Minute)
		if after := len(client.all()); after != count {
			t.Errorf("%d messages after the ending", after-count)
		}
	})
}

func TestProgressWhileTheDatabaseWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{}
		group := newGroup(t, client)
		start(t, group, Request{Query: &Query{Name: "q", Statement: &memory{rows: 2, before: every(10 * time.Second)}}})
		time.Sleep(11 * time.Second)
		synctest.Wait()
		progress := client.of("query_progress")
		if len(progress) != 22 {
			t.Fatalf("%d query_progress in 11 s", len(progress))
		}
		for _, m := range progress {
			if m.State != "streaming" || m.Percentage != nil || m.ETA != nil || m.StalledMS != 0 {
				t.Errorf("got %+v", m)
			}
		}
		if first, last := progress[0], progress[21]; first.RowsProcessed != 0 || first.Throughput != 0 || last.RowsProcessed != 1 || last.Throughput == 0 {
			t.Errorf("got %+v, %+v", first, last)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if m := client.last(); m.Type != "query_completed" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{fill: 0.8}
		group := newGroup(t, client)
		start(t, group, Request{Query: &Query{Name: "q", Statement: &memory{rows: 3}}, BatchSize: 1})
		batches := func() int { synctest.Wait(); return len(client.of("query_batch")) }
		// Halfway between start and pause: half of the longest delay before each batch.
		time.Sleep(249 * time.Millisecond)
		if n := batches(); n != 0 {
			t.Fatalf("%d batches before the delay was over", n)
		}
		time.Sleep(2 * time.Millisecond)
		if n := batches(); n != 1 {
			t.Fatalf("%d batches after the delay", n)
		}
		// A pause lasts until the fill is under its start, not just under the pause mark.
		client.setFill(0.95)
		time.Sleep(10 * time.Second)
		client.setFill(0.71)
		time.Sleep(10 * time.Second)
		if n := batches(); n != 1 {
			t.Fatalf("%d batches in the pause", n)
		}
		if m := client.of("query_progress")[20]; m.State != "paused" {
			t.Errorf("got %+v", m)
		}
		client.setFill(0.69)
		time.Sleep(lastLook)
		if n := batches(); n != 3 {
			t.Fatalf("%d batches after the pause", n)
		}
		if m := client.last(); m.Type != "query_completed" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestThrottleState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{fill: 0.89}
		group := newGroup(t, client)
		start(t, group, Request{Query: &Query{Name: "q", Statement: &memory{rows: 5}}, BatchSize: 1, Options: Options{ProgressInterval: 100 * time.Millisecond}})
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		if m := client.last(); m.Type != "query_progress" || m.State != "throttled" || m.StalledMS != 100 {
			t.Errorf("got %+v", m)
		}
		if status, err := group.Status(client.streamID(t)); err != nil || status.Status != "streaming" {
			t.Errorf("got %+v, %v", status, err)
		}
		// The delay ends early once there is room.
		client.setFill(0)
		time.Sleep(lastLook)
		synctest.Wait()
		if m := client.last(); m.Type != "query_completed" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestStall(t *testing.T) {
	tests := map[string]func(*recorder) Request{
		"no credit": func(*recorder) Request { return Request{Credits: ptr(1)} },
		"no room": func(client *recorder) Request {
			client.hook = func(m message) {
				if m.Type == "query_batch" {
					unblock := client.block()
					time.AfterFunc(40*time.Second, unblock)
				}
			}
			return Request{}
		},
		"paused": func(client *recorder) Request {
			client.hook = func(m message) {
				if m.Type == "query_batch" {
					client.setFill(0.9)
				}
			}
			return Request{}
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, result := &recorder{}, &memory{rows: 30}
				req := prepare(client)
				req.Query = &Query{Name: "q", Statement: result}
				req.BatchSize = 10
				group := newGroup(t, client)
				start(t, group, req)
				time.Sleep(29 * time.Second)
				synctest.Wait()
				if group.Active() != 1 {
					t.Fatalf("ended early: %+v", client.last())
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if group.Active() != 0 || !result.idle() {
					t.Fatal("the stream still runs")
				}
				time.Sleep(20 * time.Second)
				synctest.Wait()
				if m := client.last(); m.Code != protocol.StreamError || len(client.of("query_batch")) != 1 {
					t.Errorf("got %+v", m)
				}
			})
		})
	}
}

// A client that reads slowly is not stalled, however long the pause.
func TestSlowIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{fill: 1}
		group := newGroup(t, client)
		start(t, group, Request{Query: &Query{Name: "q", Statement: &memory{rows: 1}}, Options: Options{MaxDuration: time.Hour}})
		for fill := 0.99; fill > 0.7; fill -= 0.02 {
			time.Sleep(20 * time.Second)
			client.setFill(fill)
		}
		client.setFill(0)
		time.Sleep(time.Second)
		synctest.Wait()
		if m := client.last(); m.Type != "query_completed" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestMaxDuration(t *testing.T) {
	tests := map[string]Request{
		"in the database": {Query: &Query{Name: "q", Statement: &memory{rows: 2, before: blocked}}},
		"to start":        {Query: &Query{Name: "q", Statement: &memory{start: func(ctx context.Context, _ []Value) error { return blocked(ctx, 0) }}}},
		"without credit":  {Query: &Query{Name: "q", Statement: &memory{rows: 2}}, Credits: ptr(0), Options: Options{StallTimeout: time.Hour}},
		"of the query":    {Query: &Query{Name: "q", Statement: &memory{rows: 2, before: blocked}, MaxDuration: 5 * time.Minute}, Options: Options{MaxDuration: 1}},
	}
	for name, req := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &recorder{}
				group := newGroup(t, client)
				start(t, group, req)
				time.Sleep(5*time.Minute - 1)
				synctest.Wait()
				if group.Active() != 1 {
					t.Fatalf("ended early: %+v", client.last())
				}
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				if m := client.last(); m.Type != "error" || m.Code != protocol.QueryTimeout || !req.Query.Statement.(*memory).idle() {
					t.Errorf("got %+v", m)
				}
			})
		})
	}
}

// Progress that finds no room must not hold up what the stream itself has to say, nor speak after it.
func TestProgressAndEndingDoNotCross(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{}
		group := newGroup(t, client)
		start(t, group, Request{Query: &Query{Name: "q", Statement: &memory{rows: 1, before: blocked}}})
		synctest.Wait()
		unblock := client.block()
		time.Sleep(2 * time.Second) // query_progress waits for room
		synctest.Wait()
		if err := group.Cancel(client.streamID(t), "", "client"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		unblock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if all := client.all(); len(all) != 2 || all[1].Type != "query_cancelled" {
			t.Errorf("got %+v", all)
		}
	})
}

// A stream has its ending however long there is no room for it.
func TestEndingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{}
		group := newGroup(t, client)
		var unblock func()
		client.hook = func(m message) {
			if m.Type == "query_batch" && !*m.HasMore {
				unblock = client.block()
			}
		}
		start(t, group, Request{Query: &Query{Name: "q", Statement: &memory{rows: 1}}})
		synctest.Wait()
		if group.Active() != 0 {
			t.Error("the place of an ended stream is not free")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		unblock()
		synctest.Wait()
		if m := client.last(); m.Type != "query_completed" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestPercentage(t *testing.T) {
	for _, test := range []struct {
		total int64
		kind  TotalKind
		rows  int64
		want  float64 // -1: unknown
	}{
		{10, KindExact, 0, 0}, {10, KindExact, 5, 50}, {10, KindExact, 10, 100}, {10, KindExact, 12, 100}, {0, KindExact, 0, 100},
		{10, KindEstimate, 5, 50}, {10, KindEstimate, 10, 99}, {10, KindEstimate, 40, 99}, {0, KindEstimate, 0, 99},
		{0, KindUnknown, 5, -1}, {10, "", 5, -1}, {-1, KindExact, 5, -1},
	} {
		var p progress
		if p.percentage(test.rows) != nil {
			t.Error("known before the beginning")
		}
		p.begin(test.total, test.kind)
		got := -1.0
		if share := p.percentage(test.rows); share != nil {
			got = *share
		}
		if got != test.want {
			t.Errorf("%+v: got %v", test, got)
		}
	}
}

func TestETA(t *testing.T) {
	var m meter
	if m.eta(10) != nil {
		t.Error("an eta without a rate")
	}
	m.update(time.Second, 100)
	if d := m.eta(50); d == nil || *d != 500*time.Millisecond {
		t.Errorf("got %v", d)
	}
	if d := m.eta(0); d == nil || *d != 0 {
		t.Errorf("got %v", d)
	}
	if m.eta(-1) != nil || m.eta(1<<60) != nil {
		t.Error("an eta that nobody can know")
	}
	m.update(2*time.Second, 300)
	if m.rate != 130 {
		t.Errorf("rate %v", m.rate)
	}
}

// Rows that come slowly are not held back until a batch is full: each goes out once the next one is there.
func TestSlowRowsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{}
		group := newGroup(t, client)
		every := func(ctx context.Context, row int) error {
			pause := time.Second
			if row >= 4 {
				pause = time.Millisecond
			}
			select {
			case <-time.After(pause):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		start(t, group, Request{Query: &Query{Name: "q", Statement: &memory{rows: 8, before: every}}, BatchSize: 100, Credits: ptr(10)})
		for i := range 4 {
			time.Sleep(time.Second)
			synctest.Wait()
			if n := len(client.of("query_batch")); n != i {
				t.Fatalf("%d batches after %d rows", n, i+1)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		var sizes []int
		for i, m := range client.of("query_batch") {
			sizes = append(sizes, len(m.Rows))
			if m.BatchNumber != i || *m.HasMore != (i < 3) {
				t.Errorf("batch %d is %+v", i, m)
			}
		}
		// The last of them came together.
		if !slices.Equal(sizes, []int{1, 1, 1, 5}) || client.last().Type != "query_completed" || client.last().Batches != 4 {
			t.Errorf("batches of %v, then %+v", sizes, client.last())
		}
	})
}

// TestStartAfterAnEnding: a client that has got an ending may begin another stream although the server is not through with the last one.
func TestStartAfterAnEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &recorder{}
		group := newGroup(t, client)
		request := Request{Query: &Query{Name: "q", Statement: &memory{rows: 1}}, Options: Options{MaxStreams: 1}}
		group.wg.Add(1)
		group.lingering = 1 // its client has got the ending
		time.AfterFunc(endingsWait/2, group.release)
		began := time.Now()
		start(t, group, request)
		if took := time.Since(began); took != endingsWait/2 {
			t.Errorf("it waited for %s", took)
		}
		synctest.Wait()
		if m := client.last(); m.Type != "query_completed" {
			t.Errorf("got %+v", m)
		}
		// A client that takes no ending gets no more streams.
		group.wg.Add(1)
		group.lingering = 1
		began = time.Now()
		if err := group.Start(request); err == nil || time.Since(began) != endingsWait {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
		group.release()
	})
}
