package hub

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Sizes of the buffers given to the WebSocket library. It reads frame headers and small messages through the first; through the
// second it writes only control frames, the largest of which fits, so that each is one Write.
const (
	readBuffer  = 512
	writeBuffer = 128
)

// socket is what the WebSocket library takes for the client's connection. Reads go through to it. Writes are control frames, which
// take their place among the frames that the hub writes itself.
type socket struct {
	*Conn
	early []byte // what net/http had read beyond the request
}

// Read reads from the client until a close frame is on its way to it. Any bytes count as life.
func (s *socket) Read(p []byte) (n int, err error) {
	if len(s.early) > 0 {
		n = copy(p, s.early)
		s.early = s.early[n:]
	} else {
		s.early = nil
		s.handled()
		if s.isClosing() {
			return 0, errClosing
		}
		n, err = s.readSocket(p)
	}
	if n > 0 {
		now := time.Now().UnixNano()
		s.lastRead.Store(now)
		s.receivedB.Add(uint64(n))
		ended := s.frames.feed(p[:n])
		s.judgeFrames()
		s.noteBegun(now, ended)
	}
	return n, err
}

// judgeFrames closes the connection of a client whose frames cannot be read, with a code that says why. The library would cut it
// without, or wait for all that a header announces.
func (c *Conn) judgeFrames() {
	largest := c.frames.largest
	c.frames.largest = 0 // what was judged once is not held against a limit that came later
	switch {
	case c.frames.broken:
		c.Close(protocol.CloseProtocolError, "a frame against RFC 6455")
	case largest > uint64(c.hub.Settings().MaxMessageSize):
		c.Close(protocol.CloseTooBig, "the message is too large")
	}
}

// readSocket reads from the socket itself. Where the connection may park, it does not wait for bytes but gives errParked.
func (c *Conn) readSocket(p []byte) (int, error) {
	if c.poller == nil {
		return c.socket.Read(p)
	}
	mayPark := !c.settled && !c.inMessage && c.frames.between()
	for {
		n, err := readRaw(c.raw, p, !mayPark || c.heard.Load() && !c.hub.parkAtOnce)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The shard asks to park.
			_ = c.socket.SetReadDeadline(time.Time{})
		case n == 0 && err == nil:
			return 0, io.EOF
		default:
			return n, err
		}
	}
}

// Write takes one control frame from the library: the answer to a ping or a close frame.
func (s *socket) Write(p []byte) (int, error) {
	if len(p) < 2 {
		return len(p), nil
	}
	if p[0]&0x0f == opClose {
		code, reason := closeNoStatus, ""
		if len(p) >= 4 {
			code, reason = protocol.CloseCode(binary.BigEndian.Uint16(p[2:])), string(p[4:])
		}
		if !utf8.ValidString(reason) {
			// The library would echo it.
			s.Conn.Close(protocol.CloseInvalidPayload, "the reason of a close frame is not UTF-8")
			return len(p), nil
		}
		s.closeWith(code, reason, append([]byte(nil), p...))
		return len(p), nil
	}
	s.mu.Lock()
	// RFC 6455, 5.5.3: only the most recent ping needs an answer.
	if !s.closing && !s.pong {
		s.controls = append(s.controls, p...)
		s.pong = true
	}
	s.mu.Unlock()
	s.flushNow()
	return len(p), nil
}

// Close is called by the library when the closing handshake is done. The answer to the client's close frame may still be on its
// way; end cuts the socket behind it.
func (s *socket) Close() error { return nil }

func (s *socket) LocalAddr() net.Addr                { return s.socket.LocalAddr() }
func (s *socket) RemoteAddr() net.Addr               { return s.socket.RemoteAddr() }
func (s *socket) SetDeadline(t time.Time) error      { return s.socket.SetDeadline(t) }
func (s *socket) SetReadDeadline(t time.Time) error  { return s.socket.SetReadDeadline(t) }
func (s *socket) SetWriteDeadline(t time.Time) error { return s.socket.SetWriteDeadline(t) }

// hijacker is the ResponseWriter given to the WebSocket library. Its Hijack puts our socket with small buffers in the place of
// net/http's, so that an idle connection holds hundreds of bytes in buffers and not eight thousand.
type hijacker struct {
	http.ResponseWriter
	conn    *Conn
	connect *http.Request // the extended CONNECT that opens a tunnel; nil for an upgrade
}

// innermost goes through the writers that middleware has put around net/http's own and gives that. Caddy's recorders would wrap the
// connection as well: that would hide the socket, and keep the whole request in memory for as long as the connection lives.
func innermost(w http.ResponseWriter) *http.ResponseController {
	at := unwrapped(w)
	if _, ok := at.(http.Hijacker); !ok {
		at = w
	}
	return http.NewResponseController(at)
}

// WriteHeader implements http.ResponseWriter. The header of an upgrade has no place in the answer to a CONNECT, which opens the
// tunnel with 200.
func (h *hijacker) WriteHeader(status int) {
	if h.connect != nil {
		for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Accept"} {
			h.Header().Del(name)
		}
		if status == http.StatusSwitchingProtocols {
			return // Hijack is to come
		}
	}
	h.ResponseWriter.WriteHeader(status)
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	s := &socket{Conn: h.conn}
	if h.connect != nil {
		t, err := openTunnel(h.ResponseWriter, h.connect)
		if err != nil {
			return nil, nil, err
		}
		h.conn.socket = t
	} else {
		nc, rw, err := innermost(h.ResponseWriter).Hijack()
		if err != nil {
			return nil, nil, err
		}
		_ = nc.SetDeadline(time.Time{})
		h.conn.socket = nc
		h.conn.findRaw()
		if n := rw.Reader.Buffered(); n > 0 {
			early, _ := rw.Peek(n)
			s.early = append([]byte(nil), early...)
		}
	}
	return s, bufio.NewReadWriter(bufio.NewReaderSize(s, readBuffer), bufio.NewWriterSize(s, writeBuffer)), nil
}

// findRaw finds the file of a plain socket.
func (c *Conn) findRaw() {
	if sc, ok := c.socket.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
			c.poller = c.hub.openPoller()
		}
	}
}
