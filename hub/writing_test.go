package hub_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// TestCloseFrameComesLast: behind all that waits, however many writes that takes, and with nothing behind it.
func TestCloseFrameComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := settings()
		s.HeartbeatInterval = time.Second
		h := newHub(t, s)
		p, c := pipe(t, h, &receiver{})
		for n := range 40 {
			c.Reply([]byte(fmt.Sprintf(`{"type":"pong","n":%d,"pad":%q}`, n, strings.Repeat("x", 10_000))))
		}
		c.Close(protocol.CloseByOperator, "enough")
		c.Reply([]byte(`{"type":"pong"}`))
		for n := range 40 {
			if m := p.expect("pong"); m["n"] != float64(n) {
				t.Fatalf("got message %v, want %d", m["n"], n)
			}
		}
		op, payload, err := p.frame()
		if err != nil || op != opClose || binary.BigEndian.Uint16(payload) != 4100 {
			t.Fatalf("opcode %d %q, %v", op, payload, err)
		}
		// It is not answered, and pings would be due.
		go func() { _, _ = p.Write(masked(opPing, nil)) }()
		if op, payload, err := p.frame(); err == nil {
			t.Errorf("opcode %d %q behind the close frame", op, payload)
		}
		p.leave(c)
		ended(t, h)
	})
}

// TestSlowReaderIsNotStalled: the write timeout is for a socket that takes nothing, not for one that takes little.
func TestSlowReaderIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, settings()) // the write timeout is 10 seconds
		p, c := pipe(t, h, &receiver{})
		c.Reply([]byte(strings.Repeat("x", 200_000)))
		for range 10 {
			time.Sleep(8 * time.Second)
			if _, err := io.ReadFull(p.r, make([]byte, 16<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.Stats().TooSlow; got != 0 {
			t.Errorf("%d clients were too slow", got)
		}
		p.leave(c)
		ended(t, h)
	})
}

// TestPongs: every ping is answered, but of those that come while nothing can be written only one.
func TestPongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, settings())
		p, c := pipe(t, h, &receiver{})
		for n := range 3 {
			p.send(opPing, []byte{byte(n)})
			if op, payload, err := p.frame(); err != nil || op != opPong || payload[0] != byte(n) {
				t.Fatalf("opcode %d %q, %v; want pong %d", op, payload, err, n)
			}
		}
		c.Reply([]byte(`{"type":"pong"}`))
		synctest.Wait() // now the writer is busy
		for n := range 10 {
			p.send(opPing, []byte{byte(n)})
		}
		synctest.Wait()
		p.expect("pong")
		pongs := 0
		for err := error(nil); err == nil; {
			_ = p.SetReadDeadline(time.Now().Add(time.Second))
			var op byte
			if op, _, err = p.frame(); err == nil && op == opPong {
				pongs++
			}
		}
		if pongs != 1 {
			t.Errorf("%d pongs", pongs)
		}
		p.leave(c)
		ended(t, h)
	})
}

// TestPartOfAWriteIsKept: what a socket took only in part is not touched by what the shard writes to others meanwhile.
func TestPartOfAWriteIsKept(t *testing.T) {
	s := patient(settings(rule(t, "**", 0, flow.Class{MaxMessages: 1 << 20, MaxBytes: 1 << 30})))
	h := newHub(t, unhurried(s))
	shards := runtime.GOMAXPROCS(0) // which take connections in turn
	peers := make([]*peer, shards+1)
	conns := make([]*hub.Conn, len(peers))
	for i := range peers {
		peers[i], conns[i] = narrow(t, h, &receiver{})
		subscribe(t, h, conns[i], nil, 0, fmt.Sprintf("c/%d", i))
		peers[i].expect("subscription_confirmed")
	}
	stopped, other := peers[0], peers[shards]
	stoppedText, otherText := strings.Repeat("a", 3000), strings.Repeat("b", 5000)
	// The shard's buffer is large enough for both from the start.
	publish(t, h, fmt.Sprintf("c/%d", shards), fmt.Sprintf("%q", otherText+otherText))
	other.expect("channel_message")
	sent := 0
	for ; conns[0].Stats().Queued < 3; sent++ {
		publish(t, h, "c/0", fmt.Sprintf("%q", stoppedText))
	}
	for range 3 {
		publish(t, h, fmt.Sprintf("c/%d", shards), fmt.Sprintf("%q", otherText))
		if m := other.expect("channel_message"); m["data"] != otherText {
			t.Fatalf("got %.100v", m)
		}
	}
	for n := range sent {
		if m := stopped.expect("channel_message"); m["data"] != stoppedText {
			t.Fatalf("message %d: %.100v", n, m)
		}
	}
	for i, p := range peers {
		p.leave(conns[i])
	}
	ended(t, h)
}

// TestSenderGivesUpItsPlace: a stream that no longer waits for room does not keep the room from those behind it.
func TestSenderGivesUpItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, patient(settings()))
		p, c := pipe(t, h, &receiver{})
		msg := []byte(`{"type":"query_batch","rows":"` + strings.Repeat("x", 200_000) + `"}`)
		first, cancel := context.WithCancel(t.Context())
		results := make([]chan error, 2)
		for range 2 { // one is in the writer's hands, one waits
			if err := c.Send(t.Context(), new(flow.Share), msg); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for i, ctx := range []context.Context{first, t.Context()} {
			results[i] = make(chan error, 1)
			go func() { results[i] <- c.Send(ctx, new(flow.Share), msg) }()
			synctest.Wait()
		}
		cancel()
		if err := <-results[0]; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		for range 3 {
			p.expect("query_batch")
		}
		if err := <-results[1]; err != nil {
			t.Error(err)
		}
		// Who waits when the connection closes is sent away, and nothing of it is counted.
		for range 2 {
			if err := c.Send(t.Context(), new(flow.Share), msg); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		go func() { results[0] <- c.Send(t.Context(), new(flow.Share), msg) }()
		synctest.Wait()
		c.Close(protocol.CloseTooSlow, "")
		if err := <-results[0]; !errors.Is(err, hub.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if got := h.Stats().QueuedBytes; got != 0 {
			t.Errorf("%d bytes are counted as waiting", got)
		}
		p.leave(c)
		ended(t, h)
	})
}

// TestCloseDoesNotWaitForEver: what does not end by itself is cut once the hub's Close may wait no longer.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, settings())
		p, c := pipe(t, h, &receiver{})
		c.Reply([]byte(`"nobody reads this"`))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("closed after %v", got)
		}
		p.leave(c)
	})
}
