package hub

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// maxWrite is how many bytes are gathered for one write; keepWrite is what a writer begins with.
const (
	maxWrite  = 64 << 10
	keepWrite = 1 << 10
)

// writer gathers frames and writes them without blocking. A shard has one of its own; others take one from a pool.
type writer struct {
	buf  []byte
	out  []byte // what is to be written: buf, or a frame too large to be copied
	n    int
	err  error
	call func(fd uintptr) bool // bound once, so that a write allocates nothing
}

var writers = sync.Pool{New: func() any { return new(writer) }}

// try writes w.out as far as the socket takes it at once.
func (w *writer) try(raw syscall.RawConn) (int, error) {
	if w.call == nil {
		w.call = func(fd uintptr) bool {
			w.n, w.err = syscall.Write(int(fd), w.out)
			return true
		}
	}
	w.n, w.err = 0, nil
	if err := raw.Write(w.call); err != nil {
		return 0, err
	}
	if w.n < 0 {
		w.n = 0
	}
	if errors.Is(w.err, syscall.EAGAIN) || errors.Is(w.err, syscall.EINTR) {
		return w.n, nil
	}
	return w.n, w.err
}

// flushNow writes what waits, from a goroutine that is not the shard's.
func (c *Conn) flushNow() {
	w := writers.Get().(*writer)
	c.flush(w)
	writers.Put(w)
}

// flush writes what waits for the client as far as its socket takes it at once. What then is left, and all that comes until it is
// gone, is written by a goroutine that lives no longer than that. Where another goroutine is already writing, that one takes it.
func (c *Conn) flush(w *writer) {
	c.mu.Lock()
	if c.writing || c.cut {
		c.mu.Unlock()
		return
	}
	c.writing = true
	if c.raw == nil {
		if !c.waitingLocked() {
			c.wroteLocked()
			c.mu.Unlock()
			return
		}
		c.writeOnLocked()
		c.mu.Unlock()
		return
	}
	for c.gatherLocked(w) {
		c.mu.Unlock()
		n, err := w.try(c.raw)
		c.mu.Lock()
		c.sentB += uint64(n)
		if err != nil {
			c.wroteLocked()
			c.mu.Unlock()
			c.cutSocket()
			return
		}
		if n < len(w.out) {
			c.rest = append([]byte(nil), w.out[n:]...)
			w.out = nil
			c.writeOnLocked()
			c.mu.Unlock()
			return
		}
		w.out = nil
	}
	c.wroteLocked()
	c.mu.Unlock()
}

// writeOnLocked leaves the writing to a goroutine of its own.
func (c *Conn) writeOnLocked() {
	go c.writeOn()
}

// wroteLocked ends a goroutine's turn of writing.
func (c *Conn) wroteLocked() {
	c.writing = false
	c.measured()
	if c.written != nil {
		close(c.written)
		c.written = nil
	}
}

// waitWritten waits until no goroutine is writing.
func (c *Conn) waitWritten() {
	c.mu.Lock()
	for c.writing {
		if c.written == nil {
			c.written = make(chan struct{})
		}
		written := c.written
		c.mu.Unlock()
		<-written
		c.mu.Lock()
	}
	c.mu.Unlock()
}

// writeOn writes until nothing waits any more, waiting for the socket. Where that takes nothing for the write timeout, the connection
// is closed as too slow; its client then has slowWait to take what is begun and to come to the close frame behind it, which may not
// stand in the middle of another frame.
func (c *Conn) writeOn() {
	w := writers.Get().(*writer)
	defer writers.Put(w)
	timeout := c.hub.Settings().WriteTimeout
	stalled := time.AfterFunc(timeout, func() {
		if c.giveUp("too slow: nothing was taken within the write timeout") {
			c.hub.stats.slow.Add(1)
		}
	})
	defer stalled.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if len(c.rest) > 0 {
			w.out, c.rest = c.rest, nil
		} else if !c.gatherLocked(w) {
			c.wroteLocked()
			return
		}
		for len(w.out) > 0 {
			c.mu.Unlock()
			n, err := w.wait(c)
			stalled.Reset(timeout)
			c.mu.Lock()
			c.sentB += uint64(n)
			w.out = w.out[n:]
			if err != nil {
				w.out = nil
				c.wroteLocked()
				c.mu.Unlock()
				c.cutSocket()
				c.mu.Lock()
				return
			}
		}
	}
}

// maxRecord is what a TLS record holds.
const maxRecord = 16 << 10

// wait writes the beginning of w.out, as much as the socket takes once it takes something.
func (w *writer) wait(c *Conn) (int, error) {
	if c.raw == nil {
		return c.socket.Write(w.out[:min(len(w.out), maxRecord)])
	}
	w.n, w.err = 0, nil
	err := c.raw.Write(func(fd uintptr) bool {
		w.n, w.err = syscall.Write(int(fd), w.out)
		return w.n > 0 || w.err != nil && !errors.Is(w.err, syscall.EAGAIN) && !errors.Is(w.err, syscall.EINTR)
	})
	if err != nil {
		return 0, err
	}
	return max(w.n, 0), w.err
}

func (c *Conn) waitingLocked() bool {
	return len(c.rest) > 0 || len(c.controls) > 0 || c.queue.Len() > 0 || c.lane.Len() > 0 || c.lastFrame != nil
}

// put adds a framed message to what is to be written: as it is, or as another line of the one frame that w.buf becomes.
func (w *writer) put(framed []byte, lines bool) {
	if !lines {
		w.buf = append(w.buf, framed...)
		return
	}
	if len(w.buf) > maxHeader {
		w.buf = append(w.buf, '\n')
	}
	w.buf = append(w.buf, payload(framed)...)
}

// gatherLocked takes what is to be written next into w.out: control frames, then messages and replies in their order, then what
// query streams have, then the close frame. It tells whether there is anything.
func (c *Conn) gatherLocked(w *writer) bool {
	if w.buf == nil {
		w.buf = make([]byte, 0, keepWrite)
	}
	w.buf = w.buf[:0]
	if len(c.controls) > 0 {
		w.buf = append(w.buf, c.controls...)
		c.controls, c.pong = nil, false
		if c.lines {
			// The frame of lines is made around what follows.
			w.out = w.buf
			return true
		}
	}
	start := 0
	if c.lines {
		start = maxHeader
		w.buf = w.buf[:maxHeader]
	}
	before := c.queue.Bytes() + c.lane.Bytes()
	large := c.gatherMessagesLocked(w, start)
	c.gatheredLocked(before)
	if large {
		return true
	}
	from := start
	if c.lines && len(w.buf) > maxHeader {
		from = putHeader(w.buf)
	}
	if c.lastFrame != nil && c.queue.Len() == 0 && c.lane.Len() == 0 {
		w.buf = append(w.buf, c.lastFrame...)
		c.lastFrame = nil
	}
	w.out = w.buf[from:]
	if cap(w.buf) > 4*maxWrite {
		w.buf = nil
	}
	return len(w.out) > 0
}

// gatherMessagesLocked takes messages into w.buf, in which they begin at start. It tells whether it has put a large one into w.out
// instead: those are shared by all receivers and not copied.
func (c *Conn) gatherMessagesLocked(w *writer, start int) (large bool) {
	for len(w.buf) < maxWrite {
		item, gap := c.queue.Pop()
		var framed []byte
		is := kindStream
		switch {
		case gap != nil:
			framed, is = frame(protocol.AppendGap(nil, protocol.Gap(*gap))), kindGap
			c.hub.stats.gap(gap.Reason)
		case item != nil:
			framed, is = item.Bytes, kindOf(item)
		default:
			if framed = c.lane.Pop(); framed == nil {
				return false
			}
		}
		c.sent[is]++
		if len(w.buf) == start && len(framed) >= maxWrite {
			w.out = framed
			return true
		}
		w.put(framed, c.lines)
	}
	return false
}

// gatheredLocked tells those who waited for the queue to drain.
func (c *Conn) gatheredLocked(before int) {
	c.hub.queued.Add(int64(c.queue.Bytes() + c.lane.Bytes() - before))
	if c.replyRoom != nil && c.queue.ReplyBytes() < maxReplyBytes/2 {
		c.letRequestsLocked()
	}
	if c.starving && c.queue.Len() == 0 && !c.closing {
		c.starving = false
		c.shard.post(letter{command: func() { c.shard.catchUp(c) }})
	}
}
