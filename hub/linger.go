package hub

import (
	"errors"
	"time"

	"github.com/coder/websocket"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

const (
	// closeWait is how long a client may take to answer a close frame, and how long what it still sends is read to no purpose, so
	// that the close frame reaches it before the connection is cut.
	closeWait = 5 * time.Second
	// slowWait is the same for a client that is closed because it is too slow: it may need longer to come to its close frame.
	slowWait = 15 * time.Second
	// abuseWait is the same for a client that is closed for abuse.
	abuseWait = 250 * time.Millisecond

	// lingerRate and abuseRate are how many bytes a second are read of what a client sends after the close frame. The rest waits in the
	// sockets and stops the client by TCP's or HTTP/2's own flow control.
	lingerRate = 1 << 20
	abuseRate  = 256 << 10

	minLingerBuffer = 512
	maxLingerBuffer = 8 << 10
)

// errClosing is given to the WebSocket library instead of bytes once a close frame of ours is on its way: what then comes is handled by
// linger, at its own pace.
var errClosing = errors.New("the connection is being closed")

// isAbuse reports whether a client is closed for a flood, or for frames that no client of good will sends.
func isAbuse(code protocol.CloseCode) bool {
	return code == protocol.CloseProtocolError || code == protocol.ClosePolicy || code == protocol.CloseTooMany
}

// waitAfterClose returns how long after the close frame the connection is cut.
func waitAfterClose(code protocol.CloseCode) time.Duration {
	switch {
	case code == closeTooSlow:
		return slowWait
	case isAbuse(code):
		return abuseWait
	}
	return closeWait
}

// linger sees to it that the client gets the close frame that is on its way: closing a socket that still has unread bytes resets
// it, and a reset throws away what the client has not read yet. It reads slowly, so that a client that goes on sending costs little.
func (c *Conn) linger(err error) {
	c.mu.Lock()
	ours, rate := c.closing && !c.cut, lingerRate
	if isAbuse(c.code) {
		rate = abuseRate
	}
	c.mu.Unlock()
	if !ours || websocket.CloseStatus(err) != -1 {
		return
	}
	c.flushNow() // who closes may not have begun to write
	half, ok := c.socket.(interface{ CloseWrite() error })
	if ok {
		_ = c.socket.SetReadDeadline(time.Time{}) // the shard may have asked to park just before
	}
	// A client may have to send before it reads, so what it sends is read while the close frame is written.
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.waitWritten()
		if ok { // the server of a tunnel cannot close one direction alone
			_ = half.CloseWrite()
		}
	}()
	c.discard(rate)
	<-written // cutting the socket ends a write that waits
}

// discard reads up to the client's close frame or the end of the connection, at most rate bytes a second.
func (c *Conn) discard(rate int) {
	buf := make([]byte, minLingerBuffer)
	for n := 0; !c.frames.over(); {
		time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
		if n == len(buf) && n < maxLingerBuffer {
			buf = make([]byte, maxLingerBuffer)
		}
		var err error
		if n, err = c.socket.Read(buf); err != nil {
			return
		}
		c.frames.feed(buf[:n])
		c.receivedB.Add(uint64(n))
	}
}
