package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func batch(n int) string {
	return fmt.Sprintf(`{"type":"query_batch","stream_id":"s","batch_number":%d,"rows":[{"id":1}],"has_more":true}`, n)
}

// FuzzFrame gives a client frames that no server of ours sends. Whatever comes, it must not panic, and what it keeps must stay bounded.
func FuzzFrame(f *testing.F) {
	for _, seed := range []string{
		`{"type":"subscription_confirmed","channel":"a/*","timestamp":"2026-01-01T00:00:00Z","id":1,"epoch":"e","offset":5,"recovered":true}`,
		`{"type":"channel_message","channel":"a/b","data":{"x":1},"timestamp":"2026-01-01T00:00:00Z","offset":7}` + "\n" + `{"type":"channel_message","channel":"a/b","data":1}`,
		`{"type":"gap","channel":"$presence/a/b","after":1,"before":5,"dropped":null,"reason":"drop_oldest","recoverable":true}`,
		`{"type":"presence_join","channel":"a/b","member":{"connection_id":"c","since":"2026-01-01T00:00:00Z"}}`,
		`{"type":"query_started","stream_id":"s","id":2,"columns":[{"name":"id","type":"integer"}],"estimated_rows":7,"total_kind":"exact"}` + "\n" +
			`{"type":"query_batch","stream_id":"s","batch_number":0,"rows":[{"id":1}],"has_more":true}` + "\n" +
			`{"type":"query_batch","stream_id":"s","batch_number":1,"rows":[{"id":1}],"has_more":true}`,
		`{"type":"query_started","stream_id":"w","id":3,"columns":[]}` + "\n" +
			`{"type":"query_batch","stream_id":"w","batch_number":0,"rows":[{"id":1},{"id":"x"}],"has_more":false}` + "\n" +
			`{"type":"query_ready","stream_id":"w","revision":2}` + "\n" +
			`{"type":"query_change","stream_id":"w","revision":3,"op":"insert","key":5,"row":{"id":5}}` + "\n" +
			`{"type":"query_change","stream_id":"w","revision":4,"op":"delete","key":1}`,
		`{"type":"query_started","stream_id":"s","id":2,"columns":[]}` + "\n" +
			strings.Join([]string{batch(0), batch(1), batch(2), batch(3)}, "\n"),
		`{"type":"query_started","stream_id":"w","id":3,"columns":[]}` + "\n" + `{"type":"query_ready","stream_id":"w","revision":2}` +
			strings.Repeat("\n"+`{"type":"query_change","stream_id":"w","revision":3,"op":"insert","key":5,"row":{"id":5,"text":"xxxxxxxxxxxxxxxxxxxxxxxxxx"}}`, 20),
		`{"type":"query_progress","stream_id":"s","rows_processed":5,"percentage":0.3,"throughput":9.9,"elapsed_ms":504,"eta_ms":1,"bytes":441,"stalled_ms":500,"state":"paused"}`,
		`{"type":"query_completed","stream_id":"s","total_rows":5,"execution_time_ms":1,"batches":2}`,
		`{"type":"query_cancelled","stream_id":"s","reason":"operator","rows_sent":1}`,
		`{"type":"error","code":"RATE_LIMITED","message":"too many messages","id":"credit 3 s","retry_after_ms":1}`,
		`{"type":"error","code":"FORBIDDEN","message":"no","channel":"a/*","id":1}`,
		`{"type":"error","code":"RATE_LIMITED","message":"no","id":1}`,
		`{"type":"reconnect","after_ms":1000,"reason":"x"}`, `{"type":"pong","id":4}`, `{}`, `[]`, "\n\n", `{"type":1}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, frame string) {
		c := &Client{changed: make(chan struct{}), index: newIndex()}
		c.ctx, c.cancel = context.WithCancelCause(context.Background())
		s := newSession(c)
		defer s.cancel()
		s.welcome = &message{MaxBytes: 65536, Epoch: "e"}
		sub, err := c.newSubscription([]string{"a/*", "a/b", "c"}, &SubscribeOptions{Buffer: 4, BufferBytes: 2000, Presence: true})
		if err != nil {
			t.Fatal(err)
		}
		c.subs = append(c.subs, sub)
		c.index.add(sub)
		rows := &Rows{c: c, o: QueryOptions{Window: 2}, last: -1, started: make(chan struct{}), ended: make(chan struct{}), signal: make(chan struct{}, 1)}
		live := &Live{
			c: c, key: []string{"id"}, revision: -1, started: make(chan struct{}), ended: make(chan struct{}), signal: make(chan struct{}, 1),
			copy: newKeyed(500), changes: newChanges(),
		}
		c.streams = []stream{rows, live}
		c.begin(s) // ids 1, 2 and 3
		err = lines([]byte(frame), s.takeLine)
		if live.pendingBytes > 1000 && live.err == nil || live.fresh != nil && live.fresh.bytes > 500 && live.err == nil {
			t.Errorf("%d bytes of changes are staged", live.pendingBytes)
		}
		c.lose(s)
		if len(sub.buffer.waiting) > 4 || sub.buffer.bytes > 2000 && len(sub.buffer.waiting) > 1 {
			t.Errorf("%d events wait, %d bytes", len(sub.buffer.waiting), sub.buffer.bytes)
		}
		if len(rows.waiting) > 2 || live.copy.bytes > 500 && live.err == nil || live.pendingChanges != nil || live.fresh != nil {
			t.Errorf("%d batches wait, the copy has %d bytes", len(rows.waiting), live.copy.bytes)
		}
		if len(live.changes.had) != len(live.changes.order) {
			t.Errorf("%d keys have changed, %d stand in order", len(live.changes.had), len(live.changes.order))
		}
		if err == nil && frame != "" && !json.Valid([]byte("["+strings.Join(strings.FieldsFunc(frame, func(r rune) bool { return r == '\n' }), ",")+"]")) {
			t.Errorf("%q was taken", frame)
		}
	})
}
