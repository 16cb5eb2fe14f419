package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	naiveQueue    = 256         // messages
	naivePatience = time.Second // how long a publisher waits for room in a queue
)

// naiveServer is what one would write first: two goroutines and a queue for every connection. Who publishes waits for room in a
// full queue, for a while, and then has that connection closed.
type naiveServer struct {
	mu       sync.RWMutex
	channels map[string]map[*naiveConn]bool
}

type naiveConn struct {
	socket *websocket.Conn
	queue  chan []byte
}

func startNaive(address string) (stop func() error, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &naiveServer{channels: make(map[string]map[*naiveConn]bool)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wg.Add(1)
		defer wg.Done()
		_ = s.serve(ctx, w, r)
	})}
	wg.Go(func() { _ = server.Serve(listener) })
	return func() error {
		cancel()
		err := server.Close()
		wg.Wait()
		return err
	}, nil
}

func (s *naiveServer) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return err
	}
	defer func() { _ = socket.CloseNow() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &naiveConn{socket: socket, queue: make(chan []byte, naiveQueue)}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer cancel()
		for {
			select {
			case <-ctx.Done():
				return
			case msg := <-c.queue:
				if socket.Write(ctx, websocket.MessageText, msg) != nil {
					return
				}
			}
		}
	})
	defer s.remove(c)
	defer cancel()
	for {
		_, payload, err := socket.Read(ctx)
		if err != nil {
			return err
		}
		if err := s.handle(ctx, c, payload); err != nil {
			return err
		}
	}
}

func (s *naiveServer) handle(ctx context.Context, c *naiveConn, payload []byte) error {
	var r request
	if err := json.Unmarshal(payload, &r); err != nil {
		return err
	}
	var reply []byte
	switch r.Type {
	case "publish":
		s.publish(ctx, channelMessage(r.Channel, r.Data), r.Channel)
		return nil
	case "subscribe":
		reply = subscribed(r.Channel)
		s.subscribe(c, r.Channel)
	case "unsubscribe":
		reply = unsubscribed(r.Channel)
		s.unsubscribe(c, r.Channel)
	default:
		return fmt.Errorf("a request %q", r.Type)
	}
	return c.send(ctx, reply)
}

func (s *naiveServer) publish(ctx context.Context, msg []byte, channel string) {
	var slow []*naiveConn
	s.mu.RLock()
	for c := range s.channels[channel] {
		if c.send(ctx, msg) != nil {
			slow = append(slow, c)
		}
	}
	s.mu.RUnlock()
	for _, c := range slow {
		s.remove(c)
		_ = c.socket.CloseNow()
	}
}

var errSlow = errors.New("too slow")

func (c *naiveConn) send(ctx context.Context, msg []byte) error {
	select {
	case c.queue <- msg:
		return nil
	default:
	}
	patience := time.NewTimer(naivePatience)
	defer patience.Stop()
	select {
	case c.queue <- msg:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-patience.C:
		return errSlow
	}
}

func (s *naiveServer) subscribe(c *naiveConn, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.channels[channel] == nil {
		s.channels[channel] = make(map[*naiveConn]bool)
	}
	s.channels[channel][c] = true
}

func (s *naiveServer) unsubscribe(c *naiveConn, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(c, channel)
}

func (s *naiveServer) removeLocked(c *naiveConn, channel string) {
	delete(s.channels[channel], c)
	if len(s.channels[channel]) == 0 {
		delete(s.channels, channel)
	}
}

func (s *naiveServer) remove(c *naiveConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for channel := range s.channels {
		s.removeLocked(c, channel)
	}
}
