package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// rawServer is the floor: what a broadcast costs when nothing is done but writing. A frame is built once, and one goroutine writes
// it to one socket after the other, waiting where a socket is full. Nothing bounds, times or protects anything.
type rawServer struct {
	listener  net.Listener
	publishes chan request
	wg        sync.WaitGroup

	mu       sync.Mutex
	channels map[string][]*rawConn
}

type rawConn struct {
	net.Conn
	fd int // for writes without the network poller; used only while the connection is subscribed
}

func startRaw(address string) (stop func() error, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &rawServer{listener: listener, publishes: make(chan request, 1024), channels: make(map[string][]*rawConn)}
	ctx, cancel := context.WithCancel(context.Background())
	s.wg.Go(func() { s.accept(ctx) })
	s.wg.Go(func() { s.write(ctx) })
	return func() error {
		cancel()
		err := listener.Close()
		s.wg.Wait()
		return err
	}, nil
}

func (s *rawServer) accept(ctx context.Context) {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		s.wg.Go(func() {
			c := &rawConn{Conn: conn}
			ended := context.AfterFunc(ctx, func() { c.Close() })
			_ = s.serve(ctx, c)
			s.remove(c)
			c.Close()
			ended()
		})
	}
}

// write is the one goroutine that writes messages.
func (s *rawServer) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-s.publishes:
			frame := appendFrame(nil, opText, channelMessage(p.Channel, p.Data), false)
			s.mu.Lock()
			for _, c := range s.channels[p.Channel] {
				c.writeNow(frame)
			}
			s.mu.Unlock()
		}
	}
}

// writeNow writes by the plainest of means, and waits only for the rest. A connection that fails is removed by its reader.
func (c *rawConn) writeNow(frame []byte) {
	n, err := syscall.Write(c.fd, frame)
	if n == len(frame) || err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR) {
		return
	}
	_, _ = c.Write(frame[max(n, 0):])
}

func (s *rawServer) serve(ctx context.Context, c *rawConn) error {
	control, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	if err := control.Control(func(fd uintptr) { c.fd = int(fd) }); err != nil {
		return err
	}
	f := &framer{conn: c, buf: make([]byte, 512)}
	if err := upgrade(f); err != nil {
		return err
	}
	var encoded encodedStream
	for {
		op, payload, err := f.next()
		if err != nil || op == opClose {
			return err
		}
		if op != opText {
			continue
		}
		var r request
		if err := json.Unmarshal(payload, &r); err != nil {
			return err
		}
		var reply []byte
		switch r.Type {
		case "publish":
			select {
			case s.publishes <- r:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		case "stream_query":
			if err := encoded.send(c, r.Params.N); err != nil {
				return err
			}
			continue
		case "subscribe":
			reply = subscribed(r.Channel)
			s.subscribe(c, r.Channel)
		case "unsubscribe":
			reply = unsubscribed(r.Channel)
			s.unsubscribe(c, r.Channel)
		default:
			return fmt.Errorf("a request %q", r.Type)
		}
		if _, err := c.Write(appendFrame(nil, opText, reply, false)); err != nil {
			return err
		}
	}
}

// encodedStream is the floor of a query stream: all its frames are encoded before, by the first request for so many rows.
type encodedStream struct {
	rows   int64
	frames []byte
}

func (s *encodedStream) send(c *rawConn, rows int64) error {
	if s.rows != rows {
		s.rows, s.frames = rows, appendBatches(nil, theStream, rows)
		done := protocol.QueryCompleted{StreamID: theStream, Rows: rows, Batches: batches(rows)}
		s.frames = appendFrame(s.frames, opText, protocol.AppendQueryCompleted(nil, done), false)
	}
	_, err := c.Write(s.frames)
	return err
}

// upgrade does the WebSocket handshake by hand.
func upgrade(f *framer) error {
	head, err := f.head()
	if err != nil {
		return err
	}
	const name = "\r\nSec-WebSocket-Key: "
	_, key, found := bytes.Cut(head, []byte(name))
	key, _, complete := bytes.Cut(key, []byte("\r\n"))
	if !found || !complete {
		return errors.New("not a WebSocket handshake")
	}
	sum := sha1.Sum(append(key[:len(key):len(key)], "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	_, err = fmt.Fprintf(f.conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	return err
}

func (s *rawServer) subscribe(c *rawConn, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels[channel] = append(s.channels[channel], c)
}

func (s *rawServer) unsubscribe(c *rawConn, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(c, channel)
}

func (s *rawServer) removeLocked(c *rawConn, channel string) {
	subscribers := s.channels[channel]
	for i := range subscribers {
		if subscribers[i] == c {
			subscribers[i] = subscribers[len(subscribers)-1]
			subscribers = subscribers[:len(subscribers)-1]
			break
		}
	}
	if len(subscribers) == 0 {
		delete(s.channels, channel)
		return
	}
	s.channels[channel] = subscribers
}

// remove forgets a connection before its descriptor may become another's.
func (s *rawServer) remove(c *rawConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for channel := range s.channels {
		s.removeLocked(c, channel)
	}
}
