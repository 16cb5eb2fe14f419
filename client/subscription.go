package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// SubscribeOptions say what a subscription begins with. nil is as good as the zero value.
type SubscribeOptions struct {
	// History replays the newest so many messages of each name or pattern first. Not together with Since. Default: none.
	History int
	// Since replays all that is kept behind a place, such as the Position of a subscription of an earlier process; a *Resumed that says
	// whether something is missing comes first. Default: nothing is replayed.
	Since *Position
	// Presence asks for *Joined and *Left. What happens while the connection is lost is not told: upon *Resumed ask for the list again,
	// by Client.Presence. Default: no.
	Presence bool
	// Buffer and BufferBytes bound what waits for Next: events, and bytes of their data. Beyond them the oldest go, and a *Gap with
	// ReasonClient stands in their place. The Client goes on reading, whatever one subscription does: else all others would wait for it,
	// and the server would close the connection as too slow. Default: 1024 and 4 MiB.
	Buffer, BufferBytes int
}

// Subscription is a subscription to channels, over all the Client's connections. Next and Events are for one goroutine at a time; all else
// is safe for concurrent use. It must be closed, unless the Client is.
type Subscription struct {
	// Static.
	c        *Client
	patterns []protocol.Pattern
	options  SubscribeOptions
	ready    chan struct{} // is closed once the server has confirmed it
	ended    chan struct{} // is closed once nothing more is taken in

	// Guarded by c.mu.
	confirmed bool     // it was once: it is to be gone on with, and not begun
	live      *session // the connection that has confirmed it, if that is the present one
	pos       Position // up to here it has everything; see recordPositionsLocked. Zero where it has no channel with history
	newest    Position // where the hub was when History was asked for
	volatile  []bool   // of each pattern: messages without offset come by it, of which nobody knows what is missed

	mu       sync.Mutex
	buffer   buffer
	consumed Position
	err      error // why it ended
	signal   chan struct{}
}

// Subscribe subscribes to channels: names, and patterns with * and **. It returns once the server has confirmed all of them; what refuses
// one refuses all (*Error). At most 128 may be given; what one Subscription tells of channels with history is in the order of the hub.
// Where several subscriptions of the Client match a message, each gets it.
//
// The subscription survives the loss of a connection: it goes on behind the last message that came, without repeating any, and tells by
// *Resumed and *Gap whether something is missing.
func (c *Client) Subscribe(ctx context.Context, channels []string, o *SubscribeOptions) (*Subscription, error) {
	sub, err := c.newSubscription(channels, o)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	if err := c.Err(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	c.subs = append(c.subs, sub)
	c.index.add(sub)
	if c.session != nil {
		c.subscribeNewLocked(c.session, sub)
	}
	c.mu.Unlock()
	select {
	case <-sub.ready:
	case <-sub.ended:
		return nil, sub.err
	case <-ctx.Done():
		sub.Close()
		return nil, context.Cause(ctx)
	}
	return sub, nil
}

func (c *Client) newSubscription(channels []string, o *SubscribeOptions) (*Subscription, error) {
	sub := &Subscription{c: c, ready: make(chan struct{}), ended: make(chan struct{}), signal: make(chan struct{}, 1)}
	if o != nil {
		sub.options = *o
	}
	o = &sub.options
	setDefault(&o.Buffer, 1024)
	setDefault(&o.BufferBytes, 4<<20)
	switch {
	case len(channels) == 0 || len(channels) > protocol.MaxChannels:
		return nil, fmt.Errorf("client: a subscription has 1 to %d channels", protocol.MaxChannels)
	case o.Since != nil && o.History != 0:
		return nil, errors.New("client: both Since and History are set")
	case o.History < 0 || o.Buffer < 0 || o.BufferBytes < 0:
		return nil, errors.New("client: an option is negative")
	}
	sub.buffer.limit, sub.buffer.byteLimit = o.Buffer, o.BufferBytes
	for _, channel := range channels {
		pattern, err := protocol.ParsePattern(channel)
		if err != nil {
			return nil, fmt.Errorf("client: the channel %q: %w", channel, err)
		}
		sub.patterns = append(sub.patterns, pattern)
	}
	sub.volatile = make([]bool, len(sub.patterns))
	return sub, nil
}

// Channels are the names and patterns subscribed to.
func (s *Subscription) Channels() []string {
	names := make([]string, len(s.patterns))
	for i, p := range s.patterns {
		names[i] = p.String()
	}
	return names
}

// Next waits for the next event. Once the subscription has ended and its events are taken, the error says why: ErrClosed, an *Error where
// the server ended it, or what the Client ended with.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		s.mu.Lock()
		event, ok := s.buffer.pop()
		if ok {
			s.consumeLocked(event)
		}
		err := s.err
		s.mu.Unlock()
		switch {
		case ok:
			return event, nil
		case err != nil:
			return nil, err
		}
		select {
		case <-s.signal:
		case <-s.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Subscription) consumeLocked(event Event) {
	switch e := event.(type) {
	case *Message:
		if e.Offset > 0 {
			s.consumed = Position{Epoch: e.Epoch, Offset: e.Offset}
		}
	case *Resumed:
		s.consumed = e.Position
	}
}

// Events gives what comes, until ctx ends or the subscription does, which is the last pair's error. Breaking off ends nothing: what comes
// later can be had by Next or by Events again.
func (s *Subscription) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			event, err := s.Next(ctx)
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// Position is the place behind the last event that Next gave: what SubscribeOptions.Since takes to go on from there, in another process
// too. It is zero where no channel keeps history, and with History until the first message.
func (s *Subscription) Position() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.consumed
}

// Close ends the subscription. What has come until then can still be taken. It is idempotent; the error is always nil.
func (s *Subscription) Close() error {
	s.c.dropSubscription(s, ErrClosed)
	return nil
}

// push takes in an event.
func (s *Subscription) push(event Event, size int) {
	s.mu.Lock()
	if s.err == nil {
		s.buffer.push(event, size)
	}
	s.mu.Unlock()
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// finish ends it; only the first call counts.
func (s *Subscription) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.ended)
	}
}

// begins notes where the events that are to come begin.
func (s *Subscription) begins(at Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumed = at
}

// dropSubscription ends a subscription and takes it off the server.
func (c *Client) dropSubscription(sub *Subscription, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(sub, err)
}

func (c *Client) dropLocked(sub *Subscription, err error) {
	sub.finish(err)
	at := slices.Index(c.subs, sub)
	if at < 0 {
		return
	}
	c.subs = slices.Delete(c.subs, at, at+1)
	c.index.remove(sub)
	if c.session != nil {
		c.unsubscribeLocked(c.session, sub.Channels())
	}
}
