package hub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/memory"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// TestWarningsAreBounded: many clients that are too slow at once do not fill the log, and none goes unsaid.
func TestWarningsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		h := newHubOver(t, memory.New(0), settings(), zap.New(core))
		end := func(code protocol.CloseCode) {
			p, c := pipe(t, h, &receiver{})
			c.Close(code, "a test")
			p.closedWith()
			p.leave(c)
		}
		for range 40 {
			end(protocol.CloseTooSlow)
		}
		count := func(level zapcore.Level) int {
			return logs.FilterMessage("connection ended").FilterLevelExact(level).Len()
		}
		if warned, quiet := count(zapcore.WarnLevel), count(zapcore.DebugLevel); warned != 30 || quiet != 10 {
			t.Errorf("%d lines at WARN, %d at DEBUG", warned, quiet)
		}
		time.Sleep(time.Second)
		end(1000)
		end(protocol.CloseTooSlow)
		lines := logs.FilterMessage("connection ended").FilterLevelExact(zapcore.WarnLevel).All()
		if last := lines[len(lines)-1].ContextMap(); len(lines) != 31 || last["suppressed"] != uint64(10) || last["hub"] != "test" ||
			last["code"] != uint16(4008) || last["reason"] != "a test" {
			t.Errorf("%d lines, the last is %v", len(lines), last)
		}
		if n := count(zapcore.DebugLevel); n != 11 {
			t.Errorf("%d lines at DEBUG", n)
		}
		ended(t, h)
	})
}

// TestTheLineOfAConnection: what went over it, and what it had not taken when it was closed.
func TestTheLineOfAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		h := newHubOver(t, memory.New(0), patient(settings(rule(t, "c", 0, flow.Class{MaxMessages: 3, MaxBytes: 1 << 20}))), zap.New(core))
		p, c := pipe(t, h, &receiver{})
		subscribe(t, h, c, nil, 0, "c")
		p.expect("subscription_confirmed")
		for range 6 {
			publish(t, h, "c", `"x"`)
			synctest.Wait()
		}
		c.Close(protocol.CloseTooSlow, "a test")
		p.closedWith()
		p.leave(c)
		fields := logs.FilterMessage("connection ended").All()[0].ContextMap()
		// One is with the writer, three wait, with a gap where two were dropped; those that wait are lost as well.
		if fields["offered"] != uint64(6) || fields["dropped"] != uint64(5) || fields["queued"] != int64(4) || fields["sent_bytes"] == uint64(0) ||
			fields["queued_bytes"] == int64(0) {
			t.Errorf("got %v", fields)
		}
		stats := h.Stats()
		losses := make(map[string]uint64)
		for _, loss := range stats.Losses {
			losses[loss.Policy+" "+loss.Reason] = loss.Count
		}
		if losses["drop_oldest drop_oldest"] != 2 || losses["any closed"] != 3 || stats.Closes["4008"] != 1 || stats.Closes["1000"] != 0 {
			t.Errorf("got %+v", stats)
		}
		ended(t, h)
	})
}
