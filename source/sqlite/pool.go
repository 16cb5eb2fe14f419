package sqlite

import (
	"context"
	"sync"
)

// pool lends connections, at most so many at once.
type pool struct {
	dial func() (*conn, error)
	free chan struct{} // holds a token for each connection that is lent

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

func newPool(limit int, dial func() (*conn, error)) *pool {
	return &pool{dial: dial, free: make(chan struct{}, limit)}
}

// get waits for a connection, until ctx is done. A closed pool still lends, for queries that began under a configuration which has
// been replaced meanwhile.
func (p *pool) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.free <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.dial()
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
