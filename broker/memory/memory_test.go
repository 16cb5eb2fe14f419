package memory

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/brokertest"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// still is a broker in which nothing runs on its own, with the same rule for all channels. The clock stands unless the test moves it.
func still(maxHistory int, keep hub.Retention, deliver func(*hub.Message)) (b *Broker, clock *time.Time) {
	clock = new(time.Time)
	*clock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rule := &hub.Rule{History: keep}
	b = New(maxHistory)
	b.now = func() time.Time { return *clock }
	b.deliver = deliver
	b.rules = func(string) *hub.Rule { return rule }
	return b, clock
}

func ignore(*hub.Message) {}

func publish(t testing.TB, b *Broker, channel, data string) uint64 {
	t.Helper()
	receipt, err := b.Publish(context.Background(), hub.Publication{Channel: channel, Data: []byte(data)})
	if err != nil {
		t.Fatal(err)
	}
	return receipt.Position.Offset
}

// since recovers all that the patterns hold behind an offset.
func since(t testing.TB, b *Broker, offset uint64, patterns ...string) (out hub.Recovered) {
	t.Helper()
	q := hub.Recovery{Since: &protocol.Position{Epoch: b.epoch, Offset: offset}}
	for _, text := range patterns {
		p, err := protocol.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		q.Filters = append(q.Filters, p)
	}
	if err := b.Recover(context.Background(), q, func(r hub.Recovered) { out = r }); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestExpiryAfterReload shortens the age of a channel that still holds messages of the longer one.
func TestExpiryAfterReload(t *testing.T) {
	b, clock := still(0, hub.Retention{Messages: 10, Age: time.Hour}, ignore)
	publish(t, b, "a", "1")
	short := &hub.Rule{History: hub.Retention{Messages: 10, Age: time.Second}}
	b.rules = func(string) *hub.Rule { return short }
	publish(t, b, "a", "2")
	*clock = clock.Add(time.Second)
	if got := since(t, b, 0, "a"); len(got.Messages) != 0 || got.Complete[0] {
		t.Errorf("%d messages outlived their age", len(got.Messages))
	}
	if b.store.bytes != 0 || len(b.store.channels) != 0 {
		t.Errorf("%d bytes of %d channels are left", b.store.bytes, len(b.store.channels))
	}
}

// TestChannelsThatComeAndGo has one channel lose and get its only message over and over. None of this is forgotten, and so nothing
// else may be taken for incomplete.
func TestChannelsThatComeAndGo(t *testing.T) {
	b, clock := still(0, hub.Retention{Messages: 1, Age: time.Second}, ignore)
	for i := range 100 {
		publish(t, b, fmt.Sprint("early/", i), "1")
	}
	*clock = clock.Add(time.Second)
	for range 3 * maxGone {
		publish(t, b, "busy", "1")
		*clock = clock.Add(time.Second)
	}
	last := publish(t, b, "busy", "1")
	if got := since(t, b, 100, "early/0", "early/*"); !got.Complete[0] || !got.Complete[1] {
		t.Errorf("complete %v for one who has all", got.Complete)
	}
	for pattern, complete := range map[string]bool{"quiet": true, "q/**": true, "busy": false, "**": false} {
		if got := since(t, b, 1, pattern); got.Complete[0] != complete {
			t.Errorf("%s: complete is %v", pattern, got.Complete[0])
		}
		if got := since(t, b, last, pattern); !got.Complete[0] {
			t.Errorf("%s: incomplete for one who has all", pattern)
		}
	}
	if n := len(b.store.goneOrder); n > 2*maxGone+1 {
		t.Errorf("%d freed channels are remembered", n)
	}
}

// TestForgottenChannels frees more channels than are remembered by name: for what is forgotten nothing may be called complete.
func TestForgottenChannels(t *testing.T) {
	b, clock := still(0, hub.Retention{Messages: 10, Age: time.Second}, ignore)
	const channels = maxGone + 100
	for i := range channels {
		publish(t, b, fmt.Sprint("c/", i), "1")
	}
	*clock = clock.Add(time.Second)
	if got := since(t, b, channels, "**"); len(b.store.channels) != 0 || !got.Complete[0] {
		t.Errorf("%d channels are left, complete %v", len(b.store.channels), got.Complete)
	}
	if len(b.store.gone) != maxGone || b.store.forgotten != 100 {
		t.Errorf("%d are remembered, all through %d forgotten", len(b.store.gone), b.store.forgotten)
	}
	for _, pattern := range []string{"c/0", "c/99", "c/100", "c/*", "**"} {
		if got := since(t, b, 0, pattern); got.Complete[0] {
			t.Errorf("%s is complete, but its message is gone", pattern)
		}
	}
	if got := since(t, b, 100, "c/0"); !got.Complete[0] {
		t.Error("what was forgotten had all been seen")
	}
	// One that was forgotten comes back: what it had is still missing.
	publish(t, b, "c/0", "2")
	if got := since(t, b, 0, "c/0"); got.Complete[0] || len(got.Messages) != 1 {
		t.Errorf("complete %v, %d messages", got.Complete, len(got.Messages))
	}
	if got := since(t, b, 100, "c/0"); !got.Complete[0] || len(got.Messages) != 1 {
		t.Errorf("complete %v, %d messages", got.Complete, len(got.Messages))
	}
}

// TestDroppedMessagesAreFree: what the bound no longer counts must not stay in memory for other reasons.
func TestDroppedMessagesAreFree(t *testing.T) {
	var all []weak.Pointer[hub.Message]
	b, _ := still(0, hub.Retention{Messages: 1, Age: time.Hour}, func(m *hub.Message) { all = append(all, weak.Make(m)) })
	publish(t, b, "quiet", "1")
	for i := range 100 {
		publish(t, b, "busy", fmt.Sprint(i))
	}
	runtime.GC()
	left := 0
	for _, m := range all {
		if m.Value() != nil {
			left++
		}
	}
	if left != 2 {
		t.Errorf("%d of %d messages are left, want 2", left, len(all))
	}
	runtime.KeepAlive(b)
}

// TestBusyChannelsStaySmall is of the list by age, in which what channels drop stays for a while.
func TestBusyChannelsStaySmall(t *testing.T) {
	for _, age := range []time.Duration{0, time.Hour} {
		b, _ := still(0, hub.Retention{Messages: 2, Age: age}, ignore)
		publish(t, b, "quiet", "1")
		for range 10_000 {
			publish(t, b, "busy", "1")
		}
		if n := len(b.store.ages[age].entries); n > 3000 {
			t.Errorf("age %v: %d entries for 3 messages", age, n)
		}
	}
}

func TestMaxHistory(t *testing.T) {
	const limit = 10_000
	b, _ := still(limit, hub.Retention{Messages: 1000}, ignore)
	for i := range 1000 {
		publish(t, b, fmt.Sprint("c/", i%7), fmt.Sprint(i))
		if b.store.bytes > limit {
			t.Fatalf("%d bytes", b.store.bytes)
		}
	}
	if b.store.bytes < limit/2 {
		t.Errorf("only %d bytes are kept", b.store.bytes)
	}
	got := since(t, b, 0, "**")
	if n := len(got.Messages); got.Messages[n-1].Offset != 1000 || got.Messages[0].Offset != uint64(1001-n) {
		t.Errorf("kept are %v, not the newest", offsets(got.Messages))
	}
	b.SetMaxHistory(1)
	if b.store.bytes != 0 || len(b.store.channels) != 0 {
		t.Errorf("%d bytes are left", b.store.bytes)
	}
	if publish(t, b, "a", "1") != 1001 || b.store.bytes != 0 {
		t.Error("a message that history has no room for is kept")
	}
	if got := since(t, b, 1000, "a"); got.Complete[0] {
		t.Error("a message that history has no room for is not missed")
	}
}

func TestKeys(t *testing.T) {
	var now time.Time
	k := newKeys()
	k.put("k", 7, now)
	if offset, seen := k.get("k"); !seen || offset != 7 {
		t.Errorf("got %d, %v", offset, seen)
	}
	if _, seen := k.get("l"); seen {
		t.Error("another key is the same")
	}
	k.expire(now.Add(hub.KeyWindow - 1))
	if _, seen := k.get("k"); !seen {
		t.Error("forgotten too early")
	}
	k.expire(now.Add(hub.KeyWindow))
	if _, seen := k.get("k"); seen || len(k.seen) != 0 || len(k.order) != 0 {
		t.Error("remembered too long")
	}
	for i := range maxKeys + 1 {
		k.put(fmt.Sprint(i), 1, now)
	}
	_, first := k.get("0")
	_, second := k.get("1")
	if first || !second || len(k.seen) != maxKeys {
		t.Errorf("%d keys, of which the first is remembered: %v, the second: %v", len(k.seen), first, second)
	}
}

func TestSweepFreesWithoutBeingAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(0)
		rule := &hub.Rule{History: hub.Retention{Messages: 10, Age: time.Minute}}
		if err := b.Start(ignore, func(string) *hub.Rule { return rule }); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Publish(t.Context(), hub.Publication{Channel: "a", Data: []byte("1"), Key: "k"}); err != nil {
			t.Fatal(err)
		}
		<-time.After(hub.KeyWindow + 2*sweepInterval)
		synctest.Wait()
		b.mu.Lock()
		if b.store.bytes != 0 || len(b.store.ages) != 0 || len(b.keys.seen) != 0 {
			t.Errorf("%d bytes in %d queues and %d keys are left", b.store.bytes, len(b.store.ages), len(b.keys.seen))
		}
		b.mu.Unlock()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestClosed(t *testing.T) {
	b := New(0)
	if err := b.Start(ignore, func(string) *hub.Rule { return nil }); err != nil {
		t.Fatal(err)
	}
	_, err := b.Publish(context.Background(), hub.Publication{Channel: "a"})
	if e, ok := protocol.AsError(err); !ok || e.Code != protocol.Forbidden {
		t.Errorf("publishing where no rule holds: %v", err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.Publish(context.Background(), hub.Publication{Channel: "a"}); !errors.Is(err, hub.ErrClosed) {
		t.Errorf("publishing: %v", err)
	}
	err = b.Recover(context.Background(), hub.Recovery{}, func(hub.Recovered) { t.Error("recovered") })
	if !errors.Is(err, hub.ErrClosed) {
		t.Errorf("recovering: %v", err)
	}
	if err := New(0).Close(); err != nil {
		t.Errorf("closing what was not started: %v", err)
	}
}

func TestEpochIsOfOneLife(t *testing.T) {
	one, _ := still(0, hub.Retention{Messages: 1}, ignore)
	other, _ := still(0, hub.Retention{Messages: 1}, ignore)
	if one.Position().Epoch == other.Position().Epoch || one.Position().Epoch == "" {
		t.Errorf("epochs %q and %q", one.Position().Epoch, other.Position().Epoch)
	}
}

// TestConcurrent has publishers and recoverers at once. deliver and Recover's callback share what they write without a lock: that
// they never run at the same time is the broker's promise, and the race detector holds it to that.
func TestConcurrent(t *testing.T) {
	const publishers, each, recoverers = 4, 500, 2
	b := New(0)
	var delivered []*hub.Message
	rule := &hub.Rule{History: hub.Retention{Messages: 2 * publishers * each}}
	err := b.Start(func(m *hub.Message) { delivered = append(delivered, m) }, func(string) *hub.Rule { return rule })
	if err != nil {
		t.Fatal(err)
	}
	all, err := protocol.ParsePattern("**")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for p := range publishers {
		group.Go(func() {
			last := uint64(0)
			for i := range each {
				receipt, err := b.Publish(context.Background(), hub.Publication{
					Channel: []string{"shared", fmt.Sprint("own/", p)}[i%2], Data: fmt.Appendf(nil, "[%d,%d]", p, i),
				})
				if err != nil || receipt.Position.Offset <= last {
					t.Errorf("%+v came behind %d, %v", receipt, last, err)
				}
				last = receipt.Position.Offset
			}
		})
	}
	for range recoverers {
		group.Go(func() {
			for offset := uint64(0); offset < publishers*each && !t.Failed(); {
				q := hub.Recovery{Filters: []protocol.Pattern{all}, Since: &protocol.Position{Epoch: b.epoch, Offset: offset}}
				err := b.Recover(context.Background(), q, func(r hub.Recovered) {
					if !slices.Equal(r.Messages, delivered[offset:]) || r.Position.Offset != uint64(len(delivered)) || !r.Complete[0] {
						t.Errorf("since %d: %d messages up to %v, but %d were delivered", offset, len(r.Messages), r.Position, len(delivered))
					}
					offset = r.Position.Offset
				})
				if err != nil {
					t.Error(err)
				}
				runtime.Gosched()
			}
		})
	}
	group.Wait()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	checkOrder(t, delivered, publishers, each)
}

// checkOrder looks for every message of every publisher, each in its order.
func checkOrder(t *testing.T, delivered []*hub.Message, publishers, each int) {
	t.Helper()
	next := make([]int, publishers)
	prev := make(map[string]uint64)
	for i, m := range delivered {
		var publisher, number int
		if _, err := fmt.Sscanf(string(m.Data()), "[%d,%d]", &publisher, &number); err != nil {
			t.Fatal(err)
		}
		if number != next[publisher] {
			t.Fatalf("message %d of publisher %d came when %d was next", number, publisher, next[publisher])
		}
		next[publisher]++
		if m.Offset != uint64(i+1) || m.Sequence != m.Offset || m.Prev != prev[m.Channel] {
			t.Fatalf("offset %d, sequence %d behind %d at place %d", m.Offset, m.Sequence, m.Prev, i+1)
		}
		prev[m.Channel] = m.Offset
	}
	for publisher, n := range next {
		if n != each {
			t.Errorf("%d messages of publisher %d", n, publisher)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	broker, _ := still(1<<20, hub.Retention{Messages: 100, Age: time.Hour}, ignore)
	data := []byte(`{"value":21.5}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := broker.Publish(context.Background(), hub.Publication{Channel: "sensors/kitchen", Data: data}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRecoverWhilePublishing: whatever is published, trimmed and shed while a recovery reads, it returns all that was due up to its place in
// the order, or says what is missing.
func TestRecoverWhilePublishing(t *testing.T) {
	for name, size := range map[string]int{"roomy": 0, "shedding": 6000} {
		t.Run(name, func(t *testing.T) {
			b := New(size)
			rule := &hub.Rule{History: hub.Retention{Messages: 3}}
			channels := []string{"a/1", "a/2", "a/3", "b"}
			published := map[string][]uint64{} // guarded by the broker's lock
			if err := b.Start(func(m *hub.Message) { published[m.Channel] = append(published[m.Channel], m.Offset) },
				func(string) *hub.Rule { return rule }); err != nil {
				t.Fatal(err)
			}
			stop := make(chan struct{})
			var group sync.WaitGroup
			for range 2 {
				group.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						channel := channels[i%len(channels)]
						if i%50 == 0 {
							channel = fmt.Sprint("a/new", i)
						}
						if _, err := b.Publish(t.Context(), hub.Publication{Channel: channel, Data: []byte("1")}); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			filters := brokertest.Patterns(t, "a/**", "b", "a/1", "**/new50")
			for i := range 500 {
				since := b.Position()
				since.Offset -= min(since.Offset, uint64(i%20))
				limit := []int{0, 0, 5}[i%3]
				err := b.Recover(t.Context(), hub.Recovery{Filters: filters, Since: &since, Limit: limit}, func(r hub.Recovered) {
					got := map[string]map[uint64]bool{}
					for _, m := range r.Messages {
						if got[m.Channel] == nil {
							got[m.Channel] = map[uint64]bool{}
						}
						got[m.Channel][m.Offset] = true
					}
					trimmed := map[string]uint64{}
					for _, trim := range r.Trimmed {
						trimmed[trim.Channel] = trim.Through
					}
					for channel, offsets := range published {
						if !slices.ContainsFunc(filters, func(p protocol.Pattern) bool { return p.Match(channel) }) {
							continue
						}
						for _, offset := range after64(offsets, since.Offset) {
							if offset <= r.Through && !got[channel][offset] && offset > max(trimmed[channel], trimmed[""]) {
								t.Errorf("%s %d is missing, since %d through %d: %v, trimmed %v", channel, offset, since.Offset, r.Through, got[channel], r.Trimmed)
							}
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if t.Failed() {
					break
				}
			}
			close(stop)
			group.Wait()
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// after64 is the part of ascending offsets that are larger than since.
func after64(offsets []uint64, since uint64) []uint64 {
	i, found := slices.BinarySearch(offsets, since)
	if found {
		i++
	}
	return offsets[i:]
}
