package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// run connects, serves the connection, and comes back, until the Client is closed or the server has refused it for good.
func (c *Client) run() {
	defer close(c.done)
	defer c.closeIdle()
	var err error // why the last connection or attempt ended
	for attempt, n := 1, 0; ; attempt++ {
		c.setState(State{Status: Connecting, Err: err, Attempt: attempt})
		var lived time.Duration
		lived, err = c.connectOnce()
		if c.ctx.Err() != nil {
			break
		}
		next := c.judge(err)
		if next.fatal {
			c.cancel(&FatalError{Err: err})
			break
		}
		if lived > 0 {
			attempt = 0
		}
		if lived > c.longest(n) {
			n = 0
		}
		wait := next.after + rand.N(c.longest(n)+1)
		c.setState(State{Status: Waiting, Err: err, Attempt: attempt, RetryIn: wait})
		if !sleepCtx(c.ctx, wait) {
			break
		}
		n++
	}
	c.finish()
	c.setState(State{Status: Closed, Err: c.Err()})
}

// connectOnce is one connection, from the handshake to its end; lived is how long it was of use.
func (c *Client) connectOnce() (lived time.Duration, err error) {
	s, err := c.dial(c.ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	c.begin(s)
	c.setState(s.state())
	err = s.serve()
	c.lose(s)
	return max(time.Since(began), 1), s.closeError(err)
}

// longest is how long the n-th wait can be, by the back-off alone.
func (c *Client) longest(n int) time.Duration {
	if n >= 20 { // beyond, the shift might overflow
		return c.o.MaxBackoff
	}
	return min(c.o.MaxBackoff, c.o.MinBackoff<<n)
}

// goodbye is the end of a connection of which the server has said when to come back.
type goodbye struct {
	after time.Duration
	err   error
}

func (g *goodbye) Error() string { return g.err.Error() }
func (g *goodbye) Unwrap() error { return g.err }

// verdict says whether the client comes back, and how long it waits before the back-off begins.
type verdict struct {
	fatal bool
	after time.Duration
}

// judge looks at why a connection or an attempt ended. The table is that of docs/protocol.md, "Close codes" and "Before the upgrade".
func (c *Client) judge(err error) verdict {
	var leave *goodbye
	if errors.As(err, &leave) {
		c.forgetToken(err)
		return verdict{after: leave.after}
	}
	if errors.Is(err, ErrTooLarge) || errors.Is(err, errNoSubprotocol) {
		return verdict{fatal: true}
	}
	if refusal, ok := errors.AsType[*HandshakeError](err); ok {
		return c.judgeStatus(refusal)
	}
	if closed, ok := errors.AsType[*CloseError](err); ok {
		return c.judgeClose(closed.Code)
	}
	return verdict{} // the network: it may be well again
}

func (c *Client) judgeStatus(refusal *HandshakeError) verdict {
	switch status := refusal.Status; {
	case status == http.StatusUnauthorized:
		return c.judgeToken()
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests,
		status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported:
		return verdict{after: refusal.RetryAfter}
	}
	return verdict{fatal: true}
}

func (c *Client) judgeClose(code protocol.CloseCode) verdict {
	switch code {
	case protocol.CloseProtocolError, protocol.CloseUnsupportedData, protocol.CloseInvalidPayload, protocol.ClosePolicy,
		protocol.CloseTooBig, protocol.CloseForbidden:
		return verdict{fatal: true}
	case protocol.CloseByOperator: // a reconnect before it would have made it a goodbye
		return verdict{fatal: true}
	case protocol.CloseUnauthenticated:
		return c.judgeToken()
	}
	return verdict{}
}

// judgeToken is the verdict where the server does not take the token (any more): another may do, if there is one. It may take several, as the
// server may not know the issuer's new key yet, or may have revoked what the user was issued up to a moment.
func (c *Client) judgeToken() verdict {
	if c.o.TokenFunc == nil {
		return verdict{fatal: true}
	}
	c.token.value = ""
	return verdict{}
}

// forgetToken lets go of a token that the server has closed the connection for. An operator who disconnects a user makes void the one it had.
func (c *Client) forgetToken(err error) {
	closed, ok := errors.AsType[*CloseError](err)
	if ok && (closed.Code == protocol.CloseUnauthenticated || closed.Code == protocol.CloseByOperator) {
		c.token.value = ""
	}
}

// sleepCtx waits, unless ctx ends.
func sleepCtx(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
