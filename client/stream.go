package client

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// stream is what Rows and Live have in common: a request that is answered by many messages with a stream_id, over more than one connection
// if need be. Its methods are called with c.mu held, but for finish.
type stream interface {
	// requestLocked is how it begins, or goes on.
	requestLocked() request
	// startedLocked takes query_started.
	startedLocked(m *message)
	// takeLocked takes any other message. An error is against the protocol and ends the connection.
	takeLocked(s *session, m *message) error
	// refusedLocked takes a refusal of the request.
	refusedLocked(s *session, refusal *Error)
	// lostLocked notes that the connection is lost.
	lostLocked()
	// finish ends it; only the first call counts.
	finish(err error)
}

// startLocked begins a stream on a connection, or goes on with it.
func (c *Client) startLocked(s *session, st stream) {
	r := st.requestLocked()
	err := s.postLocked(&r, func(m *message) bool {
		kept := slices.Contains(c.streams, st)
		switch {
		case m.Type == "query_started" && kept:
			s.streams[m.StreamID] = st
			st.startedLocked(m)
			s.grantLocked() // what was done with since the request, which could not know of it
		case m.Type == "query_started":
			s.cancelLocked(m.StreamID) // nobody waits for it any more
		case kept:
			st.refusedLocked(s, m.err())
		}
		return true
	})
	if err != nil {
		c.endLocked(st, err)
	}
}

// addStream begins a stream, on the present connection or the next.
func (c *Client) addStream(ctx context.Context, st stream) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.Err(); err != nil {
		return err
	}
	c.streams = append(c.streams, st)
	if c.session != nil {
		c.startLocked(c.session, st)
	}
	return nil
}

// dropStream ends a stream, here and on the server.
func (c *Client) dropStream(st stream, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropStreamLocked(st, err)
}

func (c *Client) dropStreamLocked(st stream, err error) {
	if s := c.session; s != nil {
		for id, running := range s.streams {
			if running == st {
				s.cancelLocked(id)
			}
		}
	}
	c.endLocked(st, err)
}

// endLocked ends a stream that the server has ended.
func (c *Client) endLocked(st stream, err error) {
	st.finish(err)
	c.streams = slices.DeleteFunc(c.streams, func(other stream) bool { return other == st })
	if c.session != nil {
		for id, running := range c.session.streams {
			if running == st {
				delete(c.session.streams, id)
			}
		}
	}
}

// cancelLocked has the server end a stream. Its answer, also that it has ended already, is of no interest.
func (s *session) cancelLocked(streamID string) {
	delete(s.streams, streamID)
	_ = s.postLocked(&request{Type: "cancel_query", StreamID: streamID}, func(m *message) bool {
		if m.Type == "error" && retryable(m.err()) {
			s.laterLocked(m.err().RetryAfter, func() { s.cancelLocked(streamID) })
		}
		return true
	})
}

// restartLocked tries again what was refused for the moment.
func (c *Client) restartLocked(s *session, st stream, refusal *Error) {
	wait := refusal.RetryAfter
	if wait == 0 {
		wait = retryTime
	}
	s.laterLocked(wait, func() {
		if slices.Contains(c.streams, st) {
			c.startLocked(s, st)
		}
	})
}

// byOperator is the reason of a query_cancelled that is meant for this client.
const byOperator = "operator"

// maxTakeovers is how often in a row a stream may be taken away without having got any further.
const maxTakeovers = 3

// takeovers counts how often a stream was cancelled that nobody here wanted to be.
type takeovers struct {
	n      int
	reason string // of the last; empty once something has come since
}

// cancelledLocked takes a query_cancelled that this client did not ask for. A server that sends its clients away cancels what they have under
// way: that goes on on the next connection, if the server there knows of it. And a server that has not noticed that an earlier connection
// is gone may read from it only now that the stream is to go on there, and so take it away from this one: here it is asked for again. Where
// that is refused it was cancelled indeed.
func (c *Client) cancelledLocked(s *session, st stream, m *message, t *takeovers) {
	delete(s.streams, m.StreamID)
	if s.goingAway != nil {
		return
	}
	if t.n++; m.Reason == byOperator || t.n > maxTakeovers {
		c.endLocked(st, &CancelledError{Reason: m.Reason})
		return
	}
	t.reason = m.Reason
	c.startLocked(s, st)
}

// encodeParams gives the JSON object of a query's parameters; nil where there are none.
func encodeParams(params any) (json.RawMessage, error) {
	if params == nil {
		return nil, nil
	}
	text, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("client: encoding parameters: %w", err)
	}
	return text, nil
}

// awaitStart waits until a stream has begun.
func (c *Client) awaitStart(ctx context.Context, st stream, started, ended <-chan struct{}, why func() error) error {
	select {
	case <-started:
		return nil
	case <-ended:
		select { // an ending may come right behind the beginning
		case <-started:
			return nil
		default:
			return why()
		}
	case <-ctx.Done():
		c.dropStream(st, context.Cause(ctx))
		return context.Cause(ctx)
	}
}
