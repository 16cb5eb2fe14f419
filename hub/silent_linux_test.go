package hub_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func parked(t *testing.T, c *hub.Conn) {
	t.Helper()
	wait.Until(t, "the connection is parked", c.Parked)
}

func echo(c *hub.Conn, msg []byte) { c.Reply(msg) }

// TestSilentConnectionsHaveNoGoroutine: they come back for every message, whatever its pieces.
func TestSilentConnectionsHaveNoGoroutine(t *testing.T) {
	h := newHub(t, unhurried(settings()))
	before := runtime.NumGoroutine()
	var peers []*peer
	var conns []*hub.Conn
	for range 50 {
		p, c := tcp(t, h, &receiver{receive: echo})
		peers, conns = append(peers, p), append(conns, c)
	}
	for _, c := range conns {
		parked(t, c)
	}
	if n := h.Stats().Parked; n != 50 {
		t.Errorf("%d connections are counted as parked", n)
	}
	wait.Until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+1 }) // the poller's
	for round := range 3 {
		for i, p := range peers {
			p.text(`{"n":1}`)
			if m := p.next(); str(m["n"]) != "1" {
				t.Fatalf("round %d: %v", round, m)
			}
			if i%2 == 0 {
				parked(t, conns[i])
			}
		}
	}
	// A frame that comes in pieces: with each the connection is woken, and it may not park between them.
	p := peers[0]
	frame := append([]byte{0x81, 0x80 | 7, 0, 0, 0, 0}, `{"n":2}`...)
	for i := range frame {
		if _, err := p.Write(frame[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if i < len(frame)-1 {
			wait.Until(t, "the byte is read", func() bool { return conns[0].Stats().ReceivedBytes%13 == uint64(i+1) })
			if conns[0].Parked() {
				t.Fatalf("parked behind byte %d of a frame", i)
			}
		}
	}
	if m := p.next(); str(m["n"]) != "2" {
		t.Fatal(m)
	}
	for _, p := range peers {
		p.Close()
	}
	ended(t, h)
}

// TestEndsWhileParked: each way for a connection to end works with nobody reading from it.
func TestEndsWhileParked(t *testing.T) {
	tests := map[string]func(t *testing.T, h *hub.Hub, p *peer, c *hub.Conn){
		"the client closes": func(t *testing.T, _ *hub.Hub, p *peer, _ *hub.Conn) {
			p.send(opClose, binary.BigEndian.AppendUint16(nil, 1000))
			if code := p.closedWith(); code != 1000 {
				t.Errorf("closed with %d", code)
			}
		},
		"the client is gone": func(_ *testing.T, _ *hub.Hub, p *peer, _ *hub.Conn) { p.Close() },
		"the server closes": func(t *testing.T, _ *hub.Hub, p *peer, c *hub.Conn) {
			c.Close(protocol.CloseByOperator, "the test says so")
			if code := p.closedWith(); code != int(protocol.CloseByOperator) {
				t.Errorf("closed with %d", code)
			}
		},
		"the hub closes": func(t *testing.T, h *hub.Hub, p *peer, _ *hub.Conn) {
			done := make(chan struct{})
			go func() { defer close(done); ended(t, h) }()
			if code := p.closedWith(); code != 1001 {
				t.Errorf("closed with %d", code)
			}
			<-done
		},
		"the socket is cut": func(_ *testing.T, _ *hub.Hub, _ *peer, c *hub.Conn) { c.Cut() },
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, unhurried(settings()))
			r := &receiver{}
			p, c := tcp(t, h, r)
			parked(t, c)
			end(t, h, p, c)
			<-c.Ended()
			<-r.closed
			p.Close()
			ended(t, h)
			if n := h.Stats().Parked; n != 0 {
				t.Errorf("%d connections are counted as parked", n)
			}
		})
	}
}

// TestBusyConnectionsKeepTheirGoroutine until they were silent for a while.
func TestBusyConnectionsKeepTheirGoroutine(t *testing.T) {
	s := settings()
	s.HeartbeatInterval = 40 * time.Millisecond // looks at the connections come at a quarter of it
	h := newHub(t, unhurried(s))
	h.ParkWhenSilent()
	p, c := tcp(t, h, &receiver{receive: echo})
	p.text(`{"n":1}`)
	p.next()
	parked(t, c) // without a word from the client, and though pings are answered
	for range 3 {
		if op, payload, err := p.frame(); err != nil || op != opPing {
			t.Fatalf("got opcode %d, %v", op, err)
		} else {
			p.send(opPong, payload)
		}
	}
	parked(t, c)
	p.text(`{"n":2}`)
	if m := p.next(); str(m["n"]) != "2" {
		t.Fatal(m)
	}
	p.Close()
	<-c.Ended()
	ended(t, h)
}
