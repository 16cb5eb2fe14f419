package neuroquantumws_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand"
	"runtime"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

func TestBadMessagesAreAnswered(t *testing.T) {
	s := serve(t, "source demo sqlite "+demoDB(t)+"\nquery q {\nsource demo\nsql \"select 1\"\nallow anyone\n}")
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, test := range []struct{ message, code, id string }{
		{"", "INVALID_MESSAGE", ""},
		{" ", "INVALID_MESSAGE", ""},
		{"nonsense", "INVALID_MESSAGE", ""},
		{"null", "INVALID_MESSAGE", ""},
		{"[]", "INVALID_MESSAGE", ""},
		{`[{"type":"ping"}]`, "INVALID_MESSAGE", ""},
		{`"ping"`, "INVALID_MESSAGE", ""},
		{"5", "INVALID_MESSAGE", ""},
		{"{", "INVALID_MESSAGE", ""},
		{"{}", "INVALID_MESSAGE", ""},
		{`{"type":"ping"`, "INVALID_MESSAGE", ""},
		{`{"type":"ping",}`, "INVALID_MESSAGE", ""},
		{`{'type':'ping'}`, "INVALID_MESSAGE", ""},
		{`{"type":"ping"}{"type":"ping"}`, "INVALID_MESSAGE", ""},
		{`{"type":"ping"} x`, "INVALID_MESSAGE", ""},
		{`{"type":5,"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":null,"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"ping","type":"ping","id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"fly","id":"a"}`, "UNKNOWN_TYPE", "a"},
		{`{"type":"PING","id":"a"}`, "UNKNOWN_TYPE", "a"},
		{`{"type":"welcome","id":"a"}`, "UNKNOWN_TYPE", "a"},
		{`{"type":"presence","channel":"q","id":"a"}`, "FORBIDDEN", "a"},
		{`{"type":"presence","channel":"q/*","id":"a"}`, "INVALID_CHANNEL", "a"},
		{`{"type":"subscribe","channel":"q","presence":true,"id":"a"}`, "FORBIDDEN", "a"},
		{`{"type":"authenticate","token":"secret","id":"a"}`, "UNAUTHENTICATED", "a"},
		{`{"type":"authenticate","id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"ping","id":""}`, "INVALID_MESSAGE", ""},
		{`{"type":"ping","id":-1}`, "INVALID_MESSAGE", ""},
		{`{"type":"ping","id":1.5}`, "INVALID_MESSAGE", ""},
		{`{"type":"ping","id":9007199254740993}`, "INVALID_MESSAGE", ""},
		{`{"type":"ping","id":true}`, "INVALID_MESSAGE", ""},
		{`{"type":"ping","id":{}}`, "INVALID_MESSAGE", ""},
		{`{"type":"ping","id":"` + strings.Repeat("x", 65) + `"}`, "INVALID_MESSAGE", ""},
		{`{"type":"subscribe","id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channel":5,"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channels":"x","id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channels":[],"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channels":["a",5],"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channel":"a","channels":["a"],"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channel":"a","since":5,"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channel":"a","since":{"epoch":5,"offset":1},"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channel":"a","since":{"epoch":"x","offset":-1},"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channel":"a","since":{"epoch":"x","offset":1e99},"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channel":"a","history":-1,"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channel":"a","history":"5","id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"subscribe","channel":"a","presence":1,"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"publish","channel":"a","id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"publish","data":1,"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"publish","channel":["a"],"data":1,"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"publish","channel":"a","data":nonsense,"id":"a"}`, "INVALID_MESSAGE", ""},
		{`{"type":"publish","channel":"a","data":"\ud800","id":"a"}`, "INVALID_MESSAGE", ""},
		{`{"type":"history","channel":"a","limit":"x","id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"stream_query","id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"credit","stream_id":"x","id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"type":"publish","channel":"a","data":` + nest(32) + `,"id":"a"}`, "INVALID_MESSAGE", "a"},
		{`{"id":"a","type":"publish","channel":"a","data":` + nest(20_000) + `}`, "INVALID_MESSAGE", "a"},
		{strings.Repeat("[", 60_000), "INVALID_MESSAGE", ""},
		{strings.Repeat(`{"a":`, 10_000), "INVALID_MESSAGE", ""},
	} {
		name := test.message[:min(len(test.message), 80)]
		c := s.dial()
		c.Send(test.message)
		m := c.ExpectError(test.code)
		if m.Text("id") != test.id || test.id == "" && m.Has("id") {
			t.Errorf("%s: the id is %v, want %q", name, m["id"], test.id)
		}
		if strings.Contains(m.Text("message"), "secret") {
			t.Errorf("%s: %v", name, m)
		}
		c.Ping() // the connection stays open
		c.Close()
	}
	c := s.dial()
	c.Subscribe("a")
	for _, good := range []string{
		`{"type":"publish","channel":"a","data":` + nest(31) + `}`,
		`{"type":"publish","channel":"a","data":null}`,
		`{"type":"publish","channel":"a","data":"\ud83d\ude00 \u0000"}`,
		`{"unknown":{"type":"ping"},"type":"publish","channel":"a","data":{"type":"x","id":{}},"limit":{},"token":5}`,
		"\r\n {\n\"type\" : \"publish\" ,\"channel\":\"\\u0061\",\r\n\"data\":[ 1 ,\n 2 ]}\t\n",
	} {
		c.Send(good)
		c.Expect("channel_message")
	}
}

// Data are passed on as they came: numbers of any size keep every digit.
func TestDataArePassedOnAsTheyCame(t *testing.T) {
	s := serve(t, "")
	raw := s.raw()
	raw.Text(`{"type":"subscribe","channel":"a"}`)
	raw.Next()
	for _, data := range []string{
		`12345678901234567890123`, `1.0`, `1e5`, `-0`, `{"b":1,"a":2,"b":3}`, `[ 1,  2 ]`, `"\u0041\/é"`, `"<script>&\u2028"`, `""`, `{}`,
	} {
		raw.Text(`{"type":"publish","channel":"a","data":` + data + `}`)
		op, payload, err := raw.ReadFrame()
		if err != nil || op != wstest.OpText || !strings.Contains(string(payload), `"data":`+data+`,`) {
			t.Errorf("%s became %s (%v)", data, payload, err)
		}
	}
}

// A message may be as large as the welcome says, and not one byte larger.
func TestMessageSize(t *testing.T) {
	const limit = 1000
	s := serve(t, fmt.Sprint("max_message_size ", limit))
	message := func(size int) string {
		text := `{"type":"ping","id":1,"fill":""}`
		return strings.Replace(text, `""`, `"`+strings.Repeat("x", size-len(text))+`"`, 1)
	}
	c := s.dial()
	c.Send(message(limit))
	c.Expect("pong")
	for _, size := range []int{limit + 1, limit + 2, 10 * limit, 1 << 20} {
		c := s.dial()
		_ = c.Write(message(size)) // it may be refused before it is all sent
		if rest, code := c.Closed(); code != 1009 || len(rest) > 0 {
			t.Errorf("%d bytes: %v, closed with %d", size, rest, code)
		}
	}
	// Also where it comes in many frames, none of which is too large.
	raw := s.raw()
	raw.Bytes(wstest.Frame(wstest.OpText, message(limit)[:500]))
	for range 3 {
		raw.Bytes(wstest.Frame(wstest.OpContinuation, strings.Repeat("x", 400)))
	}
	if code := raw.CloseCode(); code != 1009 {
		t.Errorf("closed with %d", code)
	}
	c.Ping()
}

// The client of a message far larger than the limit must be able to read why it is closed, while it still sends.
func TestHugeMessageLearnsWhy(t *testing.T) {
	s := serve(t, "")
	raw := s.raw()
	const huge = 24 << 20
	frame := wstest.Frame(wstest.Fin|wstest.OpText, "")[:1]
	frame = binary.BigEndian.AppendUint64(append(frame, 0x80|127), huge)
	frame = append(frame, 0, 0, 0, 0)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		chunk := []byte(strings.Repeat("x", 64<<10))
		if _, err := raw.Write(frame); err != nil {
			return
		}
		for n := 0; n < huge; n += len(chunk) {
			if _, err := raw.Write(chunk); err != nil {
				return
			}
		}
	}()
	<-sent // a client that reads only once it has sent all
	if code := raw.CloseCode(); code != 1009 {
		t.Errorf("closed with %d", code)
	}
	s.dial().Ping()
}

func TestFramesThatCloseTheConnection(t *testing.T) {
	s := serve(t, "")
	witness := s.dial()
	witness.Subscribe("news")
	text := func(payload string) []byte { return wstest.Frame(wstest.Fin|wstest.OpText, payload) }
	unmasked := append([]byte{wstest.Fin | wstest.OpText, 15}, `{"type":"ping"}`...)
	flood := func(op byte) (all []byte) {
		for range 150 {
			all = append(all, wstest.Frame(wstest.Fin|op, "x")...)
		}
		return all
	}
	for _, test := range []struct {
		name  string
		bytes []byte
		code  int
	}{
		{"binary", wstest.Frame(wstest.Fin|wstest.OpBinary, `{"type":"ping"}`), 1003},
		{"empty binary", wstest.Frame(wstest.Fin|wstest.OpBinary, ""), 1003},
		{"invalid UTF-8", text("{\"type\":\"ping\",\"id\":\"\xff\"}"), 1007},
		{"a surrogate", text("{\"type\":\"ping\",\"id\":\"\xed\xa0\x80\"}"), 1007},
		{"overlong", text("\xc0\x80"), 1007},
		{"cut rune", text("{\"type\":\"ping\",\"id\":\"\xc3"), 1007},
		{"ping flood", flood(wstest.OpPing), 1008},
		{"pong flood", flood(wstest.OpPong), 1008},
		{"unmasked", unmasked, 0}, // of the close frame RFC 6455, 5.1 says that it may be sent

		{"reserved bits", wstest.Frame(wstest.Fin|0x40|wstest.OpText, "x"), 1002},
		{"unknown opcode", wstest.Frame(wstest.Fin|0x5, "x"), 1002},
		{"continuation of nothing", wstest.Frame(wstest.Fin|wstest.OpContinuation, "x"), 1002},
		{"a message within another", append(wstest.Frame(wstest.OpText, "x"), text("y")...), 1002},
		{"fragmented ping", wstest.Frame(wstest.OpPing, "x"), 1002},
		{"long ping", wstest.Frame(wstest.Fin|wstest.OpPing, strings.Repeat("x", 126)), 1002},
		{"a close of one byte", wstest.Frame(wstest.Fin|wstest.OpClose, "x"), 1002},
		{"a length of 2^63", append([]byte{wstest.Fin | wstest.OpText, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, 0, 0, 0, 0), 0},
		{"a good close", wstest.Frame(wstest.Fin|wstest.OpClose, "\x03\xe8bye"), 1000},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := s.in(t)
			raw := s.raw()
			raw.Bytes(test.bytes)
			if test.code == 0 {
				raw.Gone()
			} else if code := raw.CloseCode(); code != test.code {
				t.Errorf("closed with %d, want %d", code, test.code)
			}
			raw.Close()
			s.dial().Publish("news", test.name)
			if m := witness.Expect("channel_message"); m["data"] != test.name {
				t.Errorf("another client got %v", m)
			}
		})
	}
}

// A close handshake that the client began or answers is finished by the server's end of the connection.
func TestTheServerEndsTheConnectionAfterTheHandshake(t *testing.T) {
	s := serve(t, "")
	for _, bytes := range [][]byte{
		wstest.Frame(wstest.Fin|wstest.OpClose, "\x03\xe8"),
		wstest.Frame(wstest.Fin|wstest.OpClose, ""),
	} {
		raw := s.raw()
		raw.Bytes(bytes)
		raw.Gone()
	}
}

// Bytes without sense must cost no one but their sender anything.
func TestGarbage(t *testing.T) {
	s := serve(t, "")
	h := hubOf(t, "default")
	witness := s.dial()
	random := rand.New(rand.NewSource(1))
	for range 60 {
		raw := s.raw()
		garbage := make([]byte, 1+random.Intn(3000))
		random.Read(garbage)
		_, _ = raw.Write(garbage)
		_ = raw.CloseWrite()
		raw.Gone()
		raw.Close()
	}
	witness.Ping()
	until(witness, "the connections are gone", func() bool { return h.Stats().Connections == 1 })
}

// However a client's TCP connection ends, its place is given back.
func TestLostConnections(t *testing.T) {
	s := serve(t, "heartbeat 50ms 400ms")
	h := hubOf(t, "default")
	for name, end := range map[string]func(*wstest.Raw){
		"cut":            func(r *wstest.Raw) { r.Close() },
		"reset":          func(r *wstest.Raw) { _ = r.SetLinger(0); r.Close() },
		"half closed":    func(r *wstest.Raw) { _ = r.CloseWrite() },
		"within a frame": func(r *wstest.Raw) { r.Bytes([]byte{wstest.Fin | wstest.OpText, 0xfe, 0x10}); _ = r.CloseWrite() },
		"half open":      func(*wstest.Raw) {}, // nothing comes any more, not even an end
		"amid a message": func(r *wstest.Raw) { r.Bytes(wstest.Frame(wstest.OpText, `{"type":`)); r.Close() },
		"after many": func(r *wstest.Raw) {
			r.Bytes([]byte(strings.Repeat(string(wstest.Frame(0x81, `{"type":"ping"}`)), 50)))
			r.Close()
		},
		"a close, no end": func(r *wstest.Raw) { r.Bytes(wstest.Frame(wstest.Fin|wstest.OpClose, "\x03\xe8")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			raw := s.raw()
			// The handshake's answer may come before the hub has the connection.
			conns := h.Connections()
			for len(conns) != 1 && t.Context().Err() == nil {
				runtime.Gosched()
				conns = h.Connections()
			}
			end(raw)
			ended(t, conns[0])
			c := s.dial()
			c.Ping()
			leave(t, c)
		})
	}
}

func TestTooManyBadMessages(t *testing.T) {
	s := serve(t, "")
	c := s.dial()
	for range 100 {
		c.Send("nonsense")
		c.ExpectError("INVALID_MESSAGE")
	}
	c.Ping() // a hundred are borne
	c.Send("nonsense")
	if rest, code := c.Closed(); code != 4029 || len(rest) != 1 {
		t.Errorf("closed with %d after %v", code, rest)
	}
	s.dial().Ping()
}

func TestRateLimit(t *testing.T) {
	s := serve(t, "rate_limit 0.5 10")
	c, other := s.dial(), s.dial()
	c.Subscribe("a") // the first of ten
	for i := range 9 {
		c.Send(M{"type": "publish", "channel": "a", "data": i})
	}
	m := c.Refused("RATE_LIMITED", M{"type": "publish", "channel": "a", "data": "too many"})
	if wait := m.Int("retry_after_ms"); wait < 1 || wait > 2000 {
		t.Errorf("got %v", m)
	}
	for i := range 9 {
		if m := c.Expect("channel_message"); m.Int("data") != i {
			t.Fatalf("got %v", m)
		}
	}
	other.Ping()
	// Beyond a hundred of them the client is sent away.
	for range 101 {
		if c.Write(M{"type": "message", "data": 1}) != nil {
			break
		}
	}
	if _, code := c.Closed(); code != 4029 {
		t.Errorf("closed with %d", code)
	}
}

// Control frames are answered among everything else, and within a fragmented message.
func TestPingsAreAnswered(t *testing.T) {
	s := serve(t, "")
	c := s.dial()
	done := c.WebSocket().CloseRead(context.Background())
	for range 20 {
		if err := c.WebSocket().Ping(done); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.WebSocket().Close(websocket.StatusNormalClosure, "")

	raw := s.raw()
	raw.Bytes(wstest.Frame(wstest.OpText, `{"type":`))
	raw.Bytes(wstest.Frame(wstest.Fin|wstest.OpPing, "within"))
	if op, payload, err := raw.ReadFrame(); op != wstest.OpPong || string(payload) != "within" || err != nil {
		t.Errorf("got %x %q %v", op, payload, err)
	}
	raw.Bytes(wstest.Frame(wstest.OpContinuation, `"ping"`))
	raw.Bytes(wstest.Frame(wstest.OpContinuation, ""))
	raw.Bytes(wstest.Frame(wstest.Fin|wstest.OpContinuation, `}`))
	if m := raw.Next(); m.Type() != "pong" {
		t.Errorf("got %v", m)
	}
}

// Names that begin with $ are the server's alone, also where everything is open.
func TestReservedNamesAreClosed(t *testing.T) {
	s := serve(t, "")
	c := s.dial()
	for _, name := range []string{"$unicast", "$sys/x", "$presence/**", "$x.*"} {
		c.Send(M{"type": "subscribe", "channel": name, "id": name})
		if m := c.ExpectError("FORBIDDEN"); m.Text("channel") != name {
			t.Errorf("%s: got %v", name, m)
		}
	}
	c.Subscribe("**")
}
