package flow

import (
	"context"
	"sync"
)

// MaxCredit is the most batches a Credit holds; what is granted beyond it is ignored, so that no sum of grants can overflow.
const MaxCredit = 1 << 31

// Credit counts the batches that a receiver allows to be sent. It is safe for concurrent use. A nil Credit is unlimited: every
// take succeeds.
type Credit struct {
	wake chan struct{} // holds one token when a waiting Take should look again

	mu sync.Mutex
	n  int64
}

// NewCredit makes a Credit of n batches, between 0 and MaxCredit.
func NewCredit(n int64) *Credit {
	return &Credit{wake: make(chan struct{}, 1), n: min(max(n, 0), MaxCredit)}
}

// Add grants n more batches, up to MaxCredit in all. Where n is not positive nothing changes.
func (c *Credit) Add(n int64) {
	if c == nil || n <= 0 {
		return
	}
	c.mu.Lock()
	c.n += min(n, MaxCredit-c.n)
	c.mu.Unlock()
	c.signal()
}

// TryTake takes one batch of credit if there is one.
func (c *Credit) TryTake() bool {
	if c == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		return false
	}
	c.n--
	return true
}

// Take waits for one batch of credit and takes it. It ends early with ctx's error; credit that is there is taken even if ctx is
// done.
func (c *Credit) Take(ctx context.Context) error {
	for {
		if c.TryTake() {
			if c != nil && c.Available() > 0 {
				c.signal() // another waiter may have lost its token to this one
			}
			return nil
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Available is the number of batches that may be taken at once, MaxCredit where the credit is unlimited.
func (c *Credit) Available() int64 {
	if c == nil {
		return MaxCredit
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// Unlimited reports whether every take succeeds.
func (c *Credit) Unlimited() bool { return c == nil }

func (c *Credit) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
