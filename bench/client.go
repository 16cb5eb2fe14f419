package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// client is a connection made by hand: it must cost little, since it shares the machine with the server that is measured.
type client struct {
	framer
	out []byte
}

// dial connects and upgrades, without subprotocol and hence without a welcome. segment, if not 0, is the size of the segments
// that the connection may use; small ones keep the kernel's buffers small.
func dial(ctx context.Context, p *process, segment int) (*client, error) {
	dialer := new(net.Dialer)
	if segment > 0 {
		dialer.Control = smallBuffers(segment)
	}
	conn, err := dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	// A reset leaves no port behind that waits for late segments.
	_ = conn.(*net.TCPConn).SetLinger(0)
	if deadline, set := ctx.Deadline(); set {
		_ = conn.SetDeadline(deadline)
	}
	if p.tls != nil {
		conn = tls.Client(conn, p.tls)
	}
	c := &client{framer: framer{conn: conn, buf: make([]byte, 4<<10)}}
	if err := c.upgrade(p.address); err != nil {
		conn.Close()
		return nil, fmt.Errorf("upgrading: %w", err)
	}
	return c, nil
}

func smallBuffers(segment int) func(network, address string, conn syscall.RawConn) error {
	return func(_, _ string, conn syscall.RawConn) error {
		var failed error
		err := conn.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
			if failed == nil {
				failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, segment)
			}
		})
		if err != nil {
			return err
		}
		return failed
	}
}

func (c *client) upgrade(host string) error {
	_, err := fmt.Fprintf(c.conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", host)
	if err != nil {
		return err
	}
	head, err := c.head()
	if err != nil {
		return err
	}
	if status, _, _ := strings.Cut(string(head), "\r\n"); !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		return fmt.Errorf("the server said %s", status)
	}
	return nil
}

// send sends a message.
func (c *client) send(msg []byte) error {
	c.out = appendFrame(c.out[:0], opText, msg, true)
	_, err := c.conn.Write(c.out)
	return err
}

// message takes a message, valid until the next call, and answers pings on the way.
func (c *client) message() ([]byte, error) {
	for {
		op, payload, err := c.next()
		switch {
		case err != nil:
			return nil, err
		case op == opText:
			return payload, nil
		case op == opPing:
			if _, err := c.conn.Write(appendFrame(nil, opPong, payload, true)); err != nil {
				return nil, err
			}
		case op == opClose && len(payload) >= 2:
			return nil, fmt.Errorf("the server closed with %d %s", binary.BigEndian.Uint16(payload), payload[2:])
		default:
			return nil, fmt.Errorf("a frame with opcode %#x", op)
		}
	}
}

// expect takes a message that must be of this type.
func (c *client) expect(typ string) error {
	msg, err := c.message()
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", typ, err)
	}
	if !isType(msg, typ) {
		return fmt.Errorf("waiting for %s: got %s", typ, msg)
	}
	return nil
}

// isType tells whether a message is of a type, which all servers write first.
func isType(msg []byte, typ string) bool {
	rest, found := bytes.CutPrefix(msg, []byte(`{"type":"`))
	return found && len(rest) > len(typ) && string(rest[:len(typ)]) == typ && rest[len(typ)] == '"'
}

// subscribe subscribes to a channel.
func (c *client) subscribe(channel string) error {
	if err := c.send([]byte(`{"type":"subscribe","channel":"` + channel + `"}`)); err != nil {
		return err
	}
	return c.expect("subscription_confirmed")
}

func (c *client) close() { c.conn.Close() }
