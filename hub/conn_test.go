package hub_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// ended closes the hub and checks that everything of its connections has ended and nothing is counted as waiting.
func ended(t *testing.T, h *hub.Hub) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		t.Error(err)
	}
	if n := len(h.Connections()); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if s := h.Stats(); s.QueuedBytes != 0 || s.MessagesInFlight != 0 {
		t.Errorf("%d bytes wait for connections that have ended, and %d messages for shards", s.QueuedBytes, s.MessagesInFlight)
	}
}

func TestPingsComeAtTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, settings())
		p, c := pipe(t, h, &receiver{})
		start := time.Now()
		for i := 1; i <= 5; i++ {
			op, payload, err := p.frame()
			if err != nil || op != opPing {
				t.Fatalf("frame %d %v", op, err)
			}
			// Within a look at the connections, which comes every second.
			if got := time.Since(start) - time.Duration(i)*30*time.Second; got < 0 || got > time.Second {
				t.Fatalf("ping %d is off by %v", i, got)
			}
			p.send(opPong, payload)
		}
		p.Close()
		<-c.Ended()
		ended(t, h)
	})
}

func TestTimeouts(t *testing.T) {
	tests := []struct {
		name      string
		answer    bool // pings
		subscribe bool
		busy      bool
		noIdle    bool
		want      time.Duration // until 4000; 0: never within an hour
	}{
		{name: "silent", want: 90 * time.Second},
		{name: "heartbeats only", answer: true, want: 5 * time.Minute},
		{name: "subscribed", answer: true, subscribe: true},
		{name: "streaming", answer: true, busy: true},
		{name: "idle without a limit", answer: true, noIdle: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := settings()
				if test.noIdle {
					s.IdleTimeout = 0
				}
				h := newHub(t, s)
				p, c := pipe(t, h, &receiver{busy: test.busy})
				if test.subscribe {
					go subscribe(t, h, c, nil, 0, "a")
					p.next()
				}
				start := time.Now()
				closed := make(chan int, 1)
				go func() {
					defer close(closed)
					for {
						op, payload, err := p.frame()
						switch {
						case err != nil:
							return
						case op == opPing && test.answer:
							p.send(opPong, payload)
						case op == opClose:
							closed <- int(binary.BigEndian.Uint16(payload))
							p.send(opClose, payload[:2])
							return
						}
					}
				}()
				select {
				case code := <-closed:
					if code != 4000 {
						t.Errorf("closed with %d", code)
					}
					if got := time.Since(start) - test.want; test.want == 0 || got < 0 || got > 2*time.Second {
						t.Errorf("closed after %v", time.Since(start))
					}
				case <-time.After(time.Hour):
					if test.want != 0 {
						t.Error("never closed")
					}
					c.Close(protocol.CloseByOperator, "the test is over")
				}
				<-c.Ended()
				ended(t, h)
			})
		})
	}
}

func TestWriteTimeoutCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, settings())
		_, c := pipe(t, h, &receiver{})
		start := time.Now()
		c.Reply([]byte(`{"type":"pong"}`)) // nobody reads it
		<-c.Ended()
		// The write timeout, and then the time that a slow client has to take its close frame.
		if got := time.Since(start); got < 25*time.Second || got > 27*time.Second {
			t.Errorf("ended after %v", got)
		}
		if h.Stats().TooSlow != 1 {
			t.Error("not counted")
		}
		ended(t, h)
	})
}

// bytes sends just these.
func (p *peer) bytes(b ...byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("sending: %v", err)
	}
}

func TestCloseFrames(t *testing.T) {
	tests := []struct {
		name string
		do   func(p *peer)
		want int
	}{
		{"binary", func(p *peer) { p.send(2, []byte("x")) }, 1003},
		{"not UTF-8", func(p *peer) { p.text("\xff") }, 1007},
		{"too large", func(p *peer) { p.text(strings.Repeat("x", 4097)) }, 1009},
		{"reserved opcode", func(p *peer) { p.send(3, nil) }, 1002},
		{"not masked", func(p *peer) { p.bytes(0x81, 2, '{', '}') }, 1002},
		{"a length with the top bit", func(p *peer) { p.bytes(0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0) }, 1002},
		{"a length that is too large, announced", func(p *peer) { p.bytes(0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0) }, 1009},
		{"a reason that is not UTF-8", func(p *peer) { p.send(opClose, []byte{0x03, 0xe8, 0xff, 0xfe}) }, 1007},
		{"client closes", func(p *peer) { p.send(opClose, binary.BigEndian.AppendUint16(nil, 1000)) }, 1000},
	}
	for _, test := range tests {
		for kind, connect := range map[string]func(testing.TB, *hub.Hub, *receiver) (*peer, *hub.Conn){"pipe": pipe, "tcp": tcp} {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				h := newHub(t, settings())
				r := &receiver{}
				p, c := connect(t, h, r)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					test.do(p)
				}()
				op, payload, err := p.frame()
				if err != nil || op != opClose || int(binary.BigEndian.Uint16(payload)) != test.want {
					t.Fatalf("got opcode %d %q, %v; want close %d", op, payload, err, test.want)
				}
				<-sent
				p.leave(c)
				select {
				case <-r.closed:
				default:
					t.Error("the connection has ended before its receiver")
				}
				ended(t, h)
			})
		}
	}
}

// TestFramesBehindTheRequest: what a client sends before its handshake is answered is read first, and counted.
func TestFramesBehindTheRequest(t *testing.T) {
	h := newHub(t, settings())
	near, far := tcpPair(t, 0)
	p := newPeer(t, near)
	who, sent := somebody, 0
	send := func(size int) {
		msg := fmt.Sprintf(`{"type":"message","data":"%d%s"}`, size, strings.Repeat("x", size))
		sent += len(masked(opText, []byte(msg)))
		p.text(msg)
	}
	early := []int{10, 700, 30, 900} // more than the buffer through which the frames are read
	for _, size := range early {
		send(size)
	}
	who.early = sent
	c := upgrade(t, h, far, &receiver{receive: func(c *hub.Conn, msg []byte) { c.Reply(msg) }}, who)
	send(50)
	for _, size := range append(early, 50) {
		if m := p.expect("message"); !strings.HasPrefix(m["data"].(string), fmt.Sprint(size)) {
			t.Fatalf("got %v, want the message of %d bytes", m, size)
		}
	}
	if got := c.Stats(); got.ReceivedBytes != uint64(sent) || got.Received != 5 {
		t.Errorf("%d messages of %d bytes were received, want 5 of %d", got.Received, got.ReceivedBytes, sent)
	}
	p.leave(c)
	ended(t, h)
}

// TestControlFlood: a hundred control frames a second are allowed, of whichever kind.
func TestControlFlood(t *testing.T) {
	for name, op := range map[string]byte{"pings": opPing, "pongs": opPong} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, settings())
				p, c := pipe(t, h, &receiver{})
				for range 2 { // and again in the next second
					for range 100 {
						p.send(op, nil)
						if op == opPing {
							if got, _, err := p.frame(); err != nil || got != opPong {
								t.Fatalf("opcode %d, %v; want a pong", got, err)
							}
						}
					}
					synctest.Wait()
					if n := len(h.Connections()); n != 1 {
						t.Fatal("closed within what is allowed")
					}
					time.Sleep(time.Second)
				}
				for range 100 {
					p.send(op, nil)
					if op == opPing {
						_, _, _ = p.frame()
					}
				}
				p.send(op, nil)
				if got, payload, err := p.frame(); err != nil || got != opClose || binary.BigEndian.Uint16(payload) != 1008 {
					t.Errorf("opcode %d %q, %v; want close 1008", got, payload, err)
				}
				p.leave(c)
				ended(t, h)
			})
		})
	}
}

// TestNothingIsReceivedBehindAClose: what a client still sends once its connection is closing does not reach the receiver.
func TestNothingIsReceivedBehindAClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, settings())
		received := 0
		p, c := pipe(t, h, &receiver{receive: func(*hub.Conn, []byte) { received++ }})
		p.text("{}")
		synctest.Wait()
		c.Close(protocol.CloseByOperator, "")
		if op, _, err := p.frame(); err != nil || op != opClose {
			t.Fatalf("opcode %d, %v", op, err)
		}
		p.text("{}")
		p.leave(c)
		if received != 1 {
			t.Errorf("%d messages were received", received)
		}
		ended(t, h)
	})
}

func TestPongStandsBetweenFrames(t *testing.T) {
	h := newHub(t, unhurried(settings()))
	p, c := narrow(t, h, &receiver{receive: func(c *hub.Conn, msg []byte) { c.Reply(msg) }})
	big := `"` + strings.Repeat("x", 4000) + `"`
	var sending sync.WaitGroup
	sending.Go(func() {
		for range 50 {
			p.text(big)
			p.send(opPing, []byte("payload"))
		}
	})
	texts, pongs := 0, 0
	for texts < 50 {
		op, payload, err := p.frame()
		switch {
		case err != nil:
			t.Fatal(err)
		case op == opText && string(payload) == big:
			texts++
		case op == opPong && string(payload) == "payload":
			pongs++
		default:
			t.Fatalf("opcode %d, %d bytes", op, len(payload))
		}
	}
	if pongs == 0 {
		t.Error("no pong")
	}
	sending.Wait()
	p.Close()
	<-c.Ended()
	ended(t, h)
}

// TestReaderStopsReading: a client that asks and does not read is not read from any more, and costs a bounded amount.
func TestRepliesAreBounded(t *testing.T) {
	s := settings()
	s.WriteTimeout = time.Hour
	h := newHub(t, unhurried(s))
	answer := []byte(`"` + strings.Repeat("x", 2000) + `"`)
	p, c := narrow(t, h, &receiver{receive: func(c *hub.Conn, _ []byte) { c.Reply(answer) }})
	_ = p.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	for i := 0; ; i++ {
		if _, err := p.Write(append([]byte{0x81, 0x80 | 100, 0, 0, 0, 0}, make([]byte, 100)...)); err != nil {
			break // the server takes no more
		}
		if i > 1_000_000 {
			t.Fatal("the server reads on for ever")
		}
	}
	if got := c.Stats().QueuedBytes; got > 1<<20 {
		t.Errorf("%d bytes wait for a client that does not read", got)
	}
	p.Close()
	<-c.Ended()
	ended(t, h)
}

func TestAdmission(t *testing.T) {
	s := settings()
	s.MaxConnections, s.MaxConnectionsPerIP, s.MaxConnectionsPerUser = 4, 3, 2
	h := newHub(t, s)
	defer ended(t, h)
	steps := []struct {
		address, user string
		want          hub.Refusal
	}{
		{"a", "u", hub.Admitted}, {"a", "u", hub.Admitted}, {"a", "u", hub.UserFull}, {"a", "", hub.Admitted},
		{"a", "", hub.AddressFull}, {"b", "", hub.Admitted}, {"c", "", hub.HubFull},
	}
	var slots []*hub.Slot
	for i, step := range steps {
		slot, refusal := h.Reserve(step.address, step.user)
		if refusal != step.want {
			t.Fatalf("step %d: %v, want %v", i, refusal, step.want)
		}
		if slot != nil {
			slots = append(slots, slot)
		}
	}
	for _, slot := range slots {
		slot.Release()
	}
	for range 4 {
		if _, refusal := h.Reserve(string(rune('d')), ""); refusal == hub.HubFull {
			t.Fatal("slots were not given back")
		}
	}
}
