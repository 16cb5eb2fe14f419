package main

import (
	"context"
	"fmt"
	"time"
)

const (
	streamsEach = 8               // streams of a connection: as many as it may have
	parking     = 2 * time.Second // after which a connection that says nothing has no goroutine any more
)

// streamMemory measures what streams hold beyond their connections: those that wait for credit after a batch, or those without
// credit whose client has stopped reading. And what is left when their clients have gone: the connections to the database.
func streamMemory(ctx context.Context, z *sizes, s subject, p *process) ([]value, error) {
	before, residentBefore, err := p.memory()
	if err != nil {
		return nil, err
	}
	clients := make([]*client, z.readers)
	closeAll := func() {
		for i, c := range clients {
			if c != nil {
				c.close()
				clients[i] = nil
			}
		}
	}
	defer closeAll()
	err = inParallel(len(clients), func(i int) (err error) {
		clients[i], err = dialStreams(ctx, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, min(z.settle, parking)); err != nil {
		return nil, err
	}
	idle, residentIdle, err := p.memory()
	if err != nil {
		return nil, err
	}
	if err := startStreams(ctx, z, s, p, clients); err != nil {
		return nil, err
	}
	held, residentHeld, err := p.memory()
	if err != nil {
		return nil, err
	}
	closeAll()
	if err := pause(ctx, min(z.settle, parking)); err != nil {
		return nil, err
	}
	left, residentLeft, err := p.memory()
	each := func(bytes float64) float64 { return bytes / float64(z.readers*streamsEach) / 1e3 }
	return []value{
		{"heap and stacks per stream", "KB", each(held - idle)},
		{"resident per stream", "KB", each(residentHeld - residentIdle)},
		{"heap and stacks left of each", "KB", each(left - before)},
		{"resident left of each", "KB", each(residentLeft - residentBefore)},
	}, err
}

// startStreams starts the streams of all clients, and waits until none of them moves any more.
func startStreams(ctx context.Context, z *sizes, s subject, p *process, clients []*client) error {
	credits := 1
	if s.special {
		credits = noCredit
	}
	err := inParallel(len(clients), func(i int) error {
		for range streamsEach {
			if err := clients[i].ask("rows", rowsOf(s.source, z.rows), batchRows, credits); err != nil {
				return err
			}
		}
		if s.special {
			return nil
		}
		for started, batches := 0, 0; started < streamsEach || batches < streamsEach; {
			e, err := clients[i].event()
			switch {
			case err != nil:
				return err
			case e.kind == "started":
				started++
			case e.kind == "batch":
				batches++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.calm(ctx, z.calm); err != nil {
		return err
	}
	return pause(ctx, min(z.settle, parking))
}

// stoppedClient streams to a client that reads nothing, until nothing moves any more. Then the client reads all after all, which
// must be complete.
func stoppedClient(ctx context.Context, z *sizes, s subject, p *process) ([]value, error) {
	c, err := dialStreams(ctx, p)
	if err != nil {
		return nil, err
	}
	defer c.close()
	stream := func(n int64) error { return c.ask("rows", rowsOf(s.source, n), batchRows, noCredit) }
	// What a first stream has the server load once and for all is not the client's.
	if err := stream(batchRows); err != nil {
		return nil, err
	}
	if err := c.drain(batchRows, true); err != nil {
		return nil, err
	}
	before, residentBefore, err := p.memory()
	if err != nil {
		return nil, err
	}
	if _, err := p.peak(); err != nil {
		return nil, err
	}
	if err := stream(z.stopped); err != nil {
		return nil, err
	}
	if err := p.calm(ctx, z.calm); err != nil {
		return nil, err
	}
	peak, err := p.peak()
	if err != nil {
		return nil, err
	}
	held, _, err := p.memory()
	if err != nil {
		return nil, err
	}
	if err := c.drain(z.stopped, true); err != nil {
		return nil, fmt.Errorf("reading again: %w", err)
	}
	return []value{
		{"heap and stacks, more", "MB", (held - before) / 1e6},
		{"resident, more at the most", "MB", (peak - residentBefore) / 1e6},
	}, nil
}
