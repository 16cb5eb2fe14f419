package neuroquantumws_test

import (
	"encoding/json"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// A client that answers nothing is closed with 4000. By then one that answers pings, one that only sends messages and one that only
// sends pings of its own have been there for longer, and stay.
func TestHeartbeat(t *testing.T) {
	s := serve(t, "heartbeat 50ms 2s")
	ponging, talking, pinging := s.raw(), s.raw(), s.raw()
	silent := s.raw()
	answers := map[*wstest.Raw]func(*wstest.Raw){
		ponging: func(r *wstest.Raw) { r.Bytes(wstest.Frame(wstest.Fin|wstest.OpPong, "")) },
		talking: func(r *wstest.Raw) { r.Text(`{"type":"pong","timestamp":"2026-01-01T00:00:00Z"}`) },
		pinging: func(r *wstest.Raw) { r.Bytes(wstest.Frame(wstest.Fin|wstest.OpPing, "")) },
	}
	stop := make(chan struct{})
	alive := make(chan error)
	for raw, answer := range answers {
		go func() {
			alive <- func() error {
				for {
					op, _, err := raw.ReadFrame()
					if err != nil || op == wstest.OpClose {
						return err
					}
					if op != wstest.OpPing {
						continue
					}
					select {
					case <-stop:
						return nil
					default:
						answer(raw)
					}
				}
			}()
		}()
	}
	pings := 0
	for {
		op, payload, err := silent.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if op == wstest.OpPing {
			pings++
		}
		if op == wstest.OpClose {
			if payload[0] != 4000>>8 || payload[1] != 4000&0xff {
				t.Errorf("closed with %x", payload)
			}
			break
		}
	}
	if pings < 10 {
		t.Errorf("only %d pings", pings)
	}
	close(stop)
	for range answers {
		if err := <-alive; err != nil {
			t.Error(err)
		}
	}
	for raw := range answers {
		raw.Text(`{"type":"ping"}`)
		for {
			op, payload, err := raw.ReadFrame()
			if err != nil || op == wstest.OpClose {
				t.Fatalf("got %x %q %v", op, payload, err)
			}
			var m M
			if op == wstest.OpText && json.Unmarshal(payload, &m) == nil && m.Type() == "pong" {
				break
			}
		}
	}
}

// Idle is who has neither subscription nor stream and says nothing: answering pings is not enough.
func TestIdleTimeout(t *testing.T) {
	s := serve(t, queries(t, "idle_timeout 2s\nheartbeat 50ms 20s"))
	subscribed, streaming, left := s.dial(), s.dial(), s.dial()
	subscribed.Subscribe("a")
	stream := start(streaming, M{"query": "readings", "credits": 0})
	left.Subscribe("a")
	left.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": "a"})
	idle := s.dial()
	for _, c := range []*wstest.Client{idle, left} {
		if rest, code := c.Closed(); code != 4000 || len(rest) > 0 {
			t.Errorf("closed with %d after %v", code, rest)
		}
	}
	subscribed.Ping()
	streaming.AskFor("query_cancelled", M{"type": "cancel_query", "stream_id": stream["stream_id"]})
}
