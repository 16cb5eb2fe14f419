package sqlite

import (
	"context"
	"slices"
	"sync"
)

// pool lends connections, at most so many at once.
type pool struct {
	dial func(raw bool) (*conn, error)
	free chan struct{} // holds a token for each connection that is lent
	// maxValue is the longest value that a client's own statement may use.
	maxValue int64

	mu     sync.Mutex
	idle   []*conn // of both kinds; the one that was used last stands last
	closed bool
}

func newPool(limit int, maxValue int64, dial func(raw bool) (*conn, error)) *pool {
	return &pool{dial: dial, free: make(chan struct{}, limit), maxValue: maxValue}
}

// get waits for a connection, until ctx is done: a restricted one for a statement that a client wrote. A closed pool still lends, for queries that began under a configuration which has
// been replaced meanwhile.
func (p *pool) get(ctx context.Context, raw bool) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.free <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	for i, c := range slices.Backward(p.idle) {
		if c.restricted == raw {
			p.idle = slices.Delete(p.idle, i, i+1)
			p.mu.Unlock()
			return c, nil
		}
	}
	// One of the other kind goes, so that no more are open than may be lent.
	var other *conn
	if len(p.idle) > 0 && len(p.idle)+len(p.free) > cap(p.free) {
		other = p.idle[0]
		p.idle = slices.Delete(p.idle, 0, 1)
	}
	p.mu.Unlock()
	if other != nil {
		other.close()
	}
	c, err := p.dial(raw)
	if err != nil {
		<-p.free
	}
	return c, err
}

// put takes a connection back; one that is not healthy is closed.
func (p *pool) put(c *conn, healthy bool) {
	p.mu.Lock()
	keep := healthy && !p.closed
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.close()
	}
	<-p.free
}

// close closes the connections that nobody uses now, and makes those that are lent close when they come back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}
