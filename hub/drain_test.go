package hub_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

func closes(t *testing.T, p *peer) {
	t.Helper()
	if code := p.closedWith(); code != 1001 {
		t.Errorf("closed with %d", code)
	}
}

// TestDrainSpreads: clients are asked to come back one after the other over the window, or less where they are few.
func TestDrainSpreads(t *testing.T) {
	for _, test := range []struct {
		clients     int
		window      time.Duration
		first, last time.Duration // when they come back
	}{
		{1, 10 * time.Second, 500 * time.Millisecond, 520 * time.Millisecond},
		{50, 10 * time.Second, 500 * time.Millisecond, 1520 * time.Millisecond},
		{50, 100 * time.Millisecond, 500 * time.Millisecond, 620 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := settings()
			s.Drain = test.window
			h := newHub(t, s)
			peers := make([]*peer, test.clients)
			for i := range peers {
				peers[i], _ = pipeAs(t, h, &receiver{}, client{address: "a", subprotocol: "neuroquantum.v1"})
				peers[i].expect("welcome")
			}
			began := time.Now()
			done := make(chan struct{})
			go func() { defer close(done); h.Drain(t.Context()) }()
			times := make(map[time.Duration]int)
			for _, p := range peers {
				m := p.expect("reconnect")
				after := time.Duration(m["after_ms"].(float64)) * time.Millisecond
				if after < test.first || after > test.last {
					t.Errorf("%d clients, %v: one comes back after %v", test.clients, test.window, after)
				}
				times[after.Truncate(100*time.Millisecond)]++
				closes(t, p)
				p.Close()
			}
			<-done
			if took := time.Since(began); took > 200*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			if test.clients == 50 && test.window > time.Second && len(times) < 9 {
				t.Errorf("they come back at %v", times)
			}
			ended(t, h)
		})
	}
}

// TestDrainLetsClientsLeave: what a client has under way ends before its connection is closed, as far as there is time; new clients
// are refused from the beginning.
func TestDrainLetsClientsLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, settings())
		proceed := make(chan struct{})
		leaving, _ := pipe(t, h, &receiver{busy: true, leave: func(_ context.Context, c *hub.Conn) {
			<-proceed
			c.Reply([]byte(`{"type":"query_cancelled"}`))
		}})
		stubborn, _ := pipe(t, h, &receiver{busy: true, leave: func(ctx context.Context, _ *hub.Conn) { <-ctx.Done() }})
		idle, _ := pipe(t, h, &receiver{leave: func(context.Context, *hub.Conn) { t.Error("one that has nothing under way") }})
		done := make(chan struct{})
		go func() { defer close(done); h.Drain(t.Context()) }()
		synctest.Wait()
		if _, refusal := h.Reserve("b", ""); refusal != hub.Draining || !h.Draining() {
			t.Errorf("a new client: %v", refusal)
		}
		close(proceed)
		leaving.expect("query_cancelled")
		began := time.Now()
		for _, p := range []*peer{leaving, stubborn, idle} {
			closes(t, p)
			p.Close()
		}
		if took := time.Since(began); took > 600*time.Millisecond {
			t.Errorf("the stubborn one was waited for %v", took)
		}
		<-done
		h.Drain(t.Context()) // again: nothing is left to do
		ended(t, h)
	})
}

// TestDrainIsBounded: a client that answers no close frame is cut, at the latest when ctx ends.
func TestDrainIsBounded(t *testing.T) {
	for _, patience := range []time.Duration{time.Hour, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			h := newHub(t, settings())
			p, c := pipe(t, h, &receiver{})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began := time.Now()
			h.Drain(ctx)
			<-c.Ended()
			if took, want := time.Since(began), min(patience, 2*time.Second); took < want || took > want+100*time.Millisecond {
				t.Errorf("it took %v, want %v", took, want)
			}
			p.Close()
			ended(t, h)
		})
	}
}
