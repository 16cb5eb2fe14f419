package neuroquantumws_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// dialLines connects a client without library with the subprotocol that has several messages in a frame.
func dialLines(s *site, offer string, readBuffer int) *wstest.Raw {
	s.t.Helper()
	return wstest.DialRaw(s.t, s.address, wstest.Handshake(s.address, "/ws", "Sec-WebSocket-Protocol: "+offer), readBuffer)
}

// readLines takes the next text frame apart.
func readLines(t *testing.T, raw *wstest.Raw) []M {
	t.Helper()
	for {
		op, payload, err := raw.ReadFrame()
		if err != nil {
			t.Fatalf("reading: %v", err)
		}
		if op == wstest.OpClose {
			t.Fatalf("closed: %q", payload)
		}
		if op != wstest.OpText {
			continue
		}
		var all []M
		for line := range strings.SplitSeq(string(payload), "\n") {
			var m M
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			all = append(all, m)
		}
		return all
	}
}

// The client's order decides among what both speak.
func TestSubprotocolChoice(t *testing.T) {
	s := serve(t, "")
	for offer, want := range map[string]string{
		"neuroquantum.v1":                                     "neuroquantum.v1",
		"neuroquantum.v1.ndjson":                              "neuroquantum.v1.ndjson",
		"neuroquantum.v1.ndjson, neuroquantum.v1":             "neuroquantum.v1.ndjson",
		"bearer.x, neuroquantum.v1,neuroquantum.v1.ndjson":    "neuroquantum.v1",
		"neuroquantum.v2, other":                              "",
		"bearer.neuroquantum.v1.ndjson, bearer.neuroquantum.": "",
	} {
		raw := dialLines(s.in(t), offer, 0)
		if got := raw.Response.Header.Get("Sec-WebSocket-Protocol"); got != want {
			t.Errorf("%q is answered with %q, want %q", offer, got, want)
		}
	}
}

func TestNDJSONRequests(t *testing.T) {
	s := serve(t, "channel ** {\nhistory 10\nallow subscribe anyone\nallow publish anyone\nallow history anyone\n}")
	raw := dialLines(s, "neuroquantum.v1.ndjson", 0)
	var got []M
	until := func(n int) {
		for len(got) < n {
			got = append(got, readLines(t, raw)...)
		}
	}
	until(1)
	if got[0].Type() != "welcome" {
		t.Fatalf("got %v", got[0])
	}
	raw.Text(`{"type":"subscribe","channel":"a","id":1}` + "\n" + `{"type":"publish","channel":"a","data":1,"id":2}` + "\r\n\n" +
		`nonsense` + "\n" + `{"type":"publish","channel":"a","data":2,"id":3}` + "\n")
	until(7) // the confirmation, two messages, two receipts and the error
	types := make(map[string]int)
	for _, m := range got[1:] {
		types[m.Type()]++
	}
	if fmt.Sprint(types) != "map[channel_message:2 error:1 published:2 subscription_confirmed:1]" {
		t.Errorf("got %v", got)
	}
	// A client without this subprotocol may not do so.
	plain := s.dial()
	plain.Send(`{"type":"ping"}` + "\n" + `{"type":"ping"}`)
	plain.ExpectError("INVALID_MESSAGE")
	plain.Ping()
}

// TestAnswersGoTogether: requests that came in one piece are answered in one, whatever each of them needs.
func TestAnswersGoTogether(t *testing.T) {
	s := serve(t, "")
	raw := dialLines(s, "neuroquantum.v1.ndjson", 0)
	readLines(t, raw)
	raw.Text(`{"type":"subscribe","channel":"b"}`) // behind this the shard has done all that belongs to the beginning
	readLines(t, raw)
	var together []byte
	for _, request := range []string{
		`{"type":"ping"}`, `{"type":"subscribe","channel":"a"}`, `nonsense`, `{"type":"unsubscribe","channel":"a"}`, `{"type":"ping"}`,
	} {
		together = append(together, wstest.Frame(wstest.Fin|wstest.OpText, request)...)
	}
	raw.Bytes(together)
	types := ""
	for _, m := range readLines(t, raw) {
		types += m.Type() + " "
	}
	if types != "pong subscription_confirmed error unsubscription_confirmed pong " {
		t.Errorf("the first frame has %s", types)
	}
}

// TestNDJSONBatches: what has gathered for a client that was slow to read comes in few frames, and all of it.
func TestNDJSONBatches(t *testing.T) {
	const messages = 5000
	s := serve(t, "rate_limit 1000000\nwrite_timeout 5m\nqueue 10000 64MiB")
	raw := dialLines(s, "neuroquantum.v1.ndjson", 4<<10)
	readLines(t, raw)
	raw.Text(`{"type":"subscribe","channel":"a"}`)
	readLines(t, raw)
	publisher := s.dial()
	pad := strings.Repeat("x", 1000)
	sent := 0
	send := func() {
		publisher.Send(M{"type": "publish", "channel": "a", "data": []any{sent, pad}})
		sent++
	}
	// The socket takes in much before anything has to wait, which goes in frames of its own.
	h := hubOf(t, "default")
	until(publisher, "messages wait", func() bool {
		for range 10 {
			send()
		}
		return h.Stats().QueuedBytes > 100<<10
	})
	first, all := sent, sent+messages
	for sent < all {
		send()
	}
	publisher.Ping()
	raw.Bytes(wstest.Frame(wstest.Fin|wstest.OpPing, "in between"))
	frames, next := 0, 0
	for next < all {
		if next >= first {
			frames++
		}
		for _, m := range readLines(t, raw) {
			if got := m.List("data")[0]; m.Type() != "channel_message" || got != float64(next) {
				t.Fatalf("got %v %v, want %d", m.Type(), got, next)
			}
			next++
		}
	}
	if frames > messages/4 {
		t.Errorf("%d messages came in %d frames", messages, frames)
	}
	// A message too large to be copied goes by itself.
	publisher.Publish("a", strings.Repeat("y", 60_000))
	big := strings.Repeat("z", 4)
	publisher.Publish("a", big)
	var rest []M
	for len(rest) < 2 {
		rest = append(rest, readLines(t, raw)...)
	}
	if len(rest[0].Text("data")) != 60_000 || rest[1].Text("data") != big {
		t.Errorf("got %d messages", len(rest))
	}
}

// TestConflate: of each channel a client that stood still gets the newest value, and is told how many it replaced.
func TestConflate(t *testing.T) {
	const messages, channels = 9000, 3
	s := serve(t, `
	rate_limit 1000000
	health off
	write_timeout 5m
	channel ** {
		history 100000
		queue 100 1MiB conflate
		allow subscribe anyone
		allow publish anyone
		allow history anyone
	}`)
	raw := dialLines(s, "neuroquantum.v1", 4<<10)
	raw.Next()
	raw.Text(`{"type":"subscribe","channel":"**"}`)
	raw.Next()
	publisher := s.dial()
	pad := strings.Repeat("x", 1000)
	for i := range messages {
		publisher.Send(M{"type": "publish", "channel": fmt.Sprint("c", i%channels), "data": []any{i, pad}})
	}
	until(publisher, "all is in the queues", func() bool { return hubOf(t, "default").Stats().MessagesInFlight == 0 })
	next := map[string]int{"c0": 0, "c1": 1, "c2": 2}
	last := make(map[string]int)
	lost, offset := 0, 0
	for done := 0; done < channels; {
		m := raw.Next()
		channel := m.Text("channel")
		switch m.Type() {
		case "gap":
			if m.Text("reason") != "conflated" || m.Int("dropped") < 1 || !m.Bool("recoverable") || m.Int("after") != last[channel] {
				t.Fatalf("behind %d came %v", last[channel], m)
			}
			lost += m.Int("dropped")
			next[channel] += m.Int("dropped") * channels
		case "channel_message":
			i := int(m.List("data")[0].(float64))
			if i != next[channel] || m.Int("offset") <= offset {
				t.Fatalf("got %d with offset %d, want %d behind %d", i, m.Int("offset"), next[channel], offset)
			}
			next[channel] += channels
			last[channel], offset = m.Int("offset"), m.Int("offset")
			if i >= messages-channels {
				done++
			}
		default:
			t.Fatalf("got %v", m)
		}
	}
	stats := hubOf(t, "default").Stats()
	if lost == 0 || stats.Conflated != uint64(lost) || stats.Dropped != 0 || stats.Offered != messages {
		t.Errorf("told of %d, counted %d conflated and %d dropped of %d", lost, stats.Conflated, stats.Dropped, stats.Offered)
	}
}
