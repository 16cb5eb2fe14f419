package client

import (
	"context"
	"sync"
	"time"
)

// Bounds of what a client does before it knows what the site allows. Together they stay below the 100 failures for which the server closes a
// connection.
const (
	// maxUnanswered is how many requests of callers wait for an answer at a time: all of them may be refused before the first refusal comes.
	maxUnanswered = 48
	// maxEarly is how many requests may come too early although they were paced. After that one at a time is sent.
	maxEarly = 8
)

// freeRequests is how many requests go without a pause after a rest, once the rate is known.
const freeRequests = 8

// pace holds requests of callers to the rate of the site. The server does not tell it before it refuses one: then it tells the time between
// two. From then on that time lies between two requests, and more if the network brings them closer together.
type pace struct {
	places chan struct{} // has one for each request that is not answered
	single chan struct{} // has one while a request is under way that goes alone

	mu    sync.Mutex
	every time.Duration // between two requests; 0 until one was refused
	early int           // refused although they were paced
	next  time.Time     // when the next is due
}

func newPace() pace {
	return pace{places: make(chan struct{}, maxUnanswered), single: make(chan struct{}, 1)}
}

// turn is a request's leave to be sent.
type turn struct {
	pace         *pace
	paced, alone bool
}

// begin waits until a request may be sent. The error is errUnsent if the connection has ended, or why ctx has.
func (p *pace) begin(ctx context.Context, ended <-chan struct{}) (*turn, error) {
	if err := enter(ctx, ended, p.places); err != nil {
		return nil, err
	}
	p.mu.Lock()
	t := &turn{pace: p, paced: p.every > 0, alone: p.early >= maxEarly}
	p.mu.Unlock()
	if t.alone {
		if err := enter(ctx, ended, p.single); err != nil {
			<-p.places
			return nil, err
		}
	}
	timer := time.NewTimer(p.reserve(time.Now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return t, nil
	case <-ended:
		t.end()
		return nil, errUnsent
	case <-ctx.Done():
		t.end()
		return nil, context.Cause(ctx)
	}
}

func enter(ctx context.Context, ended <-chan struct{}, places chan<- struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ended:
		return errUnsent
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reserve takes the next place in time and returns how long it is until then.
func (p *pace) reserve(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	rested := now
	if p.early < maxEarly {
		rested = now.Add(-freeRequests * p.every)
	}
	if p.next.Before(rested) {
		p.next = rested
	}
	at := p.next
	p.next = p.next.Add(p.every)
	return at.Sub(now)
}

// end gives up the turn, once the request is answered or given up.
func (t *turn) end() {
	if p := t.pace; t.alone { // the server has handled the request: what comes after this time comes after it there as well
		p.mu.Lock()
		if at := time.Now().Add(p.every); p.next.Before(at) {
			p.next = at
		}
		p.mu.Unlock()
		<-p.single
	}
	<-t.pace.places
}

// limited notes that the server has refused the request, which may come again after a time.
func (t *turn) limited(after time.Duration) {
	if after <= 0 {
		after = retryTime
	}
	p := t.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.paced && !t.alone {
		p.early++
	}
	if t.paced && p.early < maxEarly || t.alone {
		p.every += p.every / 4
	} else if p.early == maxEarly { // alone it need not be slower
		p.every = after + after/4
	}
	p.every = max(p.every, after)
	if at := time.Now().Add(after); p.next.Before(at) {
		p.next = at
	}
}
