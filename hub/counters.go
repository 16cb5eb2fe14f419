package hub

import (
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/histogram"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// counters are the hub's totals of what happens seldom enough to be counted in one place. What is counted for each message on its way
// out is counted by its connection.
type counters struct {
	accepted, published, duplicates atomic.Uint64
	slow, shed, blocked, unhealthy  atomic.Uint64
	overdue, disconnected           atomic.Uint64 // closed for want of a token, by an operator
	unidentified                    atomic.Uint64 // tokens and tickets refused
	recovered, unrecovered          atomic.Uint64 // subscriptions with `since`
	visited                         atomic.Uint64 // nodes and patterns that look-ups in the shards' indexes came to
	revoked                         atomic.Uint64 // subscriptions ended because they are no longer allowed
	oversubscribed, unreadable      atomic.Uint64 // refused for max_subscriptions or for want of room in an index; history that could not be read
	refusals                        [len(refusals)]atomic.Uint64
	gaps                            [len(gapReasons) + 1]atomic.Uint64
	parked                          atomic.Int64
}

// gapReasons are those that a gap may have. Any other is counted behind them.
var gapReasons = [...]string{"drop_oldest", "drop_newest", "drop_all", "conflated", "history_trimmed", "broker"}

// gap counts a gap that a client is told of.
func (c *counters) gap(reason string) {
	i := 0
	for i < len(gapReasons) && gapReasons[i] != reason {
		i++
	}
	c.gaps[i].Add(1)
}

// kind is what is sent to clients.
type kind uint8

const (
	kindChannel kind = iota // channel_message
	kindReply               // answers to requests, and what the server says of itself
	kindGap
	kindStream // of query streams
	kindDirect // presence events and what an operator sends
	kinds
)

var kindNames = [kinds]string{"channel", "reply", "gap", "stream", "direct"}

// kindOf tells what an item of a queue is.
func kindOf(item *flow.Item) kind {
	switch {
	case item.Channel == "":
		return kindReply
	case item.Channel[0] == '$':
		return kindDirect
	}
	return kindChannel
}

// traffic is what went over a connection, or over many.
type traffic struct {
	sent                        [kinds]uint64
	sentBytes                   uint64
	received, receivedBytes     uint64
	offered, dropped, conflated uint64
	losses                      flow.Losses
	subscriptions, queued       int
	queuedBytes                 int
}

func (t *traffic) messages() (n uint64) {
	for _, sent := range t.sent {
		n += sent
	}
	return n
}

// add adds what went over a connection so far.
func (t *traffic) add(c *Conn) {
	t.received += c.received.Load()
	t.receivedBytes += c.receivedB.Load()
	t.subscriptions += int(c.subCount.Load())
	c.mu.Lock()
	defer c.mu.Unlock()
	for kind, n := range c.sent {
		t.sent[kind] += n
	}
	t.sentBytes += c.sentB
	counts := c.queue.Counts()
	t.offered += counts.Offered
	t.dropped += counts.Dropped
	t.conflated += counts.Conflated
	t.losses.Add(c.queue.Losses())
	t.queued += c.queue.Len() + c.lane.Len()
	t.queuedBytes += c.queue.Bytes() + c.lane.Bytes()
}

// closeCodes are the close codes that have names of their own, from which a hub begins to count.
var closeCodes = [...]protocol.CloseCode{1000, 1001, 1002, 1003, 1005, 1007, 1008, 1009, 1011, 4000, 4001, 4003, 4008, 4029, 4100}

func newCloses() map[string]uint64 {
	closes := map[string]uint64{closedAbnormally: 0, closedOtherwise: 0}
	for _, code := range closeCodes {
		closes[closeLabel(code)] = 0
	}
	return closes
}

// What a connection is counted as that was closed without a close frame (RFC 6455, 7.4.1), or with a code of the client's own.
const (
	closedAbnormally = "1006"
	closedOtherwise  = "other"
)

// closeLabel names a close code. Clients choose theirs, so that not every one has a name of its own.
func closeLabel(code protocol.CloseCode) string {
	switch {
	case code == 0:
		return closedAbnormally
	case slices.Contains(closeCodes[:], code):
		return strconv.Itoa(int(code))
	}
	return closedOtherwise
}

// names counts in how many shards each name has subscribers, so that it is known how many there are without asking the shards.
type names struct {
	mu     sync.Mutex
	shards map[string]int
}

func (n *names) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.shards == nil {
		n.shards = make(map[string]int)
	}
	n.shards[name]++
}

func (n *names) remove(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.shards[name]--; n.shards[name] == 0 {
		delete(n.shards, name)
	}
}

func (n *names) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.shards)
}

// How messages are chosen of which it is measured how long they take: one in so many, and any that comes after so long without one.
// The first alone would measure next to nothing where few are published, the second only the first of each burst.
const (
	sampleEvery = 64
	sampleAfter = time.Second
)

// latencyBounds are the buckets of the time from publishing to the socket.
var latencyBounds = []time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second,
}

// sampler measures how long messages take from publishing until the sockets have taken them.
type sampler struct {
	began time.Time // times are kept as nanoseconds since
	last  time.Time // of the last message chosen; owned by whoever delivers
	times *histogram.Histogram
}

func newSampler() sampler { return sampler{began: time.Now(), times: histogram.New(latencyBounds...)} }

// choose marks a message that is to be measured.
func (s *sampler) choose(m *Message) {
	if m.Sequence%sampleEvery == 0 || m.Time.Sub(s.last) >= sampleAfter {
		s.last = m.Time
		m.sample = max(1, int64(m.Time.Sub(s.began)))
	}
}

// sampled notes that the message waits for the connection. One that was noted before and still waits is measured first.
func (c *Conn) sampled(m *Message) { c.sample.CompareAndSwap(0, m.sample) }

// measured ends what sampled began: nothing waits for the connection any more.
func (c *Conn) measured() {
	if c.sample.Load() == 0 {
		return
	}
	if at := c.sample.Swap(0); at != 0 {
		s := &c.hub.sampler
		s.times.Observe(time.Since(s.began) - time.Duration(at))
	}
}
