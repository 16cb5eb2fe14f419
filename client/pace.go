package client

import (
	"context"
	"sync"
	"time"
)

// maxUnanswered is how many requests of callers wait for an answer at a time. It is below the number of failures for which the server closes a
// connection, so that as many can be refused at once before the client knows of the site's rate.
const maxUnanswered = 64

// freeRequests is how many requests go without a pause after a rest, once the rate is known.
const freeRequests = 8

// pace holds requests of callers to the rate of the site. The server does not tell it before it refuses one: then it tells the time
// between two. From then on as much time lies between two requests as the server wants.
type pace struct {
	places chan struct{} // has one for each request that is not answered

	mu    sync.Mutex
	every time.Duration // between two requests; 0 until one was refused
	free  time.Duration // by which a request may be early after a rest
	next  time.Time     // when the next is due
}

func newPace() pace { return pace{places: make(chan struct{}, maxUnanswered)} }

// begin waits until a request may be sent; end must be called once it is answered. The error is errUnsent where the connection has ended, or why
// ctx has.
func (p *pace) begin(ctx context.Context, ended <-chan struct{}) error {
	select {
	case p.places <- struct{}{}:
	case <-ended:
		return errUnsent
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	wait := p.reserve(time.Now())
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ended:
		p.end()
		return errUnsent
	case <-ctx.Done():
		p.end()
		return context.Cause(ctx)
	}
}

func (p *pace) end() { <-p.places }

// reserve takes the next turn and returns the time until it.
func (p *pace) reserve(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.every == 0 {
		return 0
	}
	if rested := now.Add(-p.free); p.next.Before(rested) {
		p.next = rested
	}
	at := p.next
	p.next = p.next.Add(p.every)
	return at.Sub(now)
}

// limited notes that the server has refused a request which may come again after a time.
func (p *pace) limited(after time.Duration) {
	if after <= 0 {
		after = retryTime
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.every == 0 {
		p.free = freeRequests * after
	} else if p.every <= after { // it came too early all the same: the site allows no more at once
		p.free = 0
	}
	p.every = max(p.every, after)
	if at := time.Now().Add(after); p.next.Before(at) {
		p.next = at
	}
}
