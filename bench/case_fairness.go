package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// share is one of the streams that share a connection.
type share struct {
	batch, width int
}

// shares are eight streams: all alike, or so that one message is up to some hundred times as long as another.
func shares(mixed bool) []share {
	if mixed {
		return []share{{10, 0}, {10, 1000}, {100, 0}, {100, 5000}, {1000, 0}, {1000, 200}, {5000, 0}, {10_000, 20}}
	}
	all := make([]share, streamsEach)
	for i := range all {
		all[i] = share{batch: batchRows}
	}
	return all
}

// crowd is a client with several streams, by their ids.
type crowd struct {
	*client
	streams map[string]*tally
	begun   int // streams that have had a batch
}

// next takes a message of any of the streams.
func (c *crowd) next() error {
	e, err := c.event()
	if err != nil {
		return err
	}
	switch e.kind {
	case "started":
		c.streams[string(e.stream)] = new(tally)
	case "batch":
		t := c.streams[string(e.stream)]
		if t == nil {
			return fmt.Errorf("a batch of a stream that has not started: %s", clip(e.text))
		}
		if t.batches == 0 {
			c.begun++
		}
		return t.add(e)
	case "completed", "cancelled":
		return fmt.Errorf("a stream without end has ended: %s", e.text)
	}
	return nil
}

// fairness has eight streams without end share a connection, whose client reads as fast as it can. They are compared from when all have
// begun.
func fairness(ctx context.Context, z *sizes, s subject, p *process) ([]value, error) {
	one, err := dialStreams(ctx, p)
	if err != nil {
		return nil, err
	}
	defer one.close()
	c := &crowd{client: one, streams: make(map[string]*tally)}
	for _, each := range shares(s.special) {
		if err := c.ask("rows", fmt.Sprintf(`{"n":%d,"width":%d}`, 1<<40, each.width), each.batch, noCredit); err != nil {
			return nil, err
		}
	}
	for c.begun < streamsEach {
		if err := c.next(); err != nil {
			return nil, err
		}
	}
	before := make(map[string]tally)
	for id, t := range c.streams {
		before[id] = *t
	}
	began := time.Now()
	for time.Since(began) < z.sharing {
		if err := c.next(); err != nil {
			return nil, err
		}
	}
	took := time.Since(began)
	var bytes, rows []float64
	for id, t := range c.streams {
		bytes = append(bytes, float64(t.bytes-before[id].bytes))
		rows = append(rows, float64(t.rows-before[id].rows))
	}
	values := []value{
		{"smallest share of the mean, bytes", "", smallest(bytes)},
		{"in all", "MB/s", sum(bytes) / took.Seconds() / 1e6},
	}
	if !s.special { // otherwise only bytes count
		values = append(values, value{"smallest share of the mean, rows", "", smallest(rows)})
	}
	return values, nil
}

// smallest is the smallest of all as a part of their mean.
func smallest(all []float64) float64 { return slices.Min(all) * float64(len(all)) / sum(all) }

func sum(all []float64) (total float64) {
	for _, v := range all {
		total += v
	}
	return total
}
