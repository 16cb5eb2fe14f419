package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// session is one connection. Three goroutines serve it besides run's, which reads: they end with it and are waited for.
type session struct {
	// Static.
	c       *Client
	ws      *websocket.Conn
	ndjson  bool
	welcome *message
	early   []*message      // came in one frame with the welcome
	ctx     context.Context // ends with the connection
	cancel  context.CancelFunc
	out     outbox
	pace    pace
	ended   chan struct{} // is closed once nothing more will be answered
	heard   atomic.Int64  // when the last bytes came, Unix nanoseconds
	silent  atomic.Bool   // it was ended for ErrSilent

	// Guarded by c.mu.
	pending   map[uint64]handler
	streams   map[string]stream // that run on this connection, by their id
	timers    map[*time.Timer]struct{}
	epoch     string // the hub's
	mark      uint64 // see recordPositionsLocked
	credits   credits
	goingAway *message // the server's `reconnect`
}

// handler takes an answer to a request, and tells whether that was the last. It is called with c.mu held.
type handler func(*message) (last bool)

func newSession(c *Client) *session {
	s := &session{
		c: c, ended: make(chan struct{}), pending: make(map[uint64]handler), streams: make(map[string]stream),
		timers: make(map[*time.Timer]struct{}), out: newOutbox(), pace: newPace(), credits: credits{every: creditEvery},
	}
	// Not of the Client's context: closing takes a moment more, see leave.
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.hear()
	return s
}

// state is that of a Client with this connection.
func (s *session) state() State {
	return State{Status: Connected, ConnectionID: s.welcome.ConnectionID, User: s.welcome.User}
}

// serve reads until the connection ends, which is the error.
func (s *session) serve() error {
	var helpers sync.WaitGroup
	for _, help := range []func(){s.write, s.watchHeart, s.renew, s.leave} {
		helpers.Go(help)
	}
	err := s.read()
	s.cancel()
	_ = s.ws.CloseNow() // it is closed, or shall be
	helpers.Wait()
	return err
}

// goodbyeTime is how long the server may take to answer the closing of a connection.
const goodbyeTime = time.Second

// leave closes the connection in order when the Client ends.
func (s *session) leave() {
	select {
	case <-s.ctx.Done():
	case <-s.c.ctx.Done():
		late := time.AfterFunc(goodbyeTime, s.cancel)
		defer late.Stop()
		_ = s.ws.Close(websocket.StatusNormalClosure, "")
	}
}

// closeError adds to an error what was known of the connection.
func (s *session) closeError(err error) error {
	if s.silent.Load() {
		err = ErrSilent
	}
	if s.goingAway != nil {
		return &goodbye{after: min(time.Duration(s.goingAway.AfterMS)*time.Millisecond, maxRetryAfter), err: err}
	}
	return err
}

func (s *session) read() error {
	for _, m := range s.early {
		if err := s.take(m); err != nil {
			return err
		}
	}
	s.early = nil
	for {
		frame, err := s.readFrame(s.ctx)
		if err != nil {
			return s.readError(err)
		}
		if err := lines(frame, s.takeLine); err != nil {
			return err
		}
	}
}

// readFrame reads a message of the WebSocket, and notes each part of it that comes: a large one on a slow line is no silence.
func (s *session) readFrame(ctx context.Context) ([]byte, error) {
	kind, r, err := s.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageText {
		return nil, fmt.Errorf("%w: a binary frame", ErrProtocol)
	}
	return readAll(r, s.hear)
}

func (s *session) takeLine(line []byte) error {
	m, err := decode(line)
	if err != nil {
		return err
	}
	return s.take(m)
}

// take handles one message. An error ends the connection: what cannot be understood might be a message that is then lost unnoticed.
func (s *session) take(m *message) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	switch m.Type {
	case "channel_message":
		s.c.deliverLocked(s, m)
	case "gap":
		s.c.tellGapLocked(s, m)
	case "presence_join", "presence_leave":
		s.c.tellPresenceLocked(s, m)
	case "query_batch", "query_progress", "query_completed", "query_cancelled", "query_ready", "query_change", "query_reset":
		// A stream that was given up may go on for a moment: nobody wants that any more.
		if st := s.streams[m.StreamID]; st != nil {
			return st.takeLocked(s, m)
		}
	case "reconnect":
		s.goingAway = m
	case "error":
		return s.takeErrorLocked(m)
	default:
		s.answerLocked(m)
	}
	return nil
}

// answerLocked gives an answer to whoever asked; what nobody asked for, or this version does not know, is let go.
func (s *session) answerLocked(m *message) bool {
	n, ok := m.number()
	if !ok {
		return false
	}
	handle := s.pending[n]
	if handle == nil {
		return false
	}
	if handle(m) {
		delete(s.pending, n)
	}
	return true
}

func (s *session) takeErrorLocked(m *message) error {
	if s.answerLocked(m) {
		return nil
	}
	if streamID, batches, ok := m.refusedCredit(); ok {
		s.refusedCreditLocked(streamID, batches, m.err())
		return nil
	}
	if st := s.streams[m.StreamID]; st != nil {
		return st.takeLocked(s, m)
	}
	if m.Channel != "" {
		s.c.revokeLocked(s, m)
	}
	return nil
}

// postLocked sends a request whose answers go to handle; nil where there are none.
func (s *session) postLocked(r *request, handle handler) error {
	if handle != nil {
		id := s.c.newIDLocked()
		r.ID = id
		s.pending[id] = handle
	}
	text, err := r.encode()
	if err == nil && s.welcome.MaxBytes > 0 && len(text) > s.welcome.MaxBytes {
		// The server would close the connection.
		err = fmt.Errorf("%w: a %s of %d bytes, the server takes %d", ErrTooLarge, r.Type, len(text), s.welcome.MaxBytes)
	}
	if err != nil {
		if id, ok := r.ID.(uint64); ok {
			delete(s.pending, id)
		}
		return err
	}
	s.out.put(text)
	return nil
}

// ask sends a request and waits for its answer; again where the server has refused it for the rate. Its error is an *Error, errLost, or why ctx
// ended.
func (s *session) ask(ctx context.Context, r *request) (*message, error) {
	for {
		m, err := s.askOnce(ctx, r)
		if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Code != protocol.RateLimited {
			return m, err
		}
	}
}

func (s *session) askOnce(ctx context.Context, r *request) (*message, error) {
	turn, err := s.pace.begin(ctx, s.ended)
	if err != nil {
		return nil, err
	}
	defer turn.end()
	if err := s.out.wait(ctx, s.ended); err != nil {
		return nil, err
	}
	answers := make(chan *message, 1)
	s.c.mu.Lock()
	if s.hasEnded() {
		s.c.mu.Unlock()
		return nil, errUnsent
	}
	err = s.postLocked(r, func(m *message) bool { answers <- m; return true })
	s.c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var m *message
	select {
	case m = <-answers:
	case <-s.ended:
		select { // it may have come before
		case m = <-answers:
		default:
			return nil, errLost
		}
	case <-ctx.Done():
		s.c.mu.Lock()
		delete(s.pending, r.ID.(uint64))
		s.c.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	if m.Type == "error" {
		if m.Code == protocol.RateLimited {
			turn.limited(m.err().RetryAfter)
		}
		return nil, s.refusal(ctx, m.err())
	}
	return m, nil
}

// refusal is what an error of the server means: one that has said that it goes away refuses what the next may not.
func (s *session) refusal(ctx context.Context, e *Error) error {
	s.c.mu.Lock()
	away := s.goingAway != nil
	s.c.mu.Unlock()
	if !away || e.Code != protocol.Internal {
		return e
	}
	select {
	case <-s.ended:
		return errLost
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var (
	// errLost says that the connection ended before the answer.
	errLost = errors.New("client: the connection was lost")
	// errUnsent says that it ended before the request was sent.
	errUnsent = fmt.Errorf("%w before", errLost)
)

// hasEnded reports whether the connection has ended.
func (s *session) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// laterLocked calls f, with c.mu held, after a time, unless the connection ends before.
func (s *session) laterLocked(d time.Duration, f func()) {
	var timer *time.Timer
	timer = time.AfterFunc(max(d, 10*time.Millisecond), func() {
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		if _, armed := s.timers[timer]; !armed {
			return
		}
		delete(s.timers, timer)
		f()
	})
	s.timers[timer] = struct{}{}
}

func (s *session) stopTimersLocked() {
	for timer := range s.timers {
		timer.Stop()
	}
	clear(s.timers)
}
