package main

import (
	"context"
	"time"
)

const (
	small    = 128 // bytes of data in most cases
	warmups  = 10  // publishes before anything is measured
	perM     = 1e6
	cpuPerM  = "server CPU per million deliveries"
	lastRead = "publish to last receiver, median"
)

// broadcast publishes one message at a time, and waits until all have it.
func broadcast(ctx context.Context, z *sizes, _ subject, p *process) ([]value, error) {
	return broadcastTo(ctx, p, z.subscribers, z.broadcasts)
}

func broadcastLarge(ctx context.Context, z *sizes, _ subject, p *process) ([]value, error) {
	return broadcastTo(ctx, p, z.many, z.broadcasts/4+1)
}

func broadcastTo(ctx context.Context, p *process, subscribers, publishes int) ([]value, error) {
	publisher, a, err := stage(ctx, p, subscribers, 0)
	if err != nil {
		return nil, err
	}
	defer publisher.close()
	defer a.close()
	times := make([]time.Duration, 0, publishes)
	once := func() error {
		a.expect(1)
		start := time.Now()
		if err := publisher.publish(channel, small); err != nil {
			return err
		}
		if err := a.wait(ctx); err != nil {
			return err
		}
		times = append(times, time.Since(start))
		return nil
	}
	if err := repeat(warmups, once); err != nil {
		return nil, err
	}
	times = times[:0]
	cpu, err := cpuOf(p, func() error { return repeat(publishes, once) })
	return []value{
		{cpuPerM, "s", cpu.Seconds() / float64(subscribers*publishes) * perM},
		{lastRead, "ms", milliseconds(quantile(times, 0.5))},
	}, err
}

// saturation publishes many messages back to back, and waits until all have all.
func saturation(ctx context.Context, z *sizes, _ subject, p *process) ([]value, error) {
	publisher, a, err := stage(ctx, p, z.subscribers, 0)
	if err != nil {
		return nil, err
	}
	defer publisher.close()
	defer a.close()
	flood := func(n int) error {
		a.expect(n)
		if err := publisher.flood(n, small); err != nil {
			return err
		}
		return a.wait(ctx)
	}
	if err := flood(warmups); err != nil {
		return nil, err
	}
	start := time.Now()
	cpu, err := cpuOf(p, func() error { return flood(z.flood) })
	took := time.Since(start)
	deliveries := float64(z.subscribers * z.flood)
	return []value{
		{cpuPerM, "s", cpu.Seconds() / deliveries * perM},
		{"deliveries per second", "k/s", deliveries / took.Seconds() / 1e3},
	}, err
}

// stage connects a publisher and an audience.
func stage(ctx context.Context, p *process, subscribers, latencies int) (*client, *audience, error) {
	publisher, err := dial(ctx, p, 0)
	if err != nil {
		return nil, nil, err
	}
	a, err := gather(ctx, p, subscribers, latencies)
	if err != nil {
		publisher.close()
		return nil, nil, err
	}
	return publisher, a, nil
}

func repeat(n int, do func() error) error {
	for range n {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}
