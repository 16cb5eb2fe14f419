package main

import (
	"context"
	"fmt"
	"time"
)

// rows sends the rows of one query after the other to one client, which takes them as fast as it can.
func rows(ctx context.Context, z *sizes, s subject, p *process) ([]value, error) {
	c, err := dialStreams(ctx, p)
	if err != nil {
		return nil, err
	}
	defer c.close()
	once := func() error {
		if err := c.ask("rows", rowsOf(s.source, z.rows), batchRows, noCredit); err != nil {
			return err
		}
		return c.drain(z.rows, s != driver)
	}
	if err := once(); err != nil {
		return nil, fmt.Errorf("the first stream: %w", err)
	}
	var sent int64
	start := time.Now()
	cpu, err := cpuOf(p, func() error {
		for time.Since(start) < z.streaming {
			if err := once(); err != nil {
				return err
			}
			sent += z.rows
		}
		return nil
	})
	took := time.Since(start)
	return []value{
		{"rows per second", "M/s", float64(sent) / took.Seconds() / 1e6},
		{"server CPU per million rows", "s", cpu.Seconds() / float64(sent) * 1e6},
	}, err
}

// firstRow asks for long results and takes their first batch only. The driver alone tells when it has as many rows.
func firstRow(ctx context.Context, z *sizes, s subject, p *process) ([]value, error) {
	c, err := dialStreams(ctx, p)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var times []time.Duration
	once := func() error {
		start := time.Now()
		if err := c.ask("rows", rowsOf(s.source, z.rows), batchRows, 1); err != nil {
			return err
		}
		e, err := c.await("started")
		if err != nil {
			return err
		}
		id := string(e.stream)
		if s != driver {
			if _, err := c.await("batch"); err != nil {
				return err
			}
		}
		times = append(times, time.Since(start))
		if err := c.cancel(id); err != nil {
			return err
		}
		_, err = c.await("cancelled")
		return err
	}
	if err := repeat(warmups, once); err != nil {
		return nil, err
	}
	times = times[:0]
	if err := repeat(z.firsts, once); err != nil {
		return nil, err
	}
	return []value{
		{"stream_query to the first batch, p50", "ms", milliseconds(quantile(times, 0.5))},
		{"stream_query to the first batch, p99", "ms", milliseconds(quantile(times, 0.99))},
	}, nil
}
