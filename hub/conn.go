package hub

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Receiver is what a connection's client talks to. The connection's read goroutine calls it, one call at a time.
type Receiver interface {
	// Receive takes one text message, valid UTF-8, and tells whether it was more than a heartbeat. msg must not be kept. While it
	// runs, nothing more is read from the client.
	Receive(msg []byte) (active bool)
	// Busy tells whether the client has something under way, so that it is not idle. It may be called from any goroutine.
	Busy() bool
	// Leave ends what the client has under way, and tells it so, before the connection is closed: the hub drains. It returns when the
	// client has been told, or ctx ends. It may be called from any goroutine.
	Leave(ctx context.Context)
	// Close is called once, when the connection has ended. It returns when all that the receiver had started has ended.
	Close()
}

// Sender names who the client is for limits and keys: its user, or its address while it is anonymous. Users and addresses have no name in
// common.
func (c *Conn) Sender() string {
	if user := c.Identity().User; user != "" {
		return "user " + user
	}
	return "address " + c.slot.address
}

// Meta is what is known of a client beside its identity.
type Meta struct {
	Address   string // the client's IP address
	UserAgent string
	Custom    map[string]string // the `metadata` of the configuration
}

// closeTooSlow and its like are the close codes of protocol.md under shorter names.
const (
	closeTooSlow   = protocol.CloseTooSlow
	closeHeartbeat = protocol.CloseHeartbeat
	closeNoStatus  = protocol.CloseCode(1005) // RFC 6455, 7.4.1: of a close frame without a code; it is never sent
)

// maxReplyBytes is how much may wait in answers to a client's requests before no further request of it is read.
const maxReplyBytes = 256 << 10

// laneBytes is how much of query streams may wait for a client.
const laneBytes = 256 << 10

// Conn is a client's connection. Its methods may be called from any goroutine.
type Conn struct {
	// Set before the connection is registered, then constant.
	hub         *Hub
	shard       *shard
	id          string
	meta        Meta
	connectedAt time.Time
	subprotocol string
	lines       bool            // several messages may share a frame, a line each
	socket      net.Conn        // the client's connection itself
	raw         syscall.RawConn // for writes that do not block; nil where the socket has no file of its own, as under TLS
	ws          *websocket.Conn // reads the frames; it writes only control frames, through ours
	receiver    Receiver
	slot        *Slot
	poller      *poller       // waits for the client while it is silent; nil where the connection cannot park
	pollKey     uint64        // the poller's, once it was parked
	ended       chan struct{} // closed when all of the connection has ended
	maxPing     time.Duration // the heartbeat is no slower than this; 0 sets no limit

	// Owned by the goroutine that reads.
	frames    frames
	inMessage bool
	settled   bool // it cannot park

	// Owned by the shard.
	subs      map[string]*subscription
	mark      uint64            // the shard's turn at which a message was pushed last
	announced uint64            // turn of the last presence event that was pushed
	resume    uint64            // while catching: the offset up to which all history messages are pushed
	round     uint64            // of fetching history: an answer to an earlier one is of no use
	joined    uint64            // subscriptions made so far
	told      map[string]uint64 // while catching: the channels whose trimming the client knows of, and through which offset
	nextPing  time.Time
	deadline  time.Time // by which the client must have shown a token; zero where it need not
	awaited   bool      // it has not shown one yet and is sent nothing that it did not ask for
	limit     int64     // the read limit in force
	dirty     bool
	catching  bool // history messages come from history until it has caught up
	warned    bool // of its health

	identity atomic.Pointer[access.Identity] // who the client is; the shard changes it

	executor  executor    // of all that happens in the order of the client's requests
	reviewing atomic.Bool // a review waits for it

	begun    atomic.Int64 // unix nanoseconds since when the client is at a message; 0 where it is at none
	heard    atomic.Bool  // a message came since the shard looked last
	handling atomic.Bool  // the reader handles requests that it has; before it asks the socket for more it calls handled
	answered atomic.Bool  // and some were answered, but the answers not written

	// Counters.
	lastRead   atomic.Int64 // unix nanoseconds of the last bytes from the client
	lastActive atomic.Int64 // and of its last request, subscription or stream
	subCount   atomic.Int32
	sample     atomic.Int64 // of the first sampled message that waits; 0 where none does
	received   atomic.Uint64
	receivedB  atomic.Uint64

	mu        sync.Mutex
	queue     flow.Queue    // messages, gaps and replies
	lane      flow.Lane     // query streams
	controls  []byte        // a ping and the answer to the client's last ping, as frames
	pong      bool          // controls holds a pong
	rest      []byte        // of a write that the socket took in part
	writing   bool          // a goroutine is writing; it takes what comes meanwhile
	written   chan struct{} // closed when writing ends; nil while nobody waits
	starving  bool          // the shard waits for the queue to drain, to go on catching up
	replyRoom chan struct{} // closed when answers have drained; nil while nobody waits
	closing   bool          // a close frame is or was on its way: nothing else is taken any more
	lastFrame []byte        // the close frame, until it is taken for writing
	cutLater  *time.Timer   // cuts the socket of a client that does not answer the close frame; set with closing
	cut       bool          // the socket is closed
	parked    bool          // no goroutine reads; the poller or closing the socket starts one
	code      protocol.CloseCode
	reason    string
	sent      [kinds]uint64 // messages

	leftMessages, leftBytes int // what waited when closing began

	sentB uint64 // bytes
}

// ID is the connection's UUID.
func (c *Conn) ID() string { return c.id }

// Identity is who the client is at the moment. It must not be changed.
func (c *Conn) Identity() *access.Identity { return c.identity.Load() }

// Meta is what else is known of the client.
func (c *Conn) Meta() Meta { return c.meta }

// Subprotocol is what was agreed on with the client; empty for an old client that offered none.
func (c *Conn) Subprotocol() string { return c.subprotocol }

// Ended is closed when the connection and all that it had started has ended.
func (c *Conn) Ended() <-chan struct{} { return c.ended }

// ConnStats is a connection at a moment.
type ConnStats struct {
	ID            string            `json:"id"`
	User          string            `json:"user,omitempty"`
	Address       string            `json:"address"`
	UserAgent     string            `json:"user_agent,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	ConnectedAt   time.Time         `json:"connected_at"`
	LastActivity  time.Time         `json:"last_activity"` // of anything from the client
	Subscriptions int               `json:"subscriptions"`
	Received      uint64            `json:"messages_received"`
	ReceivedBytes uint64            `json:"bytes_received"`
	Sent          uint64            `json:"messages_sent"`
	SentBytes     uint64            `json:"bytes_sent"`
	Offered       uint64            `json:"messages_offered"`   // channel messages it was due
	Dropped       uint64            `json:"messages_dropped"`   // and those of them that were dropped
	Conflated     uint64            `json:"messages_conflated"` // and those that a newer one of their channel replaced
	Queued        int               `json:"messages_queued"`
	QueuedBytes   int               `json:"bytes_queued"` // streams included
	// The code with which it is being closed: it is sent nothing more, and goes once its client has read that.
	CloseCode protocol.CloseCode `json:"close_code,omitempty"`
}

// Stats tells how the connection stands.
func (c *Conn) Stats() ConnStats {
	s := ConnStats{
		ID: c.id, User: c.Identity().User, Address: c.meta.Address, UserAgent: c.meta.UserAgent, Metadata: c.meta.Custom,
		ConnectedAt: c.connectedAt, LastActivity: time.Unix(0, c.lastRead.Load()), Subscriptions: int(c.subCount.Load()),
		Received: c.received.Load(), ReceivedBytes: c.receivedB.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.sent {
		s.Sent += n
	}
	s.SentBytes = c.sentB
	if c.closing {
		s.CloseCode = c.code
	}
	counts := c.queue.Counts()
	s.Offered, s.Dropped, s.Conflated = counts.Offered, counts.Dropped, counts.Conflated
	s.Queued = c.queue.Len() + c.lane.Len()
	s.QueuedBytes = c.queue.Bytes() + c.lane.Bytes() + len(c.rest)
	return s
}

// queuedBytes is what counts for this connection against the hub's MaxQueued.
func (c *Conn) queuedBytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return 0
	}
	return c.queue.Bytes() + c.lane.Bytes()
}

// unwritten is push's verdict on an item that finds no room though nobody has tried to write what waits.
const unwritten = flow.Verdict(255)

// push puts a channel message into the queue; the shard calls it.
func (c *Conn) push(class *flow.Class, item *flow.Item, from uint64) flow.Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return flow.Dropped
	}
	if !c.writing && c.queue.Len() > 0 && !c.queue.Fits(class, len(item.Bytes)) {
		return unwritten
	}
	before := c.queue.Bytes()
	verdict := c.queue.Push(class, item, from)
	c.hub.queued.Add(int64(c.queue.Bytes() - before))
	return verdict
}

// pushReply puts an answer, or anything else that is not dropped, into the queue without writing yet.
func (c *Conn) pushReply(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.queue.PushReply(&flow.Item{Bytes: frame})
		c.hub.queued.Add(int64(len(frame)))
	}
}

// Reply sends an answer to a request of the client: msg is one JSON object and is copied. It does not wait for the socket. Once
// the connection is closed it does nothing.
func (c *Conn) Reply(msg []byte) {
	c.pushReply(frame(msg))
	c.flushAnswers()
}

// flushAnswers writes the answers to requests that wait. While the reader handles requests it leaves that to the reader, which
// writes before it asks the socket for more: the answers to requests that came together go out together.
func (c *Conn) flushAnswers() {
	c.answered.Store(true)
	if !c.handling.Load() && c.answered.Swap(false) {
		c.flushNow()
	}
}

// handled ends the reader's handling of requests.
func (c *Conn) handled() {
	c.handling.Store(false)
	if c.answered.Swap(false) {
		c.flushNow()
	}
}

// waitReplies waits until the client has taken enough of the answers to its requests that another may be read.
func (c *Conn) waitReplies() {
	c.mu.Lock()
	if c.closing || c.queue.ReplyBytes() < maxReplyBytes {
		c.mu.Unlock()
		return
	}
	room := make(chan struct{})
	c.replyRoom = room
	c.mu.Unlock()
	c.handled()
	<-room
}

// Send implements stream.Sender: msg is one JSON object and is copied.
func (c *Conn) Send(ctx doneContext, share *flow.Share, msg []byte) error {
	framed := frame(msg)
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return ErrClosed
	}
	before := c.lane.Bytes()
	wait := c.lane.Push(share, framed)
	c.hub.queued.Add(int64(c.lane.Bytes() - before))
	c.mu.Unlock()
	if wait == nil {
		c.flushNow()
		return nil
	}
	select {
	case <-wait: // whoever made room for it is writing
	case <-ctx.Done():
		c.mu.Lock()
		before := c.lane.Bytes()
		left := c.lane.Leave(wait)
		c.hub.queued.Add(int64(c.lane.Bytes() - before))
		c.mu.Unlock()
		if left {
			c.flushNow() // others may have come in
			return ctx.Err()
		}
	}
	if c.isClosing() {
		return ErrClosed
	}
	return nil
}

// doneContext is the part of context.Context that Send needs.
type doneContext interface {
	Done() <-chan struct{}
	Err() error
}

// Fill implements stream.Sender.
func (c *Conn) Fill() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lane.Fill()
}

// Close ends the connection with a close frame. What waits for the client is sent before it, unless the client is too slow to be
// waited for. It does not wait: see Ended. Only the first call has an effect.
func (c *Conn) Close(code protocol.CloseCode, reason string) {
	c.closeWith(code, reason, closing(uint16(code), reason))
}

// giveUp closes the connection of a client that is too slow; it tells whether this was the call that did.
func (c *Conn) giveUp(reason string) bool {
	return c.closeWith(closeTooSlow, reason, closing(uint16(closeTooSlow), reason))
}

// closeWith ends the connection with the given frame; it tells whether this was the call that did.
func (c *Conn) closeWith(code protocol.CloseCode, reason string, frame []byte) bool {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return false
	}
	c.closing = true
	c.code, c.reason = code, reason
	c.lastFrame = frame
	c.cutLater = time.AfterFunc(waitAfterClose(code), c.cutSocket)
	before := c.queue.Bytes() + c.lane.Bytes()
	c.leftMessages, c.leftBytes = c.queue.Len()+c.lane.Len(), before+len(c.rest)
	if code == closeTooSlow || code == closeHeartbeat {
		c.queue.Clear()
	}
	c.lane.Clear()
	c.hub.queued.Add(int64(c.queue.Bytes() - before))
	c.letRequestsLocked()
	c.mu.Unlock()
	c.flushNow()
	return true
}

func (c *Conn) letRequestsLocked() {
	if c.replyRoom != nil {
		close(c.replyRoom)
		c.replyRoom = nil
	}
}

// run is the connection's goroutine: it reads until the connection parks, or until it ends and then takes it down.
func (c *Conn) run() {
	err := c.read()
	for errors.Is(err, errParked) {
		if c.park() {
			return
		}
		err = c.read()
	}
	c.linger(err)
	c.end(err)
}

// end takes the connection down: its receiver, its place in the shard, its socket and its slot.
func (c *Conn) end(err error) {
	c.closeWith(0, "", nil)
	c.receiver.Close()
	c.shard.do(func() { c.shard.unregister(c) })
	c.waitWritten()
	_ = c.ws.CloseNow()
	c.cutSocket()
	if c.poller != nil {
		c.poller.forget(c)
	}
	c.hub.forget(c, err)
	close(c.ended)
}

// cutSocket closes the client's connection without further words.
func (c *Conn) cutSocket() {
	c.mu.Lock()
	if c.cut {
		c.mu.Unlock()
		return
	}
	c.cut = true
	c.closing = true
	before := c.queue.Bytes() + c.lane.Bytes()
	c.queue.Clear()
	c.lane.Clear()
	c.hub.queued.Add(-int64(before))
	c.letRequestsLocked()
	if c.cutLater != nil {
		c.cutLater.Stop()
	}
	c.mu.Unlock()
	_ = c.socket.Close()
	c.wake()
}
