package neuroquantumws_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Publishers publish as fast as they may, subscribers are cut and resume, again and again, some of them too slow for what they asked
// for. What every one of them saw is written down and held against what was published: nothing may be missing that no gap told of,
// nothing may come twice, and the order must be that of the offsets.

const tortured = `
	rate_limit 10000000
	health off
	write_timeout 10m
	max_subscriptions 100
	channel drop/** {
		history 100
		queue 20 64KiB drop_oldest
		allow subscribe anyone
		allow publish anyone
	}
	channel newest/** {
		history 5000
		queue 20 64KiB drop_newest
		allow subscribe anyone
		allow publish anyone
	}
	channel conflate/** {
		history 5000
		queue 10 64KiB conflate
		allow subscribe anyone
		allow publish anyone
	}
	channel block/** {
		history 100000
		queue 20 64KiB block
		allow subscribe anyone
		allow publish anyone
	}
	channel ** {
		history 1
		allow subscribe anyone
	}`

var torturedChannels = []string{"drop/a", "drop/b", "newest/a", "conflate/a", "conflate/b", "block/a", "block/b"}

// torturedSets are what subscribers subscribe to.
var torturedSets = [][]string{
	{"block/*"}, {"**"}, {"drop/a", "drop/*", "block/a"}, {"*/a"}, {"conflate/**", "newest/a"}, {"*/b", "**", "drop/a"}, torturedChannels,
}

// notes are what a subscriber saw, over all its connections.
type notes struct {
	patterns []protocol.Pattern
	seen     []M
}

// since is where the notes say to go on: behind the last message, or where the first subscription began.
func (n *notes) since() any {
	for _, m := range slices.Backward(n.seen) {
		if m.Type() == "channel_message" {
			return M{"epoch": n.epoch(), "offset": m["offset"]}
		}
	}
	for _, m := range n.seen {
		if m.Type() == "subscription_confirmed" {
			return M{"epoch": n.epoch(), "offset": m["offset"]}
		}
	}
	return nil
}

func (n *notes) epoch() string {
	for _, m := range n.seen {
		if m.Type() == "subscription_confirmed" {
			return m.Text("epoch")
		}
	}
	return ""
}

// torment is one connection of a subscriber: it reads some messages, now and then waiting until others got ahead, and is gone.
func (n *notes) torment(s *site, set []string, rng *rand.Rand, progress func() int64, over func() bool) {
	c := wstest.Dial(s.t, s.url(), wstest.Options{ReadBuffer: 4 << 10})
	defer c.Cut()
	request := M{"type": "subscribe", "channels": set}
	if since := n.since(); since != nil {
		request["since"] = since
	}
	c.Send(request)
	for range set {
		n.seen = append(n.seen, c.Expect("subscription_confirmed"))
	}
	slow := rng.IntN(3) == 0
	for range rng.IntN(1200) {
		if slow && rng.IntN(200) == 0 {
			for ahead := progress() + int64(rng.IntN(1500)); progress() < ahead && !over(); {
				runtime.Gosched()
			}
		}
		if c.Backlog() == 0 {
			c.Ping() // what came before its answer is the backlog
		}
		if c.Backlog() > 0 {
			n.seen = append(n.seen, c.Next())
		} else if over() {
			return
		}
	}
}

func (n *notes) matches(channel string) bool {
	return slices.ContainsFunc(n.patterns, func(p protocol.Pattern) bool { return p.Match(channel) })
}

// finish reads on until everything that was published must have come.
func (n *notes) finish(s *site, set []string, all published) {
	last := 0
	for channel, offsets := range all {
		if n.matches(channel) {
			last = max(last, offsets[len(offsets)-1])
		}
	}
	c := s.dial()
	c.Send(M{"type": "subscribe", "channels": set, "since": n.since()})
	for range set {
		n.seen = append(n.seen, c.Expect("subscription_confirmed"))
	}
	for n.since().(M)["offset"] != float64(last) {
		n.seen = append(n.seen, c.Next())
	}
}

// published is what was published: by channel the offsets of the messages 0, 1, 2 …
type published map[string][]int

// verdict holds the notes against what was published.
func (n *notes) verdict(all published) error {
	next := make(map[string]int) // per channel, the message that is due
	at := 0                      // the largest offset seen
	trimmed := make(map[string]bool)
	for i, m := range n.seen {
		channel := m.Text("channel")
		switch m.Type() {
		case "subscription_confirmed":
			if i == 0 {
				at = m.Int("offset")
			}
			// What a gap told of is replayed to a new connection where it lies behind the last message seen.
			for channel, offsets := range all {
				next[channel], _ = slices.BinarySearch(offsets, at+1)
			}
			clear(trimmed)
		case "gap":
			if m.Text("reason") == "history_trimmed" {
				trimmed[channel] = true
			} else {
				next[channel] += m.Int("dropped")
			}
		case "channel_message":
			number, offset := int(m.List("data")[0].(float64)), m.Int("offset")
			if trimmed[channel] && number > next[channel] {
				next[channel] = number
			}
			delete(trimmed, channel)
			if number != next[channel] || offset <= at || all[channel][number] != offset || !n.matches(channel) {
				return fmt.Errorf("%d: %v behind offset %d, due was %d", i, m, at, next[channel])
			}
			next[channel]++
			at = offset
			for other, offsets := range all {
				if due := next[other]; n.matches(other) && !trimmed[other] && due < len(offsets) && offsets[due] < at {
					return fmt.Errorf("%d: %v, but %d of %s with the offset %d was due before", i, m, due, other, offsets[due])
				}
			}
		default:
			return fmt.Errorf("%d: %v", i, m)
		}
	}
	return nil
}

// TestTorture runs a moment; TORTURE=100 runs a hundred times as long.
func TestTorture(t *testing.T) {
	length, _ := strconv.Atoi(os.Getenv("TORTURE"))
	each := 300 * max(1, length)
	s := serve(t, tortured)
	all := make(published)
	pad := strings.Repeat("x", 2000) // so that little of it fills the sockets
	var mu sync.Mutex
	var progress atomic.Int64
	var publishers, subscribers sync.WaitGroup
	var over atomic.Bool
	for _, channel := range torturedChannels {
		c := s.dial()
		publishers.Go(func() {
			offsets := make([]int, 0, each)
			for i := range each {
				m, err := c.TryAsk(M{"type": "publish", "channel": channel, "data": []any{i, pad}})
				if err != nil || m.Type() != "published" {
					t.Errorf("publishing: %v, %v", m, err)
					return
				}
				offsets = append(offsets, m.Int("offset"))
				progress.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			all[channel] = offsets
		})
	}
	books := make([]notes, len(torturedSets))
	for i, set := range torturedSets {
		for _, text := range set {
			p, err := protocol.ParsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			books[i].patterns = append(books[i].patterns, p)
		}
		rng := rand.New(rand.NewPCG(uint64(i), rand.Uint64()))
		subscribers.Go(func() {
			for !over.Load() {
				books[i].torment(s, set, rng, progress.Load, over.Load)
			}
		})
	}
	publishers.Wait()
	over.Store(true)
	subscribers.Wait()
	gaps := make(map[string]int)
	for i := range books {
		books[i].finish(s, torturedSets[i], all)
		if err := books[i].verdict(all); err != nil {
			t.Errorf("%s: %v", strings.Join(torturedSets[i], " "), err)
		}
		for _, m := range books[i].seen {
			gaps[m.Type()+" "+m.Text("reason")]++
		}
	}
	t.Log(gaps)
}
