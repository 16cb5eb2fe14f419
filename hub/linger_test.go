package hub_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// flood sends frames as fast as they are taken, until the connection is cut.
func (p *peer) flood(frames []byte) error {
	for {
		if _, err := p.Write(frames); err != nil {
			return err
		}
	}
}

// TestFloodAfterTheCloseFrame: a client that is closed for abuse and goes on sending is hardly read any more, and then cut.
func TestFloodAfterTheCloseFrame(t *testing.T) {
	pings := bytes.Repeat(masked(opPing, nil), 10_000)
	texts := bytes.Repeat(masked(opText, []byte(`{"type":"x"}`)), 4000)
	refuse := func(c *hub.Conn, _ []byte) { c.Close(protocol.CloseTooMany, "too many bad requests") }
	for _, test := range []struct {
		name    string
		frames  []byte
		receive func(c *hub.Conn, msg []byte)
		code    int
	}{
		{"pings", pings, nil, 1008},
		{"refused requests", texts, refuse, 4029},
		{"frames against RFC 6455", bytes.Repeat([]byte{0x81, 0x00}, 10_000), nil, 1002},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHub(t, settings())
			p, c := tcp(t, h, &receiver{receive: test.receive})
			began, done := time.Now(), make(chan error, 1)
			go func() { done <- p.flood(test.frames) }()
			wait.For(t, "the connection to be cut", c.Ended())
			took := time.Since(began)
			wait.For(t, "the client to notice", done)
			s := c.Stats()
			if int(s.CloseCode) != test.code {
				t.Errorf("closed with %d, want %d", s.CloseCode, test.code)
			}
			if most := 64<<10 + uint64(hub.AbuseRate*took.Seconds()); s.ReceivedBytes > most {
				t.Errorf("%d bytes were read in %v, want at most %d", s.ReceivedBytes, took, most)
			}
			ended(t, h)
		})
	}
}

func TestWaitAfterClose(t *testing.T) {
	for code, want := range map[protocol.CloseCode]time.Duration{
		protocol.CloseProtocolError: 250 * time.Millisecond, protocol.CloseUnsupportedData: 5 * time.Second,
		protocol.CloseInvalidPayload: 5 * time.Second, protocol.ClosePolicy: 250 * time.Millisecond,
		protocol.CloseTooMany: 250 * time.Millisecond, protocol.CloseTooSlow: 15 * time.Second, protocol.CloseTooBig: 5 * time.Second,
		protocol.CloseGoingAway: 5 * time.Second, protocol.CloseUnauthenticated: 5 * time.Second, protocol.CloseByOperator: 5 * time.Second,
	} {
		if got := hub.WaitAfterClose(code); got != want {
			t.Errorf("%d: %v, want %v", code, got, want)
		}
	}
}

// TestCloseWhileTheClientSends: a client that has to finish a long message before it reads still gets the close frame.
func TestCloseWhileTheClientSends(t *testing.T) {
	h := newHub(t, settings())
	p, c := tcp(t, h, &receiver{})
	p.send(opText, make([]byte, 2<<20))
	if code := p.closedWith(); code != 1009 {
		t.Errorf("closed with %d, want 1009", code)
	}
	p.leave(c)
	ended(t, h)
}
