package hub

import (
	"encoding/binary"
	"errors"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// A connection that says nothing needs no goroutine. Where the socket can be watched (poller), reading ends with errParked as soon as
// nothing is there to be read, the connection is given to the hub's poller, and a new goroutine reads on when bytes come. What that
// saves is the stack of the reading goroutine, more than half of what an idle connection costs.
//
// Reading may end only between two frames, while the WebSocket library asks for the first byte of a header: an error given to it there
// leaves its state as it was. frames tells where that is.

// errParked is given to the WebSocket library in the place of bytes.
var errParked = errors.New("nothing to read")

// frames follows the frames that a client sends (RFC 6455, section 5.2) over the bytes as they come.
type frames struct {
	payload uint64 // bytes of the frame's payload that are to come
	largest uint64 // payload of the data frames that began since it was last reset
	head    [14]byte
	n       uint8 // bytes of head that have come
	broken  bool  // a frame was not masked, or its length has the top bit set or is padded: all are against the RFC
	goodbye bool  // the last header was a close frame's
}

// between tells whether the last byte ended a frame.
func (f *frames) between() bool { return f.n == 0 && f.payload == 0 }

// over tells whether the last byte ended a close frame: the client says nothing any more.
func (f *frames) over() bool { return f.goodbye && f.between() }

// feed takes the bytes that have come. It tells whether a frame ended among them.
func (f *frames) feed(p []byte) (ended bool) {
	for len(p) > 0 {
		if f.payload > 0 {
			n := min(f.payload, uint64(len(p)))
			f.payload -= n
			p = p[n:]
			ended = ended || f.payload == 0
			continue
		}
		f.head[f.n] = p[0]
		f.n++
		p = p[1:]
		if f.n >= 2 && f.n == f.size() {
			f.payload = f.length()
			f.n = 0
			ended = ended || f.payload == 0
			f.goodbye = f.head[0]&0x0f == opClose
			if f.head[0]&0x08 == 0 {
				f.largest = max(f.largest, f.payload)
			}
			f.broken = f.broken || f.head[1]&0x80 == 0 || f.payload>>63 != 0 || f.padded()
		}
	}
	return ended
}

// padded tells whether the length could have been written in fewer bytes.
func (f *frames) padded() bool {
	n := f.head[1] & 0x7f
	return n == 126 && f.payload < 126 || n == 127 && f.payload < 1<<16
}

// size is how long the header is, as its first two bytes say.
func (f *frames) size() uint8 {
	n := uint8(2)
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

func (f *frames) length() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}

// rawReader reads from a socket without its goroutine having to wait.
type rawReader struct {
	p    []byte
	n    int
	err  error
	wait bool // for bytes, where there are none
	call func(fd uintptr) bool
}

var rawReaders = sync.Pool{New: func() any {
	r := new(rawReader)
	r.call = func(fd uintptr) bool {
		for {
			r.n, r.err = syscall.Read(int(fd), r.p)
			if r.err != syscall.EINTR { //nolint:errorlint // a system call's own error, bare
				break
			}
		}
		return r.err != syscall.EAGAIN || !r.wait //nolint:errorlint // as above
	}
	return r
}}

// readRaw is Read of the socket, but that without wait it gives errParked where nothing is there.
func readRaw(raw syscall.RawConn, p []byte, wait bool) (int, error) {
	r := rawReaders.Get().(*rawReader)
	r.p, r.wait = p, wait
	err := raw.Read(r.call)
	n, readErr := r.n, r.err
	r.p, r.n, r.err = nil, 0, nil
	rawReaders.Put(r)
	switch {
	case err != nil:
		return 0, err
	case errors.Is(readErr, syscall.EAGAIN):
		return 0, errParked
	case readErr != nil:
		return 0, readErr
	}
	return max(n, 0), nil
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// openPoller gives the hub's poller, nil where there is none: a connection without one does not park.
func (h *Hub) openPoller() *poller {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return nil
	}
	if h.poller == nil {
		p, err := newPoller()
		if err != nil {
			h.log.Debug("silent connections keep their goroutines", zap.String("hub", h.name), zap.Error(err))
			return nil
		}
		h.poller = p
	}
	return h.poller
}

// rouse has the connection's goroutine, which waits for bytes, see that it may park. The shard calls it when nothing was said for a
// while.
func (c *Conn) rouse() {
	if c.poller == nil || c.heard.Swap(false) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.parked && !c.closing {
		_ = c.socket.SetReadDeadline(longAgo)
	}
}

// park leaves the waiting for the client to the hub's poller. It tells whether the caller's goroutine is to end; otherwise it reads on.
func (c *Conn) park() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return false
	}
	if err := c.poller.watch(c); err != nil {
		c.hub.log.Debug("a connection cannot be watched and keeps its goroutine", zap.String("hub", c.hub.name), zap.Error(err))
		c.settled = true
		return false
	}
	c.parked = true
	c.hub.stats.parked.Add(1)
	return true
}

// wake has the connection read on if it is parked.
func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parked {
		c.parked = false
		c.hub.stats.parked.Add(-1)
		go c.run()
	}
}
