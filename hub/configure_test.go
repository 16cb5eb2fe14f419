package hub_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// TestMessageSizeOfOpenConnections: they come under a new limit at the next look.
func TestMessageSizeOfOpenConnections(t *testing.T) {
	tests := []struct {
		name    string
		limit   int64
		message int
		refused bool
	}{
		{"larger", 10_000, 10_000, false},
		{"larger, exceeded", 10_000, 10_001, true},
		{"smaller", 100, 100, false},
		{"smaller, exceeded", 100, 101, true},
		{"unchanged, exceeded", 4096, 4097, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, settings())
				p, c := pipe(t, h, &receiver{receive: func(c *hub.Conn, _ []byte) { c.Reply([]byte(`{"type":"pong"}`)) }})
				changed := settings()
				changed.MaxMessageSize = test.limit
				h.Configure(changed)
				time.Sleep(3 * time.Second)
				go func() {
					_, _ = p.Write(masked(opText, []byte(strings.Repeat("x", test.message)))) // fails where it is not read to its end
				}()
				if !test.refused {
					p.expect("pong")
				} else if op, payload, err := p.frame(); err != nil || op != opClose || binary.BigEndian.Uint16(payload) != 1009 {
					t.Errorf("got opcode %d %q, %v; want close 1009", op, payload, err)
				}
				p.leave(c)
				ended(t, h)
			})
		})
	}
}

// TestMessagesBeforeALowerLimit: what was allowed when it was sent is not held against a client later.
func TestMessagesBeforeALowerLimit(t *testing.T) {
	h := newHub(t, unhurried(settings()))
	p, c := tcp(t, h, &receiver{receive: func(c *hub.Conn, _ []byte) { c.Reply([]byte(`{"type":"pong"}`)) }})
	p.text(strings.Repeat("x", 3000))
	p.expect("pong")
	lower := settings()
	lower.MaxMessageSize = 1000
	h.Configure(lower)
	p.text("x")
	p.expect("pong")
	p.Close()
	<-c.Ended()
	ended(t, h)
}
