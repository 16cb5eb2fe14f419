package main

import (
	"context"
	"fmt"
)

const (
	rate      = 100  // publishes a second
	large     = 1000 // bytes of data
	watchers  = 200  // readers beside the one that stopped
	burst     = 250  // messages that fill the buffers of the one that stopped, before anything is measured
	segment   = 1400 // bytes, as on a real network; with loopback's own the kernel would hold megabytes for the one that stopped
	listeners = 100
)

// latency publishes at a steady rate and measures every delivery.
func latency(ctx context.Context, z *sizes, _ subject, p *process) ([]value, error) {
	publisher, a, err := stage(ctx, p, min(listeners, z.subscribers), z.paced)
	if err != nil {
		return nil, err
	}
	defer publisher.close()
	defer a.close()
	return paced(ctx, z, publisher, a, small)
}

// stoppedReader does the same beside a subscriber that reads nothing, whose buffers are full.
func stoppedReader(ctx context.Context, z *sizes, s subject, p *process) ([]value, error) {
	publisher, a, err := stage(ctx, p, min(watchers, z.subscribers), z.paced+burst)
	if err != nil {
		return nil, err
	}
	defer publisher.close()
	defer a.close()
	if s.special {
		stopped, err := dial(ctx, p, segment)
		if err != nil {
			return nil, err
		}
		defer stopped.close()
		if err := stopped.subscribe(channel); err != nil {
			return nil, err
		}
	}
	a.expect(burst)
	if err := publisher.flood(burst, large); err != nil {
		return nil, err
	}
	if err := a.wait(ctx); err != nil {
		return nil, fmt.Errorf("filling the buffers: %w", err)
	}
	a.forget()
	return paced(ctx, z, publisher, a, large)
}

// paced publishes at a steady rate.
func paced(ctx context.Context, z *sizes, publisher *client, a *audience, size int) ([]value, error) {
	a.expect(z.paced)
	if err := publisher.pace(ctx, z.paced, rate, size); err != nil {
		return nil, err
	}
	if err := a.wait(ctx); err != nil {
		return nil, err
	}
	all := a.latencies()
	return []value{
		{"latency p50", "ms", milliseconds(quantile(all, 0.5))},
		{"latency p99", "ms", milliseconds(quantile(all, 0.99))},
		{"latency max", "ms", milliseconds(quantile(all, 1))},
	}, nil
}
