package main

import (
	"context"
	"fmt"
	"time"
)

// subscriptions measures what it costs to subscribe and unsubscribe: one connection, many names, requests one behind the other.
func subscriptions(ctx context.Context, z *sizes, _ subject, p *process) ([]value, error) {
	c, err := dial(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var values []value
	for _, kind := range []struct{ request, answer string }{
		{"subscribe", "subscription_confirmed"}, {"unsubscribe", "unsubscription_confirmed"},
	} {
		var frames []byte
		for i := range z.operations / 2 {
			msg := fmt.Appendf(nil, `{"type":"%s","channel":"names/%d"}`, kind.request, i)
			frames = appendFrame(frames, opText, msg, true)
		}
		cpu, err := cpuOf(p, func() error {
			sent := make(chan error, 1)
			go func() {
				_, err := c.conn.Write(frames)
				sent <- err
			}()
			err := repeat(z.operations/2, func() error { return c.expect(kind.answer) })
			if err != nil {
				c.close()
			}
			if notSent := <-sent; err == nil {
				err = notSent
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		values = append(values, value{kind.request + ", server CPU", "µs", cpu.Seconds() * 1e6 / float64(z.operations/2)})
	}
	return values, nil
}

const patternsEach = 100 // patterns of a connection

// patterns publishes to one subscriber, one message at a time, among patterns that look alike and do not match.
func patterns(ctx context.Context, z *sizes, s subject, p *process) ([]value, error) {
	const exact = "p/7/b/y" // which p/7/*/x misses by the last segment
	if s.special {
		others := make([]*client, z.subscribers)
		defer func() {
			for _, c := range others {
				if c != nil {
					c.close()
				}
			}
		}()
		err := inParallel(len(others), func(i int) (err error) {
			if others[i], err = dial(ctx, p, 0); err != nil {
				return err
			}
			return others[i].subscribePatterns(i * patternsEach)
		})
		if err != nil {
			return nil, err
		}
	}
	subscriber, err := dial(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer subscriber.close()
	if err := subscriber.subscribe(exact); err != nil {
		return nil, err
	}
	publisher, err := dial(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer publisher.close()
	var times []time.Duration
	once := func() error {
		start := time.Now()
		if err := publisher.publish(exact, small); err != nil {
			return err
		}
		err := subscriber.expect("channel_message")
		times = append(times, time.Since(start))
		return err
	}
	if err := repeat(warmups, once); err != nil {
		return nil, err
	}
	times = times[:0]
	if err := repeat(z.turns, once); err != nil {
		return nil, err
	}
	return []value{
		{"publish to one receiver, p50", "µs", milliseconds(quantile(times, 0.5)) * 1e3},
		{"publish to one receiver, p99", "µs", milliseconds(quantile(times, 0.99)) * 1e3},
	}, nil
}

// subscribePatterns subscribes to patternsEach patterns, which nothing that is published matches.
func (c *client) subscribePatterns(first int) error {
	msg := []byte(`{"type":"subscribe","channels":[`)
	for i := range patternsEach {
		msg = fmt.Appendf(msg, `"p/%d/*/x",`, first+i)
	}
	msg = append(msg[:len(msg)-1], `]}`...)
	if err := c.send(msg); err != nil {
		return err
	}
	return repeat(patternsEach, func() error { return c.expect("subscription_confirmed") })
}
