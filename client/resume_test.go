package client_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// subscribed subscribes while the server confirms.
func subscribed(t *testing.T, c *client.Client, l *line, confirmation string, o *client.SubscribeOptions, channels ...string) (*client.Subscription, map[string]any) {
	t.Helper()
	var sub *client.Subscription
	var err error
	wait := later(func() { sub, err = c.Subscribe(t.Context(), channels, o) })
	m := l.confirm(confirmation)
	if o != nil && o.History > 0 {
		l.answer(l.expect("ping"), `"type":"pong"`)
	}
	wait()
	if err != nil {
		t.Fatal(err)
	}
	return sub, m
}

const at100 = `,"epoch":"e","offset":100`

func since(epoch string, offset int) map[string]any {
	return map[string]any{"epoch": epoch, "offset": float64(offset)}
}

// All subscriptions go on from one place, and none gets anything twice.
func TestResume(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		l := f.welcome()
		a, m := subscribed(t, c, l, at100, nil, "a", "b/*")
		if m["since"] != nil || m["history"] != nil || m["presence"] != nil {
			t.Errorf("got %v", m)
		}
		lost, _ := subscribed(t, c, l, "", nil, "lost")
		l.message("a", 1, 110)
		l.message("lost", 2, 0)
		late, _ := subscribed(t, c, l, `,"epoch":"e","offset":115`, nil, "**")
		l.message("b/c", 3, 120)
		numbered(t, a, 1)
		numbered(t, lost, 2)
		numbered(t, a, 3)
		numbered(t, late, 3)
		l.cut()

		l = f.welcome()
		m = l.confirm(`,"epoch":"e","offset":130,"recovered":true,"replayed":1`)
		if !reflect.DeepEqual(m["channels"], []any{"a", "b/*", "lost", "**"}) || !reflect.DeepEqual(m["since"], since("e", 120)) {
			t.Fatalf("got %v", m)
		}
		l.message("a", 4, 120) // a repetition
		l.message("a", 5, 125)
		l.message("a", 5, 125)
		l.send(`{"type":"gap","channel":"b/c","after":120,"before":140,"dropped":3,"reason":"drop_oldest","recoverable":true}`)
		l.message("b/c", 6, 140)
		if r := next[*client.Resumed](t, a); !r.Recovered || r.EpochChanged || r.Unrecovered != nil || r.Position != (client.Position{Epoch: "e", Offset: 120}) {
			t.Errorf("got %+v", r)
		}
		numbered(t, a, 5)
		if g := next[*client.Gap](t, a); *g != (client.Gap{Channel: "b/c", After: 120, Before: 140, Dropped: 3, Reason: "drop_oldest", Recoverable: true}) {
			t.Errorf("got %+v", g)
		}
		numbered(t, a, 6)
		if r := next[*client.Resumed](t, lost); r.Recovered || !reflect.DeepEqual(r.Unrecovered, []string{"lost"}) {
			t.Errorf("got %+v", r)
		}
		next[*client.Resumed](t, late)
		numbered(t, late, 5)
		next[*client.Gap](t, late)
		numbered(t, late, 6)
		l.cut()

		// Another life of the server.
		l = f.welcome(`"epoch":"f"`)
		if m = l.confirm(`,"epoch":"f","offset":7,"recovered":false,"replayed":0`); !reflect.DeepEqual(m["since"], since("e", 140)) {
			t.Fatalf("got %v", m)
		}
		l.message("a", 7, 8)
		if r := next[*client.Resumed](t, a); r.Recovered || !r.EpochChanged || r.Position != (client.Position{Epoch: "f", Offset: 7}) {
			t.Errorf("got %+v", r)
		}
		if m := numbered(t, a, 7); m.Epoch != "f" || a.Position() != (client.Position{Epoch: "f", Offset: 8}) {
			t.Errorf("got %+v", m)
		}
		l.cut()
		if m = f.welcome(`"epoch":"f"`).confirm(`,"epoch":"f","offset":8,"recovered":true`); !reflect.DeepEqual(m["since"], since("f", 8)) {
			t.Fatalf("got %v", m)
		}
	})
}

// A pattern of a block without history may match channels of one that keeps it: these go on, too.
func TestResumeOfMixed(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		l := f.welcome()
		all, _ := subscribed(t, c, l, "", nil, "**")
		l.message("kept", 1, 110)
		l.message("lost", 2, 0)
		late, _ := subscribed(t, c, l, `,"epoch":"e","offset":105`, nil, "kept")
		l.message("kept", 3, 120)
		for _, n := range []int{1, 2, 3} {
			numbered(t, all, n)
		}
		numbered(t, late, 3)
		for round := range 2 {
			l.cut()
			l = f.welcome()
			m := l.expect("subscribe")
			if !reflect.DeepEqual(m["since"], since("e", 120+10*round)) || !reflect.DeepEqual(m["channels"], []any{"**", "kept"}) {
				t.Fatalf("got %v", m)
			}
			l.answer(m, `"type":"subscription_confirmed","channel":"**","timestamp":"2026-01-01T00:00:00Z","recovered":false,"replayed":1`)
			l.answer(m, `"type":"subscription_confirmed","channel":"kept","timestamp":"2026-01-01T00:00:00Z","epoch":"e","offset":200,"recovered":true,"replayed":1`)
			l.message("kept", 3, 120)
			l.message("kept", 4, 130+10*round)
			if r := next[*client.Resumed](t, all); r.Recovered || r.EpochChanged {
				t.Errorf("got %+v", r)
			}
			numbered(t, all, 4)
			next[*client.Resumed](t, late)
			numbered(t, late, 4)
		}
	})
}

// A replay that is cut in its midst goes on from where it got, although others were ahead.
func TestResumeInAReplay(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		l := f.welcome()
		a, _ := subscribed(t, c, l, at100, nil, "a")
		l.message("a", 1, 200)
		numbered(t, a, 1)
		b, m := subscribed(t, c, l, `,"epoch":"e","offset":200`, &client.SubscribeOptions{History: 3}, "b")
		if m["history"] != float64(3) || m["since"] != nil {
			t.Errorf("got %v", m)
		}
		l.message("b", 1, 50)
		numbered(t, b, 1)
		l.cut()
		l = f.welcome()
		if m := l.confirm(`,"epoch":"e","offset":200,"recovered":true`); !reflect.DeepEqual(m["since"], since("e", 50)) {
			t.Fatalf("got %v", m)
		}
		l.message("b", 2, 60)
		l.message("a", 1, 200)
		l.message("a", 2, 201)
		next[*client.Resumed](t, a)
		next[*client.Resumed](t, b)
		numbered(t, b, 2)
		numbered(t, a, 2)
	})
	// Cut before its first message.
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		var b *client.Subscription
		wait := later(func() { b, _ = c.Subscribe(t.Context(), []string{"b"}, &client.SubscribeOptions{History: 3}) })
		l := f.welcome()
		l.confirm(`,"epoch":"e","offset":200`)
		l.cut()
		l = f.welcome()
		if m := l.confirm(`,"epoch":"e","offset":300`); m["history"] != float64(3) {
			t.Errorf("nothing was promised yet, got %v", m)
		}
		l.answer(l.expect("ping"), `"type":"pong"`)
		wait()
		l.cut()
		if m := f.welcome().confirm(`,"epoch":"e","offset":400,"recovered":true`); !reflect.DeepEqual(m["since"], since("e", 300)) {
			t.Errorf("got %v", m)
		}
		next[*client.Resumed](t, b)
	})
}

// What refuses subscriptions for the moment is tried again; what refuses them for good ends them.
func TestRefusedSubscriptions(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		l := f.welcome()
		a, _ := subscribed(t, c, l, at100, nil, "a")
		b, _ := subscribed(t, c, l, at100, nil, "b", "c")
		var d *client.Subscription
		wait := later(func() { d, _ = c.Subscribe(t.Context(), []string{"d"}, nil) })
		l.answer(l.expect("subscribe"), `"type":"error","code":"RATE_LIMITED","message":"too many messages","retry_after_ms":500`)
		l.confirm(at100)
		wait()
		l.cut()
		l = f.welcome()
		m := l.expect("subscribe")
		l.answer(m, `"type":"error","code":"HISTORY_UNAVAILABLE","message":"the history cannot be read now"`)
		m = l.expect("subscribe")
		if !reflect.DeepEqual(m["channels"], []any{"a", "b", "c", "d"}) || !reflect.DeepEqual(m["since"], since("e", 100)) {
			t.Fatalf("got %v", m)
		}
		l.answer(m, `"type":"error","code":"FORBIDDEN","message":"no","channel":"c"`)
		for _, name := range []string{"a", "b", "d"} {
			l.answer(m, `"type":"subscription_confirmed","channel":%q,"timestamp":"2026-01-01T00:00:00Z","epoch":"e","offset":100,"recovered":true`, name)
		}
		if m = l.expect("unsubscribe"); !reflect.DeepEqual(m["channels"], []any{"b", "c"}) {
			t.Errorf("got %v", m)
		}
		next[*client.Resumed](t, a)
		if _, err := b.Next(t.Context()); codeOf(err) != protocol.Forbidden {
			t.Errorf("got %v", err)
		}
		// What is no longer allowed.
		l.send(`{"type":"error","code":"FORBIDDEN","message":"no more","channel":"a"}`)
		if _, err := a.Next(t.Context()); codeOf(err) != protocol.Forbidden {
			t.Errorf("got %v", err)
		}
		next[*client.Resumed](t, d)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if event, err := d.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v", event, err)
		}
	})
}

// A subscription that nobody reads does not hold up others, and tells what it dropped.
func TestOverflow(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		l := f.welcome()
		slow, _ := subscribed(t, c, l, at100, &client.SubscribeOptions{Buffer: 3}, "a")
		bytes, _ := subscribed(t, c, l, at100, &client.SubscribeOptions{BufferBytes: 300}, "a")
		fast, _ := subscribed(t, c, l, at100, nil, "a")
		for n := 1; n <= 10; n++ {
			l.message("a", n, 100+n)
			numbered(t, fast, n)
		}
		if g := next[*client.Gap](t, slow); *g != (client.Gap{Dropped: 7, Before: 108, Reason: client.ReasonClient, Recoverable: true}) {
			t.Errorf("got %+v", g)
		}
		numbered(t, slow, 8)
		for n := 11; n <= 13; n++ {
			l.message("a", n, 100+n)
			numbered(t, fast, n)
		}
		if g := next[*client.Gap](t, slow); *g != (client.Gap{Dropped: 2, After: 108, Before: 111, Reason: client.ReasonClient, Recoverable: true}) {
			t.Errorf("got %+v", g)
		}
		for n := 11; n <= 13; n++ {
			numbered(t, slow, n)
		}
		if g := next[*client.Gap](t, bytes); g.Dropped != 11 {
			t.Errorf("got %+v", g)
		}
		// A gap that is dropped is not forgotten.
		l.send(`{"type":"gap","channel":"a","dropped":null,"reason":"history_trimmed","recoverable":false}`)
		next[*client.Gap](t, fast)
		for n := 14; n <= 16; n++ {
			l.message("a", n, 100+n)
			numbered(t, fast, n)
		}
		if g := next[*client.Gap](t, slow); g.Dropped != -1 || g.Recoverable {
			t.Errorf("got %+v", g)
		}
	})
}

// A publish that was not answered is sent again with the same key, as long as that is safe.
func TestPublishAgain(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		var receipt client.Receipt
		var err error
		start := func() func() {
			return later(func() { receipt, err = c.Publish(t.Context(), "a", "x", nil) })
		}
		wait := start()
		l := f.welcome()
		first := l.expect("publish")
		l.cut()
		l = f.welcome()
		again := l.expect("publish")
		if first["key"] == nil || again["key"] != first["key"] || again["data"] != "x" {
			t.Errorf("got %v and %v", first, again)
		}
		l.answer(again, `"type":"published","channel":"a","offset":7,"epoch":"e","duplicate":true`)
		wait()
		if err != nil || receipt != (client.Receipt{Position: client.Position{Epoch: "e", Offset: 7}}) {
			t.Errorf("got %+v, %v", receipt, err)
		}
		wait = start()
		if m := l.expect("publish"); m["key"] == first["key"] {
			t.Error("two publishes have the same key")
		}
		l.cut()
		l = f.welcome(`"epoch":"f"`)
		wait()
		if !errors.Is(err, client.ErrUncertain) {
			t.Errorf("got %v where the server has forgotten its keys", err)
		}
		wait = start()
		l.expect("publish")
		l.cut()
		y := f.next()
		time.Sleep(14 * time.Second)
		for range 20 {
			y.refuse(503, "Retry-After", "10")
			y = f.next()
		}
		l = f.accept(y, `"epoch":"f"`)
		wait()
		if !errors.Is(err, client.ErrUncertain) {
			t.Errorf("got %v after the time of keys", err)
		}
		wait = start()
		l.answer(l.expect("publish"), `"type":"error","code":"RATE_LIMITED","message":"too many messages","retry_after_ms":5`)
		refused := time.Now()
		l.answer(l.expect("publish"), `"type":"published","channel":"c"`)
		wait()
		if err != nil || time.Since(refused) != 5*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(refused))
		}
	})
}

// Credit is granted for what was done with, and a query goes on behind its last batch.
func TestQueryCredit(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		var rows *client.Rows
		wait := later(func() { rows, _ = c.Query(t.Context(), "q", nil, &client.QueryOptions{Window: 4}) })
		l := f.welcome()
		m := l.expect("stream_query")
		if m["credits"] != float64(4) || m["query"] != "q" || m["resume"] != nil {
			t.Fatalf("got %v", m)
		}
		l.answer(m, `"type":"query_started","stream_id":"s","query":"q","columns":[],"estimated_rows":null,"total_kind":"unknown"`)
		wait()
		batch := func(n int, more bool) {
			l.send(fmt.Sprintf(`{"type":"query_batch","stream_id":"s","batch_number":%d,"rows":[%d],"has_more":%v}`, n, n, more))
		}
		for n := range 4 {
			batch(n, true)
		}
		got := 0
		reading := later(func() {
			for row, err := range rows.All() {
				if err != nil || row.String() != fmt.Sprint(got) {
					t.Errorf("got %s, %v behind %d", row, err, got)
				}
				got++
			}
		})
		if m := l.expect("credit"); m["batches"] != float64(2) || m["stream_id"] != "s" {
			t.Errorf("got %v", m)
		}
		m = l.expect("credit")
		l.answer(quotedID(m), `"type":"error","code":"RATE_LIMITED","message":"too many messages","retry_after_ms":20`)
		if again := l.expect("credit"); again["batches"] != float64(2) {
			t.Errorf("got %v", again)
		}
		l.cut()
		l = f.welcome()
		m = l.expect("stream_query")
		resume, _ := m["resume"].(map[string]any)
		if resume["stream_id"] != "s" || resume["batch_number"] != float64(3) || m["credits"] != float64(4) {
			t.Errorf("got %v", m)
		}
		l.answer(m, `"type":"error","code":"LIMIT_EXCEEDED","message":"no room"`)
		m = l.expect("stream_query")
		l.answer(m, `"type":"query_started","stream_id":"s","query":"q","columns":[],"estimated_rows":null,"total_kind":"unknown","resumed":true`)
		batch(4, false)
		l.send(`{"type":"query_completed","stream_id":"s","total_rows":5,"execution_time_ms":7,"batches":5}`)
		reading()
		if result, ok := rows.Result(); !ok || got != 5 || result.Elapsed != 7*time.Millisecond {
			t.Errorf("got %d rows, %+v", got, result)
		}
	})
}

// quotedID is a request whose id is a string, for answer.
func quotedID(m map[string]any) map[string]any {
	return map[string]any{"id": fmt.Sprintf("%q", m["id"])}
}

// What can and cannot be gone on with.
func TestQueryNotResumed(t *testing.T) {
	const started = `"type":"query_started","stream_id":"%s","query":"q","columns":[],"estimated_rows":null,"total_kind":"unknown"`
	const unknown = `"type":"error","code":"INVALID_STREAM_ID","message":"there is no such query"`
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		var rows *client.Rows
		wait := later(func() { rows, _ = c.Query(t.Context(), "q", nil, nil) })
		l := f.welcome()
		l.answer(l.expect("stream_query"), started, "s")
		wait()
		l.cut()
		l = f.welcome() // nothing was taken: it is begun anew
		l.answer(l.expect("stream_query"), unknown)
		m := l.expect("stream_query")
		if m["resume"] != nil {
			t.Errorf("got %v", m)
		}
		l.answer(m, started, "s2")
		l.send(`{"type":"query_batch","stream_id":"s2","batch_number":0,"rows":[0],"has_more":true}`)
		// A server that goes away cancels what is under way.
		l.send(`{"type":"reconnect","after_ms":1000,"reason":"the server is going away"}`,
			`{"type":"query_cancelled","stream_id":"s2","reason":"the server is going away","rows_sent":1}`)
		closing := later(func() { l.close(1001, "") })
		next := f.welcome()
		closing()
		m = next.expect("stream_query")
		if resume, _ := m["resume"].(map[string]any); resume["stream_id"] != "s2" || resume["batch_number"] != float64(0) {
			t.Errorf("got %v", m)
		}
		next.answer(m, unknown)
		n := 0
		var err error
		for _, err = range rows.All() {
			n++
		}
		if n != 2 || codeOf(err) != protocol.InvalidStreamID {
			t.Errorf("got %d rows, %v", n-1, err)
		}
		// An operator's word counts.
		wait = later(func() { rows, _ = c.Query(t.Context(), "q", nil, nil) })
		next.answer(next.expect("stream_query"), started, "s3")
		wait()
		next.send(`{"type":"query_cancelled","stream_id":"s3","reason":"operator","rows_sent":0}`)
		for _, err = range rows.All() {
		}
		if cancelled, ok := errors.AsType[*client.CancelledError](err); !ok || cancelled.Reason != "operator" {
			t.Errorf("got %v", err)
		}
		// Nobody waits any more when it begins.
		ctx, cancel := context.WithCancel(t.Context())
		wait = later(func() { _, err = c.Query(ctx, "q", nil, nil) })
		m = next.expect("stream_query")
		cancel()
		wait()
		next.answer(m, started, "s4")
		if m := next.expect("cancel_query"); m["stream_id"] != "s4" || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", m, err)
		}
	})
}

// A watch goes on behind the last state that was one, and shows no other.
func TestWatchResumed(t *testing.T) {
	const started = `"type":"query_started","stream_id":"w","query":"q","columns":[],"estimated_rows":2,"total_kind":"exact"`
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		var live *client.Live
		wait := later(func() { live, _ = c.Watch(t.Context(), "q", nil, client.WatchOptions{Key: []string{"id"}}) })
		l := f.welcome()
		l.answer(l.expect("watch"), started)
		l.send(`{"type":"query_batch","stream_id":"w","batch_number":0,"rows":[{"id":1,"v":1}],"has_more":true}`)
		l.cut()
		l = f.welcome()
		m := l.expect("watch")
		if resume, _ := m["resume"].(map[string]any); resume["stream_id"] != "w" || resume["revision"] != float64(-1) {
			t.Errorf("got %v", m)
		}
		l.answer(m, started)
		l.send(`{"type":"query_reset","stream_id":"w"}`,
			`{"type":"query_batch","stream_id":"w","batch_number":0,"rows":[{"id":1,"v":1},{"id":2,"v":1}],"has_more":false}`,
			`{"type":"query_ready","stream_id":"w","revision":10}`)
		wait()
		l.send(`{"type":"query_change","stream_id":"w","revision":12,"op":"update","key":1,"row":{"id":1,"v":2}}`,
			`{"type":"query_change","stream_id":"w","revision":13,"op":"update","key":1,"row":{"id":1,"v":3}}`,
			`{"type":"query_change","stream_id":"w","revision":15,"op":"delete","key":2}`)
		l.cut()
		l = f.welcome()
		m = l.expect("watch")
		if resume, _ := m["resume"].(map[string]any); resume["revision"] != float64(12) {
			t.Errorf("got %v", m)
		}
		if got := fmt.Sprint(texts(live.Snapshot())); got != `map[1:{"id":1,"v":2} 2:{"id":2,"v":1}]` {
			t.Errorf("between two states the copy is %s", got)
		}
		l.answer(m, started+`,"resumed":true`)
		l.send(`{"type":"query_change","stream_id":"w","revision":16,"op":"delete","key":2}`,
			`{"type":"error","code":"QUERY_FAILED","message":"the query failed","stream_id":"w","retry_after_ms":1000}`)
		got := mirror{}
		next := func(want string) {
			t.Helper()
			for change, err := range live.Changes(t.Context()) {
				if err == nil {
					err = got.apply(change)
				}
				if text := fmt.Sprint(change.Op, " ", string(change.Key)); err != nil || text != want {
					t.Fatalf("got %s, %v, want %s", text, err, want)
				}
				return
			}
		}
		next("insert 1") // once for all that became of it before it was taken
		time.Sleep(time.Second)
		if live.Len() != 1 || codeOf(live.Stale()) != protocol.QueryFailed {
			t.Errorf("got %d rows, %v", live.Len(), live.Stale())
		}
		l.cut()
		l = f.welcome()
		l.answer(l.expect("watch"), started) // it no longer knows: a fresh result, of which only what differs is told
		l.send(`{"type":"query_reset","stream_id":"w"}`,
			`{"type":"query_batch","stream_id":"w","batch_number":0,"rows":[{"id":1,"v":2},{"id":3,"v":1}],"has_more":false}`,
			`{"type":"query_ready","stream_id":"w","revision":100}`)
		next("insert 3")
		l.send(`{"type":"query_change","stream_id":"w","revision":102,"op":"delete","key":1}`)
		next("delete 1")
		if live.Stale() != nil {
			t.Errorf("got %v", live.Stale())
		}
		l.send(`{"type":"error","code":"QUERY_NOT_FOUND","message":"gone","stream_id":"w"}`)
		for change, err := range live.Changes(t.Context()) {
			if codeOf(err) != protocol.QueryNotFound {
				t.Errorf("got %+v, %v", change, err)
			}
		}
	})
}

// What a server refuses that has said it goes away, the next one may do.
func TestGoingAway(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		const away = `{"type":"reconnect","after_ms":1000,"reason":"the server is going away"}`
		const refused = `"type":"error","code":"INTERNAL","message":"the server is going away"`
		l := f.welcome()
		l.send(away)
		time.Sleep(time.Second)
		waits := []func(){
			later(func() {
				if _, err := c.Publish(t.Context(), "a", 1, nil); err != nil {
					t.Errorf("publishing: %v", err)
				}
			}),
			later(func() {
				if _, err := c.Subscribe(t.Context(), []string{"a"}, nil); err != nil {
					t.Errorf("subscribing: %v", err)
				}
			}),
			later(func() {
				if _, err := c.Query(t.Context(), "q", nil, nil); err != nil {
					t.Errorf("querying: %v", err)
				}
			}),
		}
		each := func(l *line, answer func(m map[string]any)) {
			for range 3 {
				answer(l.any())
			}
		}
		each(l, func(m map[string]any) { l.answer(m, refused) })
		closing := later(func() { l.close(1001, "") })
		l = f.welcome()
		closing()
		each(l, func(m map[string]any) {
			switch m["type"] {
			case "publish":
				l.answer(m, `"type":"published","channel":"a"`)
			case "subscribe":
				l.answer(m, `"type":"subscription_confirmed","channel":"a","timestamp":"2026-01-01T00:00:00Z"`)
			case "stream_query":
				l.answer(m, `"type":"query_started","stream_id":"s","query":"q","columns":[],"estimated_rows":null,"total_kind":"unknown"`)
			}
		})
		for _, wait := range waits {
			wait()
		}
	})
}

// A server that reads from a lost connection late takes the query away from the one that has it: it is asked for again. One that was cancelled
// indeed is not.
func TestTakenAway(t *testing.T) {
	const started = `"type":"query_started","stream_id":"s","query":"q","columns":[],"estimated_rows":null,"total_kind":"unknown"`
	const taken = `{"type":"query_cancelled","stream_id":"s","reason":"resumed on another connection","rows_sent":1}`
	begin := func(t *testing.T, f *fake) (*client.Client, *line, *client.Rows) {
		c := f.client(client.Options{})
		var rows *client.Rows
		wait := later(func() { rows, _ = c.Query(t.Context(), "q", nil, nil) })
		l := f.welcome()
		l.answer(l.expect("stream_query"), started)
		wait()
		l.send(`{"type":"query_batch","stream_id":"s","batch_number":0,"rows":[0],"has_more":true}`, taken)
		return c, l, rows
	}
	resumes := func(t *testing.T, l *line) map[string]any {
		t.Helper()
		m := l.expect("stream_query")
		if resume, _ := m["resume"].(map[string]any); resume["stream_id"] != "s" || resume["batch_number"] != float64(0) {
			t.Errorf("got %v", m)
		}
		return m
	}
	last := func(rows *client.Rows) (n int, err error) {
		for _, err = range rows.All() {
			n++
		}
		return n, err
	}
	bubble(t, func(t *testing.T, f *fake) {
		c, l, rows := begin(t, f)
		defer c.Close()
		l.answer(resumes(t, l), started)
		l.send(`{"type":"query_batch","stream_id":"s","batch_number":1,"rows":[1],"has_more":false}`,
			`{"type":"query_completed","stream_id":"s","total_rows":2,"execution_time_ms":7,"batches":2}`)
		if n, err := last(rows); n != 2 || err != nil {
			t.Errorf("got %d rows, %v", n, err)
		}
	})
	cancelled := func(t *testing.T, rows *client.Rows) {
		t.Helper()
		_, err := last(rows)
		if e, ok := errors.AsType[*client.CancelledError](err); !ok || e.Reason != "resumed on another connection" {
			t.Errorf("got %v", err)
		}
	}
	bubble(t, func(t *testing.T, f *fake) {
		c, l, rows := begin(t, f)
		defer c.Close()
		l.answer(resumes(t, l), `"type":"error","code":"INVALID_STREAM_ID","message":"there is no such query"`)
		cancelled(t, rows)
	})
	bubble(t, func(t *testing.T, f *fake) { // two that both want it
		c, l, rows := begin(t, f)
		defer c.Close()
		for range 3 {
			l.answer(resumes(t, l), started)
			l.send(taken)
		}
		cancelled(t, rows)
	})
}

// Batches that wait, and one that is being used, are not asked for twice.
func TestCreditOfAResumedQuery(t *testing.T) {
	const started = `"type":"query_started","stream_id":"s","query":"q","columns":[],"estimated_rows":null,"total_kind":"unknown"`
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		var rows *client.Rows
		wait := later(func() { rows, _ = c.Query(t.Context(), "q", nil, &client.QueryOptions{Window: 4}) })
		l := f.welcome()
		l.answer(l.expect("stream_query"), started)
		wait()
		for n := range 3 {
			l.send(fmt.Sprintf(`{"type":"query_batch","stream_id":"s","batch_number":%d,"rows":[%d],"has_more":true}`, n, n))
		}
		inHand, done := make(chan struct{}), make(chan struct{})
		reading := later(func() {
			for range rows.Batches() {
				select {
				case <-inHand:
				default:
					close(inHand)
					<-done
				}
			}
		})
		<-inHand
		l.cut()
		l = f.welcome()
		m := l.expect("stream_query")
		if resume, _ := m["resume"].(map[string]any); m["credits"] != float64(1) || resume["batch_number"] != float64(2) {
			t.Errorf("got %v", m)
		}
		l.answer(m, started)
		synctest.Wait()
		l.cut()
		l = f.welcome()
		if m = l.expect("stream_query"); m["credits"] != float64(1) {
			t.Errorf("got %v", m)
		}
		close(done)
		synctest.Wait() // all that waited is used before the query goes on
		l.answer(m, started)
		if m := l.expect("credit"); m["batches"] != float64(3) {
			t.Errorf("got %v", m)
		}
		l.send(`{"type":"query_batch","stream_id":"s","batch_number":3,"rows":[3],"has_more":false}`,
			`{"type":"query_completed","stream_id":"s","total_rows":4,"execution_time_ms":7,"batches":4}`)
		reading()
		if _, ok := rows.Result(); !ok {
			t.Error("it is not complete")
		}
	})
}

// The server goes by the last `subscribe` of a name: presence must be asked for last.
func TestResumeOfPresence(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		l := f.welcome()
		subscribed(t, c, l, at100, &client.SubscribeOptions{Presence: true}, "a")
		wait := later(func() { _, _ = c.Subscribe(t.Context(), []string{"a", "b"}, nil) })
		l.confirm(at100)
		if m := l.confirm(at100); m["presence"] != true || !reflect.DeepEqual(m["channels"], []any{"a"}) {
			t.Errorf("got %v", m)
		}
		wait()
		l.cut()
		l = f.welcome()
		if m := l.confirm(at100); m["presence"] != nil || !reflect.DeepEqual(m["channels"], []any{"a", "b"}) {
			t.Errorf("got %v", m)
		}
		if m := l.confirm(at100); m["presence"] != true || !reflect.DeepEqual(m["channels"], []any{"a"}) {
			t.Errorf("got %v", m)
		}
	})
}
