package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"
)

// subject is what a case measures: a server, or a server under a condition.
type subject struct {
	name      string
	server    string // raw, naive or caddy
	encrypted bool
	special   bool   // under the condition that the case is about
	base      string // the subject of the same round whose figures ratios are made to; none where empty
}

var (
	raw   = subject{name: "raw", server: "raw"}
	naive = subject{name: "naive", server: "naive", base: "raw"}
	ours  = subject{name: "caddy", server: "caddy", base: "raw"}
)

// under gives the subject under a condition; its ratios are made to the one without.
func (s subject) under(condition string) subject {
	s.name, s.base, s.special = s.name+", "+condition, s.name, true
	return s
}

// value is one figure of one subject in one round.
type value struct {
	figure, unit string
	amount       float64
}

// benchCase is a case: its subjects are measured by turns in every round, each in a process of its own.
type benchCase struct {
	name     string
	large    bool // left out unless large sizes are asked for
	subjects []subject
	measure  func(ctx context.Context, z *sizes, s subject, p *process) ([]value, error)
}

func cases() []benchCase {
	return []benchCase{
		{name: "broadcast", subjects: []subject{raw, naive, ours}, measure: broadcast},
		{name: "broadcast large", large: true, subjects: []subject{raw, naive, ours}, measure: broadcastLarge},
		{name: "saturation", subjects: []subject{raw, naive, ours}, measure: saturation},
		{name: "latency", subjects: []subject{raw, naive, ours}, measure: latency},
		{name: "stopped reader", measure: stoppedReader, subjects: []subject{
			raw, naive, naive.under("one stopped"), ours, ours.under("one stopped"),
		}},
		{name: "memory", measure: memory, subjects: []subject{
			{name: "naive", server: "naive"},
			{name: "caddy", server: "caddy", base: "naive"},
			{name: "caddy, TLS", server: "caddy", encrypted: true, base: "caddy"},
		}},
		{name: "subscriptions", subjects: []subject{raw, naive, ours}, measure: subscriptions},
		{name: "live", measure: changes, subjects: []subject{
			{name: "watch", server: "live"}, {name: "feed", server: "live", special: true},
		}},
		{name: "patterns", subjects: []subject{raw, ours, ours.under("patterns")}, measure: patterns},
	}
}

// run measures the cases whose names match, and gives the table as far as it came.
func run(ctx context.Context, o *options, progress io.Writer) (*table, error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, err
	}
	var failed error
	t := new(table)
	for _, c := range cases() {
		if !only.MatchString(c.name) || c.large && !o.large {
			continue
		}
		fmt.Fprintf(progress, "%s, round", c.name)
		began := time.Now()
		if err := c.run(ctx, o, t, progress); err != nil {
			fmt.Fprint(progress, " FAILED")
			failed = errors.Join(failed, fmt.Errorf("%s: %w", c.name, err))
		}
		fmt.Fprintf(progress, ", %.0f s\n", time.Since(began).Seconds())
	}
	return t, failed
}

// run measures all subjects in every round, beginning with another one each time.
func (c *benchCase) run(ctx context.Context, o *options, t *table, progress io.Writer) error {
	for round := range o.rounds {
		for i := range c.subjects {
			s := c.subjects[(round+i)%len(c.subjects)]
			values, err := c.once(ctx, &o.sizes, s)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", s.name, round+1, err)
			}
			t.add(c.name, c.subjects, s, round, values)
		}
		fmt.Fprintf(progress, " %d", round+1)
	}
	return nil
}

// once measures one subject.
func (c *benchCase) once(ctx context.Context, z *sizes, s subject) (values []value, err error) {
	p, err := startProcess(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	return c.measure(ctx, z, s, p)
}

// cpuOf is the server's processor time while something is done.
func cpuOf(p *process, do func() error) (time.Duration, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := p.cpu()
	return after - before, err
}
