package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Requests that come faster than the site's rate are held back, and sent again where the server has refused one for it: no call returns
// RATE_LIMITED.

// ask asks over whatever connection there is, again where one is lost before the answer.
func (c *Client) ask(ctx context.Context, r request) (*message, error) {
	for {
		s, err := c.connected(ctx)
		if err != nil {
			return nil, err
		}
		m, err := s.ask(ctx, &r)
		if !errors.Is(err, errLost) {
			return m, err
		}
	}
}

// PublishOptions say how to publish. nil is as good as the zero value.
type PublishOptions struct {
	// Key makes the publish idempotent: for two minutes the same key of the same user (of an anonymous client: of the same address) is
	// not delivered again in the same channel. 1 to 128 characters. Default: one of this call's own.
	Key string
}

// Receipt is what became of a publish.
type Receipt struct {
	// Position is the message's place; zero where the channel keeps no history.
	Position Position
	// Duplicate says that the Key had been published before, which Position is then the place of.
	Duplicate bool
}

// keyTime is for how long a publish may be sent again: the server remembers keys for 2 minutes.
const keyTime = 100 * time.Second

// Publish publishes data, as json.Marshal encodes it, and waits until the server has it. Where the connection is lost before the answer
// it is sent again over the next, with the same key, so that it is delivered once. Its error is an *Error where the server refused,
// ErrTooLarge, ErrUncertain, or why ctx or the Client ended: with the last two it may have been published or not.
func (c *Client) Publish(ctx context.Context, channel string, data any, o *PublishOptions) (Receipt, error) {
	encoded, err := json.Marshal(data)
	if err != nil {
		return Receipt{}, fmt.Errorf("client: encoding a message: %w", err)
	}
	r := request{Type: "publish", Channel: channel, Data: encoded}
	if o != nil {
		r.Key = o.Key
	}
	own := r.Key == ""
	if own {
		r.Key = rand.Text()
	}
	var first time.Time // it was sent
	var epoch string    // when it was
	for {
		s, err := c.connected(ctx)
		if err != nil {
			return Receipt{}, err
		}
		if first.IsZero() {
			epoch = s.welcome.Epoch
		} else if time.Since(first) > keyTime || s.welcome.Epoch != epoch {
			return Receipt{}, ErrUncertain
		}
		sent := time.Now()
		m, err := s.ask(ctx, &r)
		switch {
		case errors.Is(err, errUnsent):
		case errors.Is(err, errLost):
			if first.IsZero() {
				first = sent
			}
		case err != nil:
			return Receipt{}, err
		default:
			// With a key of its own a duplicate is what an earlier attempt of this call has published.
			return Receipt{Position: Position{Epoch: m.Epoch, Offset: m.Offset}, Duplicate: m.Duplicate && !own}, nil
		}
	}
}

// HistoryOptions say which messages to give. nil is as good as the zero value.
type HistoryOptions struct {
	// Limit is how many at most. Default: the server's, 100.
	Limit int
	// Since gives the first Limit messages behind a place. Default: the newest.
	Since *Position
}

// History is a part of a channel's history.
type History struct {
	Messages []*Message // the oldest first
	Epoch    string     // of their offsets
	More     bool       // more is kept: older messages, or newer ones with Since
}

// History asks for a channel's history.
func (c *Client) History(ctx context.Context, channel string, o *HistoryOptions) (*History, error) {
	r := request{Type: "history", Channel: channel}
	if o != nil && o.Limit < 0 {
		return nil, errors.New("client: the Limit is negative")
	}
	if o != nil {
		r.Since = o.Since
		if o.Limit > 0 {
			r.Limit = &o.Limit
		}
	}
	m, err := c.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, msg := range m.Messages {
		msg.Epoch = m.Epoch
	}
	return &History{Messages: m.Messages, Epoch: m.Epoch, More: m.HasMore}, nil
}

// Presence is who is subscribed to a channel.
type Presence struct {
	Members []Member // in no order; at most 10,000
	Count   int      // of all
}

// Presence asks who is subscribed to a channel.
func (c *Client) Presence(ctx context.Context, channel string) (*Presence, error) {
	m, err := c.ask(ctx, request{Type: "presence", Channel: channel})
	if err != nil {
		return nil, err
	}
	return &Presence{Members: m.Members, Count: m.Count}, nil
}

// QueryStatus is how far a query or watch is.
type QueryStatus struct {
	Status     string   // initializing, streaming, paused, completed, cancelled or failed
	Percentage *float64 // 0 to 100; nil where the total is not known
	Rows       int64    // that were sent
	Batches    int64    // that were sent
	Elapsed    time.Duration
}

// QueryStatus asks how far a query or watch of the present connection is, by its id.
func (c *Client) QueryStatus(ctx context.Context, streamID string) (*QueryStatus, error) {
	m, err := c.ask(ctx, request{Type: "query_status", StreamID: streamID})
	if err != nil {
		return nil, err
	}
	return &QueryStatus{
		Status: m.Status, Percentage: m.Progress, Rows: m.RowsSent, Batches: m.BatchesSent, Elapsed: milliseconds(m.ElapsedMS),
	}, nil
}

// Ping asks the server for an answer and gives the time that it took.
func (c *Client) Ping(ctx context.Context) (time.Duration, error) {
	for {
		s, err := c.connected(ctx)
		if err != nil {
			return 0, err
		}
		began := time.Now()
		if _, err = s.ask(ctx, &request{Type: "ping"}); !errors.Is(err, errLost) {
			return time.Since(began), err
		}
	}
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
