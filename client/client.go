package client

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Status is how a Client stands to its server.
type Status int

// The states of a Client.
const (
	Connecting Status = iota // an attempt is under way
	Connected                // the server has welcomed the client
	Waiting                  // for the next attempt
	Closed                   // it will not connect again
)

func (s Status) String() string {
	return [...]string{"connecting", "connected", "waiting", "closed"}[s]
}

// State is how a Client stands to its server, and what led there.
type State struct {
	Status Status
	// Err is why the connection was lost or the last attempt failed; with Closed, why the client has ended. nil while all is well.
	Err error
	// Attempt counts the attempts since the connection was lost, from 1; RetryIn is how long the client waits before the next (Waiting).
	Attempt int
	RetryIn time.Duration
	// ConnectionID and User are who the server takes the client for (Connected). User is empty for an anonymous client.
	ConnectionID string
	User         string
}

// Client is a connection to a server that comes back by itself when it is lost. It is safe for concurrent use. It must be closed.
type Client struct {
	// Static.
	url    string
	o      Options
	ctx    context.Context // ends with the Client, for a cause
	cancel context.CancelCauseFunc
	done   chan struct{} // all goroutines have ended

	// Owned by run.
	token token

	mu      sync.Mutex
	state   State
	session *session      // the present connection once it was welcomed, else nil
	changed chan struct{} // is closed, and another made, when session has changed
	lastID  uint64
	subs    []*Subscription // in the order in which they were made
	index   index           // of subs
	streams []stream        // in the order in which they were begun
}

// New makes a Client and lets it connect in the background. url is the WebSocket's, such as wss://api.example.com/ws; the error is about it
// or the options. What is asked of the Client waits for the connection as long as its context lets it.
func New(url string, o Options) (*Client, error) {
	if err := checkURL(url); err != nil {
		return nil, err
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{url: url, o: o, done: make(chan struct{}), changed: make(chan struct{}), index: newIndex()}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	go c.run()
	return c, nil
}

// Dial is New that waits until the server has welcomed the client. It goes on trying until ctx ends, or until the server has refused for
// good (*FatalError); then the Client is closed.
func Dial(ctx context.Context, url string, o Options) (*Client, error) {
	c, err := New(url, o)
	if err != nil {
		return nil, err
	}
	if _, err := c.connected(ctx); err != nil {
		if last := c.State().Err; ctx.Err() != nil && last != nil {
			err = &dialError{cause: err, last: last}
		}
		c.Close()
		return nil, err
	}
	return c, nil
}

// dialError is a context's end, with what went wrong until then.
type dialError struct{ cause, last error }

func (e *dialError) Error() string   { return e.cause.Error() + ": " + e.last.Error() }
func (e *dialError) Unwrap() []error { return []error{e.cause, e.last} }

// Close ends the Client, its subscriptions, queries and watches with ErrClosed, and waits until its goroutines have ended. The server is
// told, if it takes that within a second. It is idempotent; the error is always nil.
func (c *Client) Close() error {
	c.cancel(ErrClosed)
	<-c.done
	return nil
}

// Done is closed once the Client has ended, by Close or for good.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the Client has ended: ErrClosed or a *FatalError; nil while it has not.
func (c *Client) Err() error { return context.Cause(c.ctx) }

// State is how the Client stands to its server.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// setState notes a state and tells it. Only run calls it.
func (c *Client) setState(s State) {
	c.mu.Lock()
	c.state = s
	c.mu.Unlock()
	if c.o.OnState != nil {
		c.o.OnState(s)
	}
}

// connected waits for a connection. A context that has ended already is refused even where there is one, so that nothing is sent for it.
func (c *Client) connected(ctx context.Context) (*session, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c.mu.Lock()
		s, changed := c.session, c.changed
		c.mu.Unlock()
		if err := c.Err(); err != nil {
			return nil, err
		}
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.ctx.Done():
		}
	}
}

// setSessionLocked makes s, or nil, the present connection.
func (c *Client) setSessionLocked(s *session) {
	c.session = s
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Client) newIDLocked() uint64 {
	c.lastID++
	return c.lastID
}

// begin puts a new connection into use: everything that goes on over connections is asked for anew, before anybody else can ask.
func (c *Client) begin(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subscribeAllLocked(s)
	for _, st := range slices.Clone(c.streams) {
		c.startLocked(s, st)
	}
	c.state = s.state()
	c.setSessionLocked(s)
}

// lose takes a connection out of use.
func (c *Client) lose(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.recordPositionsLocked()
	for _, sub := range c.subs {
		sub.lostLocked()
	}
	for _, st := range c.streams {
		st.lostLocked()
	}
	clear(s.pending)
	s.stopTimersLocked()
	if c.session == s {
		c.setSessionLocked(nil)
	}
	close(s.ended)
}

// finish ends all that hangs on the Client.
func (c *Client) finish() {
	err := c.Err()
	c.mu.Lock()
	subs, streams := slices.Clone(c.subs), slices.Clone(c.streams)
	c.subs, c.streams, c.index = nil, nil, newIndex()
	c.mu.Unlock()
	for _, sub := range subs {
		sub.finish(err)
	}
	for _, st := range streams {
		st.finish(err)
	}
}
