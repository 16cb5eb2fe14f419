package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// dialers is how many connections are made at once.
const dialers = 16

// audience is a number of subscribers of a channel, each with a goroutine that reads. It knows how many messages are due to each.
type audience struct {
	members []*member
	due     atomic.Int64  // to each member
	missing atomic.Int64  // members to whom some are due
	all     chan struct{} // tells that none is missing
	failed  chan error    // holds the first failure
	closing atomic.Bool
	wg      sync.WaitGroup
}

type member struct {
	*client
	got       atomic.Int64
	latencies []time.Duration // of messages with a stamp, where there was made room for them
}

// gather connects n subscribers. Where they are to measure latencies, each has room for so many.
func gather(ctx context.Context, p *process, n, latencies int) (*audience, error) {
	a := &audience{members: make([]*member, n), all: make(chan struct{}, 1), failed: make(chan error, 1)}
	err := inParallel(n, func(i int) error {
		c, err := dial(ctx, p, 0)
		if err != nil {
			return err
		}
		a.members[i] = &member{client: c, latencies: make([]time.Duration, 0, latencies)}
		return c.subscribe(channel)
	})
	if err != nil {
		a.close()
		return nil, fmt.Errorf("connecting %d subscribers: %w", n, err)
	}
	for _, m := range a.members {
		a.wg.Go(func() {
			if err := a.read(m); !a.closing.Load() {
				select {
				case a.failed <- err:
				default:
				}
			}
		})
	}
	return a, nil
}

// inParallel calls do for 0 to n-1, dialers at once, and gives the first error.
func inParallel(n int, do func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, dialers)
	for range min(dialers, n) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					next.Store(int64(n))
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	return <-failed
}

// read counts what arrives for a member, until the connection ends; it says how.
func (a *audience) read(m *member) error {
	for {
		msg, err := m.message()
		if err != nil {
			return err
		}
		if !isType(msg, "channel_message") {
			return fmt.Errorf("a subscriber got %s", msg)
		}
		if cap(m.latencies) > 0 {
			sent, err := sentAt(msg)
			if err != nil {
				return err
			}
			m.latencies = append(m.latencies, time.Since(began)-sent)
		}
		switch got, due := m.got.Add(1), a.due.Load(); {
		case got > due:
			return fmt.Errorf("a subscriber got %d messages of %d", got, due)
		case got == due && a.missing.Add(-1) == 0:
			a.all <- struct{}{}
		}
	}
}

// expect announces n messages to each, before they are published. All that was announced earlier must have come.
func (a *audience) expect(n int) {
	a.missing.Store(int64(len(a.members)))
	a.due.Add(int64(n))
}

// wait waits until all have got what was announced.
func (a *audience) wait(ctx context.Context) error {
	select {
	case <-a.all:
		return nil
	case err := <-a.failed:
		return errors.Join(a.lost(), err)
	case <-ctx.Done():
		return errors.Join(a.lost(), ctx.Err())
	}
}

// lost says how many deliveries are missing.
func (a *audience) lost() error {
	due := a.due.Load()
	var n int64
	for _, m := range a.members {
		n += due - m.got.Load()
	}
	return fmt.Errorf("%d of %d deliveries are missing", n, due*int64(len(a.members)))
}

// latencies gives what all members measured; only once all that was announced has come.
func (a *audience) latencies() []time.Duration {
	var all []time.Duration
	for _, m := range a.members {
		all = append(all, m.latencies...)
	}
	return all
}

// forget takes what was measured so far for nothing; only once all that was announced has come.
func (a *audience) forget() {
	for _, m := range a.members {
		m.latencies = m.latencies[:0]
	}
}

// close ends all connections and waits for their goroutines.
func (a *audience) close() {
	a.closing.Store(true)
	for _, m := range a.members {
		if m != nil {
			m.close()
		}
	}
	a.wg.Wait()
}
