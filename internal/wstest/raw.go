package wstest

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
)

// The opcodes of frames.
const (
	OpContinuation = 0x0
	OpText         = 0x1
	OpBinary       = 0x2
	OpClose        = 0x8
	OpPing         = 0x9
	OpPong         = 0xA
)

// Fin marks the last frame of a message.
const Fin = 0x80

// Raw is a connection without any library: it sends what it is told to and answers nothing by itself.
type Raw struct {
	*net.TCPConn
	Response *http.Response

	t testing.TB
	r *bufio.Reader
}

// Handshake is an upgrade request; extra are further header lines, and what stands behind the head.
func Handshake(host, path string, extra ...string) string {
	lines := append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + host, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
	}, extra...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// DialRaw opens a socket and sends an opening, such as a Handshake; it takes the head of the answer. buffer is the size of the
// socket's read buffer in the kernel; 0 leaves it to the system.
func DialRaw(t testing.TB, address, opening string, buffer int) *Raw {
	t.Helper()
	raw, err := dialRaw(t, address, opening, buffer)
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	return raw
}

func dialRaw(t testing.TB, address, opening string, buffer int) (*Raw, error) {
	dialer := net.Dialer{Timeout: wait.Limit}
	if buffer > 0 {
		dialer.Control = smallBuffer(buffer)
	}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(wait.Limit))
	raw := &Raw{TCPConn: conn.(*net.TCPConn), t: t, r: bufio.NewReader(conn)}
	if _, err := conn.Write([]byte(opening)); err != nil {
		return nil, fmt.Errorf("sending the opening: %w", err)
	}
	if raw.Response, err = http.ReadResponse(raw.r, nil); errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF // what http.ReadResponse makes of it
	}
	return raw, err
}

// Frame is a client's frame, masked with zeros.
func Frame(head byte, payload string) []byte {
	buf := []byte{head}
	switch n := len(payload); {
	case n < 126:
		buf = append(buf, 0x80|byte(n))
	case n < 1<<16:
		buf = binary.BigEndian.AppendUint16(append(buf, 0x80|126), uint16(n))
	default:
		buf = binary.BigEndian.AppendUint64(append(buf, 0x80|127), uint64(n))
	}
	return append(append(buf, 0, 0, 0, 0), payload...)
}

// Bytes sends just these.
func (r *Raw) Bytes(b []byte) {
	r.t.Helper()
	if _, err := r.Write(b); err != nil {
		r.t.Fatalf("sending: %v", err)
	}
}

// Text sends a text message in one frame.
func (r *Raw) Text(msg string) { r.t.Helper(); r.Bytes(Frame(Fin|OpText, msg)) }

// ReadFrame takes one frame.
func (r *Raw) ReadFrame() (op byte, payload []byte, err error) {
	_ = r.SetReadDeadline(time.Now().Add(wait.Limit))
	return readFrame(r.r)
}

func readFrame(r io.Reader) (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	var wide [8]byte
	switch n {
	case 126:
		_, err = io.ReadFull(r, wide[6:])
		n = binary.BigEndian.Uint64(wide[:])
	case 127:
		_, err = io.ReadFull(r, wide[:])
		n = binary.BigEndian.Uint64(wide[:])
	}
	if err != nil {
		return 0, nil, err
	}
	if head[0]&Fin == 0 || head[0]&0x70 != 0 || n > 64<<20 {
		return 0, nil, fmt.Errorf("frame with the head %x %x", head[0], head[1])
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[0] & 0x0f, payload, err
}

// Next takes frames up to the next text message; pings on the way are not answered.
func (r *Raw) Next() Message {
	r.t.Helper()
	for {
		op, payload, err := r.ReadFrame()
		switch {
		case err != nil:
			r.t.Fatalf("reading: %v", err)
		case op == OpClose:
			r.t.Fatalf("closed: %x %s", payload[:2], payload[2:])
		case op == OpText:
			var m Message
			if err := json.Unmarshal(payload, &m); err != nil {
				r.t.Fatalf("%q: %v", payload, err)
			}
			return m
		}
	}
}

// CloseCode takes frames until the server's close frame, which it does not answer, and gives its code.
func (r *Raw) CloseCode() int {
	r.t.Helper()
	for {
		op, payload, err := r.ReadFrame()
		if err != nil {
			r.t.Fatalf("reading up to the close frame: %v", err)
		}
		if op == OpClose && len(payload) >= 2 {
			return int(binary.BigEndian.Uint16(payload))
		}
	}
}

// Gone reads until the server has closed the connection.
func (r *Raw) Gone() {
	r.t.Helper()
	for {
		_, _, err := r.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.t.Fatal("the server keeps the connection")
		}
		if err != nil {
			return
		}
	}
}
