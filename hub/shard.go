package hub

import (
	"sync"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
)

// shard owns a part of the connections: their subscriptions, and the deciding of what goes to which. All of that is touched by
// the shard's own goroutine alone, which takes messages and commands from its mailbox in the order in which they were put there.
// As the broker puts every message into all mailboxes in its order, the place of a command among them is a place in the order.
type shard struct {
	hub  *Hub
	done chan struct{}

	// Owned by run.
	conns     map[*Conn]struct{}
	index     index
	watches   index   // the subscriptions that want presence events
	processed uint64  // Sequence of the last message taken
	epoch     string  // in which it counts
	turn      uint64  // messages taken
	dirty     []*Conn // connections with something new to write
	writer    writer
	blocking  *flow.Class // the fallback's queue that unblocked was made of; see directClass
	unblocked *flow.Class
	beat      beat

	mu      sync.Mutex
	mailbox []letter
	spare   []letter // the slice that run has emptied, for the next swap
	stopped bool
	wake    chan struct{}
}

// letter is a message or a command.
type letter struct {
	message *Message
	command func()
}

func newShard(h *Hub) *shard {
	settings := h.Settings()
	s := &shard{
		hub: h, done: make(chan struct{}), wake: make(chan struct{}, 1), conns: make(map[*Conn]struct{}), index: newIndex(),
		watches: newIndex(),
		beat:    beat{interval: settings.HeartbeatInterval, timeout: settings.HeartbeatTimeout},
	}
	s.index.names = &h.names
	s.watches.twin = &s.index
	return s
}

// post puts a letter into the mailbox. It never blocks: messages are bounded by the hub's gate, commands by their connection
// waiting for their effects. It tells whether the shard still runs.
func (s *shard) post(l letter) bool {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return false
	}
	s.mailbox = append(s.mailbox, l)
	first := len(s.mailbox) == 1
	s.mu.Unlock()
	if first {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// do runs f on the shard's goroutine and waits for it. It tells whether f ran. It must not be called from there.
func (s *shard) do(f func()) bool {
	ran := make(chan struct{})
	if !s.post(letter{command: func() { f(); close(ran) }}) {
		return false
	}
	<-ran
	return true
}

// stop ends run once the mailbox is empty. Nothing may be posted afterwards.
func (s *shard) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	<-s.done
}

func (s *shard) run() {
	defer close(s.done)
	sweep := time.NewTimer(s.hub.sweepInterval())
	defer sweep.Stop()
	for {
		select {
		case <-s.wake:
		case now := <-sweep.C:
			s.sweep(now)
			sweep.Reset(s.hub.sweepInterval())
		}
		for {
			letters, stopped := s.take()
			if len(letters) == 0 {
				if stopped {
					return
				}
				break
			}
			s.process(letters)
		}
	}
}

func (s *shard) take() (letters []letter, stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	letters = s.mailbox
	s.mailbox, s.spare = s.spare[:0], nil
	return letters, s.stopped
}

// maxSpare is how many letters an emptied mailbox keeps room for.
const maxSpare = 4096

// batch is how many messages are delivered before what gathered is written: enough that each write takes many, few enough that the
// first does not wait long and queues stay small.
const batch = 128

func (s *shard) process(letters []letter) {
	messages, bytes := 0, 0
	s.index.visited, s.watches.visited = 0, 0
	for i := range letters {
		if m := letters[i].message; m != nil {
			s.deliver(m)
			bytes += len(m.Bytes)
			if messages++; messages == batch {
				s.flush()
				s.hub.gate.leave(messages, bytes)
				messages, bytes = 0, 0
			}
		} else {
			letters[i].command()
		}
	}
	s.flush()
	s.hub.gate.leave(messages, bytes)
	s.hub.stats.visited.Add(s.index.visited + s.watches.visited)
	clear(letters)
	if cap(letters) <= maxSpare {
		s.mu.Lock()
		s.spare = letters[:0]
		s.mu.Unlock()
	}
}

// deliver hands a message to every connection that has a subscription for it, once.
func (s *shard) deliver(m *Message) {
	s.processed = m.Sequence
	s.turn++
	receivers := 0
	for _, subs := range s.index.match(m.Channel, m.Time) {
		for _, sub := range subs {
			c := sub.conn
			if c.mark == s.turn || m.Offset > 0 && c.catching {
				continue
			}
			if sub.rule != m.Rule && !m.Rule.Allows(access.Subscribe, c.Identity(), m.Channel) {
				continue
			}
			c.mark = s.turn
			receivers++
			s.push(c, m, sub.from)
		}
	}
	s.index.done()
	if m.Trace != "" {
		s.hub.traced(m, receivers)
	}
}

// push puts a message into a connection's queue and acts on what became of it.
func (s *shard) push(c *Conn, m *Message, from uint64) {
	switch s.offer(c, &m.Rule.Queue, &m.Item, from) {
	case flow.Blocked:
		s.block(c, m.Offset-1)
	case flow.Overflow:
		c.giveUp("too slow: " + m.Rule.Queue.Policy.String())
	case flow.Queued:
		if m.sample != 0 {
			c.sampled(m)
		}
		s.touch(c)
	default:
		s.touch(c)
	}
}

// offer puts an item into a connection's queue. What gathers while the shard works through its mailbox must not cost a client that
// reads in time anything: before a full queue has its policy applied, what waits is written as far as the socket takes it.
func (s *shard) offer(c *Conn, class *flow.Class, item *flow.Item, from uint64) flow.Verdict {
	verdict := c.push(class, item, from)
	for verdict == unwritten {
		c.flush(&s.writer) // leaves nothing, or somebody who writes
		verdict = c.push(class, item, from)
	}
	return verdict
}

// touch remembers that c has something to write.
func (s *shard) touch(c *Conn) {
	if !c.dirty {
		c.dirty = true
		s.dirty = append(s.dirty, c)
	}
}

// flush writes to every connection that has something new, as far as its socket takes it at once.
func (s *shard) flush() {
	for i, c := range s.dirty {
		s.dirty[i] = nil
		c.dirty = false
		c.flush(&s.writer)
	}
	s.dirty = s.dirty[:0]
	s.hub.shed()
}

// register takes in a connection.
func (s *shard) register(c *Conn) {
	s.conns[c] = struct{}{}
	s.touch(c)
}

// unregister forgets a connection and its subscriptions.
func (s *shard) unregister(c *Conn) {
	for pattern, sub := range c.subs {
		s.index.remove(sub)
		s.hub.unwant(sub.pattern)
		sub.member = false // the leave is held back
		s.attend(sub, false, false)
		delete(c.subs, pattern)
	}
	s.hub.presence.gone(c.id)
	c.subs = nil
	c.subCount.Store(0)
	delete(s.conns, c)
}
