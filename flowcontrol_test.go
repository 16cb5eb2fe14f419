package neuroquantumws_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

const anyone = "allow subscribe anyone\nallow publish anyone\nallow history anyone\n"

// clogged is a site's options for clients that stop reading. The kernel takes megabytes for them: the channel fill is there to stop
// that up, so that few messages of the channel c are enough to fill a queue.
func clogged(policy, more string) string {
	return `
	rate_limit 1000000
	write_timeout 5m
	channel c {
		history 100000
		queue 20 64KiB ` + policy + "\n" + anyone + `
	}
	channel fill {
		queue 8 256KiB
		` + anyone + `
	}
	` + more
}

// maxWaiting is what may wait for one client under these options: both queues, and a write that the socket took in part.
const maxWaiting = (64 + 256 + 128) << 10

// filler is about what one message of the channel fill carries.
var filler = strings.Repeat("x", 32<<10)

// crowd are clients of the channel c that go on reading, and a client that publishes. It publishes no more at once than a queue
// holds and then waits for the readers: what is dropped is dropped for a client that stands still.
type crowd struct {
	publisher *wstest.Client
	readers   []*wstest.Client
	hub       *hub.Hub
	sent      int
}

// round is how many messages are published at once.
const round = 20

func (s *site) crowd(readers int) *crowd {
	s.t.Helper()
	c := &crowd{publisher: s.dial(), hub: hubOf(s.t, "default")}
	for range readers {
		reader := s.dial()
		reader.Subscribe("c")
		c.readers = append(c.readers, reader)
	}
	return c
}

// publish publishes a round in the channel c, each message acknowledged, of which every reader must get all in order.
func (c *crowd) publish() {
	t := c.publisher.T()
	t.Helper()
	first := c.sent
	for range round {
		c.publisher.Publish("c", c.sent)
		c.sent++
	}
	var wg sync.WaitGroup
	for i, reader := range c.readers {
		wg.Go(func() {
			for n := first; n < c.sent; n++ {
				m, err := reader.Read()
				if err != nil || m.Type() != "channel_message" || m.Int("data") != n {
					t.Errorf("reader %d: got %v (%v), want message %d", i, m, err, n)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// dropped is how many messages were dropped for a connection.
func (c *crowd) dropped(conn *hub.Conn) int {
	c.hub.ChannelPage(func(string) bool { return false }, "", 1) // it waits for the shards: what is published has reached the queues
	return int(conn.Stats().Dropped)
}

// clog publishes to a client that stands still until nothing more goes into its socket.
func (c *crowd) clog(conn *hub.Conn) {
	c.publisher.T().Helper()
	check := wait.Check(c.publisher.T(), "the socket is full")
	for full := c.dropped(conn) + 10; c.dropped(conn) < full; {
		check()
		c.publisher.Publish("fill", filler)
	}
}

// overrun publishes in the channel c until so many messages were lost for a client that stands still.
func (c *crowd) overrun(conn *hub.Conn, lost int) {
	t := c.publisher.T()
	t.Helper()
	c.clog(conn)
	check := wait.Check(t, "messages are lost")
	for lost > 0 {
		before := c.dropped(conn)
		c.publish()
		if now := c.dropped(conn); now > before {
			lost -= now - before
		} else {
			c.clog(conn) // the kernel has found room after all
		}
		if waiting := conn.Stats().QueuedBytes; waiting > maxWaiting {
			t.Fatalf("%d bytes wait", waiting)
		}
		check()
	}
}

// narrow connects a client whose socket takes little, subscribed to the channels c and fill.
func (s *site) narrow() (*wstest.Client, *hub.Conn) {
	s.t.Helper()
	c := wstest.Dial(s.t, s.url(), wstest.Options{ReadBuffer: 1}) // the kernel gives its least
	c.Subscribe("c", "fill")
	return c, hubOf(s.t, "default").Connection(c.Welcome.Text("connection_id"))
}

// ledger accounts for every message of the channel c that a client gets or is told to have lost.
type ledger struct {
	c      *wstest.Client
	policy string
	next   int // number of the message that is due
	last   int // offset of the last that was delivered
	gap    M   // the last that came was this gap
	gaps   []loss
}

// loss is what a gap told: the numbers of the missing messages, and behind which offset they are.
type loss struct{ first, count, after int }

// read takes messages until the condition holds.
func (l *ledger) read(until func() bool) {
	l.c.T().Helper()
	for !until() {
		if m := l.c.Next(); m.Text("channel") == "c" {
			l.take(m)
		}
	}
}

func (l *ledger) take(m M) {
	t := l.c.T()
	t.Helper()
	switch m.Type() {
	case "channel_message":
		if m.Int("data") != l.next || m.Int("offset") <= l.last {
			t.Fatalf("got %v, want message %d behind the offset %d", m, l.next, l.last)
		}
		if l.gap.Has("before") && l.gap["before"] != m["offset"] || l.gap != nil && !l.gap.Has("before") && l.policy != "drop_newest" {
			t.Fatalf("%v stands before %v", l.gap, m)
		}
		l.next, l.last, l.gap = l.next+1, m.Int("offset"), nil
	case "gap":
		if l.gap != nil || m.Int("after") != l.last || m.Int("dropped") < 1 || m.Text("reason") != l.policy || !m.Bool("recoverable") {
			t.Fatalf("behind the offset %d and the gap %v: %v", l.last, l.gap, m)
		}
		l.gap = m
		l.gaps = append(l.gaps, loss{l.next, m.Int("dropped"), l.last})
		l.next += m.Int("dropped")
	default:
		t.Fatalf("got %v", m)
	}
}

// nothingMore checks that the client has got all of the channel c.
func (l *ledger) nothingMore() {
	l.c.T().Helper()
	l.c.Ping()
	for l.c.Backlog() > 0 {
		if m := l.c.Next(); m.Text("channel") != "fill" {
			l.c.T().Errorf("got %v", m)
		}
	}
}

// fetch gets what a gap told of from the history and checks that it is just that.
func (l loss) fetch(t *testing.T, c *wstest.Client) {
	t.Helper()
	h := c.AskFor("history", M{"type": "history", "channel": "c", "limit": l.count, "since": M{
		"epoch": c.Welcome.Text("epoch"), "offset": l.after,
	}})
	if len(h.List("messages")) != l.count {
		t.Errorf("%d messages behind the offset %d, want %d", len(h.List("messages")), l.after, l.count)
	}
	for i, m := range h.List("messages") {
		if n := M(m.(map[string]any)).Int("data"); n != l.first+i {
			t.Fatalf("message %d where %d was lost", n, l.first+i)
		}
	}
}

// A client that stands still loses messages by its channel's policy; it is told of each, at its place, and can fetch it. All others
// get everything.
func TestAClientThatStandsStillLosesMessages(t *testing.T) {
	for _, test := range []struct {
		policy  string
		readers int
	}{{"drop_oldest", 200}, {"drop_newest", 5}, {"drop_all", 5}} {
		t.Run(test.policy, func(t *testing.T) {
			s := serve(t, clogged(test.policy, "health off"))
			c, conn := s.narrow()
			crowd := s.crowd(test.readers)
			l := &ledger{c: c, policy: test.policy}
			crowd.publish() // the first arrive, so that a gap has something to be behind
			crowd.overrun(conn, 30)
			l.read(func() bool { return l.gap != nil })
			// It stops a second time, now with a gap behind it.
			crowd.overrun(conn, 30)
			l.read(func() bool { return l.next == crowd.sent })
			crowd.publish()
			l.read(func() bool { return l.next == crowd.sent })
			l.nothingMore()
			if len(l.gaps) < 2 || l.gaps[0].first < round {
				t.Errorf("gaps: %v", l.gaps)
			}
			for _, gap := range l.gaps {
				gap.fetch(t, c)
			}
		})
	}
}

// Under block nothing is lost, and nobody waits for the client that stands still: what is published is acknowledged meanwhile.
func TestBlockLosesNothing(t *testing.T) {
	s := serve(t, clogged("block", "health off"))
	c, conn := s.narrow()
	crowd := s.crowd(5)
	check := wait.Check(t, "the client catches up")
	for crowd.hub.Stats().CaughtUp == 0 {
		check()
		crowd.clog(conn)
		crowd.publish()
		crowd.publish()
	}
	for range 30 { // more than is fetched from the history at once
		crowd.publish()
	}
	if waiting := conn.Stats().QueuedBytes; waiting > maxWaiting {
		t.Errorf("%d bytes wait", waiting)
	}
	l := &ledger{c: c, policy: "block"}
	half := crowd.sent / 2
	l.read(func() bool { return l.next == half })
	crowd.publish() // while it catches up
	l.read(func() bool { return l.next == crowd.sent })
	crowd.publish()
	l.read(func() bool { return l.next == crowd.sent })
	l.nothingMore()
	if len(l.gaps) > 0 {
		t.Errorf("gaps: %v", l.gaps)
	}
}

// tooSlow takes what a client got before it was closed with 4008, and waits until its connection has ended.
func tooSlow(t *testing.T, c *wstest.Client, conn *hub.Conn) []M {
	t.Helper()
	rest, code := c.Closed()
	if code != 4008 {
		t.Errorf("closed with %d", code)
	}
	ended(t, conn)
	return rest
}

func TestDisconnect(t *testing.T) {
	s := serve(t, clogged("disconnect", "health off"))
	c, conn := s.narrow()
	crowd := s.crowd(5)
	crowd.overrun(conn, 1)
	crowd.publish()
	l := &ledger{c: c, policy: "disconnect"}
	for _, m := range tooSlow(t, c, conn) {
		if m.Text("channel") == "c" {
			l.take(m)
		}
	}
	if len(l.gaps) > 0 || l.next == crowd.sent {
		t.Errorf("%d of %d messages, gaps: %v", l.next, crowd.sent, l.gaps)
	}
}

// Who takes nothing at all is closed, and leaves the hub without having taken what waited for it; who reads is not.
func TestWriteTimeout(t *testing.T) {
	s := serve(t, "rate_limit 1000000\nwrite_timeout 100ms\nhealth off")
	h := hubOf(t, "default")
	c, conn := s.narrow()
	reader, publisher := s.dial(), s.dial()
	reader.Subscribe("fill")
	check := wait.Check(t, "a slow client is closed")
	for n := 0; h.Stats().TooSlow == 0; n++ {
		check()
		publisher.Publish("fill", M{"n": n, "pad": filler})
		if m, _ := reader.Expect("channel_message")["data"].(map[string]any); M(m).Int("n") != n {
			t.Fatalf("got %v, want %d", m["n"], n)
		}
	}
	if waiting := h.Stats().QueuedBytes; waiting != 0 {
		t.Errorf("%d bytes wait", waiting)
	}
	for n, m := range tooSlow(t, c, conn) {
		if data, _ := m["data"].(map[string]any); M(data).Int("n") != n {
			t.Fatalf("message %d is %v", n, data["n"])
		}
	}
	reader.Ping()
	if h.Stats().Connections != 2 || h.Stats().TooSlow != 1 {
		t.Errorf("%+v", h.Stats())
	}
}

// Who loses too large a part of its messages is closed, but not before there were enough to judge by.
func TestUnhealthyClientsAreClosed(t *testing.T) {
	s := serve(t, clogged("drop_oldest", "heartbeat 100ms 1m")) // with every fourth part of a heartbeat it looks
	c, conn := s.narrow()
	crowd := s.crowd(1)
	check := wait.Check(t, "a slow client is closed")
	for crowd.hub.Stats().Unhealthy == 0 {
		check()
		crowd.clog(conn)
		for range 10 {
			crowd.publish()
		}
	}
	stats := conn.Stats()
	tooSlow(t, c, conn)
	if stats.Offered < 1000 || float64(stats.Dropped) < 0.3*float64(stats.Offered) {
		t.Errorf("closed after %d of %d were dropped", stats.Dropped, stats.Offered)
	}
	crowd.publish()
}

// What waits for all clients together is bounded: those for whom most waits go. Neither one for whom a little waits nor those that
// read are among them.
func TestTheSlowestGoFirst(t *testing.T) {
	const count = 6
	s := serve(t, "rate_limit 1000000\nwrite_timeout 5m\nqueue 100000 64MiB\nmax_queued 2MiB")
	h := hubOf(t, "default")
	little, conn := s.narrow()
	reader, publisher := s.dial(), s.dial()
	reader.Subscribe("fill")
	var slow []*wstest.Client
	for range count {
		c, _ := s.narrow()
		slow = append(slow, c)
		s.dial() // the hub deals connections out: with two shards all slow ones are in the one where that with little is not
	}
	check := wait.Check(t, "a slow client is closed")
	publish := func() {
		check()
		publisher.Publish("fill", filler)
		reader.Expect("channel_message")
	}
	for conn.Stats().QueuedBytes == 0 {
		publish()
	}
	little.Send(M{"type": "unsubscribe", "channels": []string{"c", "fill"}})
	until(publisher, "it is unsubscribed", func() bool { return conn.Stats().Subscriptions == 0 })
	for h.Stats().Shed < count {
		publish()
		if waiting := h.Stats().QueuedBytes; waiting > 6<<20 {
			t.Fatalf("%d bytes wait", waiting)
		}
	}
	for _, c := range slow {
		if _, code := c.Closed(); code != 4008 {
			t.Errorf("one of the slowest is closed with %d", code)
		}
	}
	little.Ping()
	reader.Ping()
	publish()
	if n := h.Stats().Shed; n != count {
		t.Errorf("%d were closed", n)
	}
}

// A query whose client stands still holds up nobody else, and does not wait for ever: its stream is ended, or the connection where
// not even that can be told.
func TestAStreamWhoseClientStandsStill(t *testing.T) {
	for _, test := range []struct {
		name, options string
		stalls        int // of another client's streams, while it stands still
		open          bool
	}{
		{"for longer than the stall timeout", "write_timeout 5m\nstream {\nstall_timeout 300ms\n}", 2, true},
		{"for longer than the write timeout", "write_timeout 200ms\nstream {\nstall_timeout 1m\n}", 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, queries(t, test.options+`
				query wide {
					source demo
					sql "with recursive n(i) as (select 1 union all select i + 1 from n) select i, hex(zeroblob(4000)) as pad from n"
					allow anyone
				}`))
			h := hubOf(t, "default")
			c, conn := s.narrow()
			started := start(c, M{"query": "wide", "batch_size": 5, "credits": 1000})
			reader, publisher := s.dial(), s.dial()
			reader.Subscribe("news")
			for full, n := false, 0; !full; n++ {
				full = conn.Stats().QueuedBytes > 200<<10 || h.Stats().TooSlow > 0
				publisher.Publish("news", n)
				if m := reader.Expect("channel_message"); m.Int("data") != n {
					t.Fatalf("got %v, want %d", m, n)
				}
			}
			o := follow(publisher, start(publisher, M{"query": "readings", "batch_size": 1000}), nil)
			o.completed(t, expected(t, demoDB(t), allReadings))
			for range test.stalls {
				failing(publisher, M{"query": "readings", "credits": 0}, "STREAM_ERROR")
			}
			if test.stalls == 0 {
				until(publisher, "the connection is closed", func() bool { return h.Stats().TooSlow == 1 })
			}
			endedByStalling(t, c, conn, started, test.open)
		})
	}
}

// endedByStalling reads on where a client had stopped, up to the end of its stream or of its connection.
func endedByStalling(t *testing.T, c *wstest.Client, conn *hub.Conn, started M, open bool) {
	t.Helper()
	batches := 0
	for {
		m, err := c.Read()
		switch {
		case err != nil:
			if code := wstest.CodeOf(err); code != 4008 || open {
				t.Errorf("closed with %d: %v", code, err)
			}
			ended(t, conn) // it waits for its streams
			return
		case m["stream_id"] != started["stream_id"]:
			t.Fatalf("got %v", m.Type())
		case m.Type() == "query_batch":
			if m.Int("batch_number") != batches {
				t.Fatalf("batch %v, want %d", m["batch_number"], batches)
			}
			batches++
		case m.Type() == "error":
			if m.Text("code") != "STREAM_ERROR" {
				t.Errorf("got %v", m)
			}
			c.Ping()
			if c.Backlog() > 0 {
				t.Errorf("behind the end: %v", c.Next())
			}
			return
		}
	}
}
