package hub

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// maxControlFrames is how many control frames a client may send in a second.
const maxControlFrames = 100

// buffers holds what messages are read into: a connection that says nothing holds none.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keepBuffer is the size beyond which a buffer is not kept for the next message.
const keepBuffer = 64 << 10

// read takes the client's messages until the connection ends.
func (c *Conn) read() error {
	for {
		// A context that can end would cost a timer a read and close the connection at its end.
		kind, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		if kind != websocket.MessageText {
			c.Close(protocol.CloseUnsupportedData, "binary frames are not used here")
			return fmt.Errorf("binary frame")
		}
		c.inMessage = true
		c.begun.CompareAndSwap(0, time.Now().UnixNano())
		if err := c.readMessage(r); err != nil {
			return err
		}
		c.inMessage = false
		if !c.frames.between() {
			c.begun.Store(time.Now().UnixNano()) // a part of the next has come with it
		}
	}
}

// messageTimeout is how long a client may take over a message, from its first byte to its last, and over a control frame.
const messageTimeout = 30 * time.Second

// noteBegun remembers since when the client has been at a message or frame. ended tells that a frame has just ended: where that was no
// part of a message, what has come of the next is new.
func (c *Conn) noteBegun(now int64, ended bool) {
	switch {
	case c.frames.between() && !c.inMessage:
		c.begun.Store(0)
	case ended && !c.inMessage:
		c.begun.Store(now)
	default:
		c.begun.CompareAndSwap(0, now)
	}
}

// dawdles ends the connection of a client that takes too long over a message.
func (c *Conn) dawdles(now time.Time) bool {
	begun := c.begun.Load()
	if begun == 0 || now.Sub(time.Unix(0, begun)) <= messageTimeout {
		return false
	}
	c.Close(protocol.ClosePolicy, "the message took too long")
	return true
}

func (c *Conn) readMessage(r io.Reader) error {
	buf := buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= keepBuffer {
			buf.Reset()
			buffers.Put(buf)
		}
	}()
	if _, err := buf.ReadFrom(r); err != nil {
		return err
	}
	if !utf8.Valid(buf.Bytes()) {
		c.Close(protocol.CloseInvalidPayload, "the message is not UTF-8")
		return fmt.Errorf("text that is not UTF-8")
	}
	if !c.lines {
		c.receive(buf.Bytes())
		return nil
	}
	for line := range bytes.SplitSeq(buf.Bytes(), []byte{'\n'}) {
		if len(bytes.TrimSpace(line)) > 0 {
			c.receive(line)
		}
	}
	return nil
}

// receive hands one message to the receiver, and waits until the client has taken enough of the answers for another.
func (c *Conn) receive(msg []byte) {
	c.begun.Store(0) // while it is handled the client waits, and not the server
	c.heard.Store(true)
	c.handling.Store(true)
	c.received.Add(1)
	if c.isClosing() {
		return
	}
	c.executor.enter()
	active := c.receiver.Receive(msg)
	c.executor.leave()
	if active {
		c.lastActive.Store(time.Now().UnixNano())
	}
	c.waitReplies()
}

func (c *Conn) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// controlMeter counts control frames. It belongs to the read goroutine.
type controlMeter struct {
	since time.Time
	count int
}

// over counts one more frame and tells whether that is too many within a second.
func (m *controlMeter) over(now time.Time) bool {
	if now.Sub(m.since) >= time.Second {
		m.since, m.count = now, 0
	}
	m.count++
	return m.count > maxControlFrames
}

// acceptOptions are those under which the library reads a client's frames.
func (c *Conn) acceptOptions(subprotocols []string) *websocket.AcceptOptions {
	var meter controlMeter
	count := func() bool {
		if meter.over(time.Now()) {
			c.Close(protocol.ClosePolicy, "too many control frames")
			return false
		}
		return true
	}
	return &websocket.AcceptOptions{
		Subprotocols:       subprotocols,
		InsecureSkipVerify: true, // the origin has been checked before
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     func(context.Context, []byte) bool { return count() },
		OnPongReceived:     func(context.Context, []byte) { count() },
	}
}
