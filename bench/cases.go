package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"time"
)

// subject is what a case measures: a server, or a server under a condition.
type subject struct {
	name      string
	server    string // raw, naive or caddy
	encrypted bool
	source    string // what its query streams read; none where empty
	special   bool   // under the condition that the case is about
	base      string // the subject of the same round whose figures ratios are made to; none where empty
}

var (
	raw   = subject{name: "raw", server: "raw"}
	naive = subject{name: "naive", server: "naive", base: "raw"}
	ours  = subject{name: "caddy", server: "caddy", base: "raw"}
	// The driver of PostgreSQL without a stream around it.
	driver = subject{name: "pgconn", server: "pgconn", base: "raw"}
)

// reading gives the module with query streams from a source. Its ratios are made to base.
func reading(source, base string) subject {
	return subject{name: source, server: "caddy", source: source, base: base}
}

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
		{name: "rows", measure: rows, subjects: []subject{
			raw, reading("memory", "raw"), reading("sqlite", "raw"), reading("ndjson", "raw"), reading("neuroquantum", "raw"),
			driver, reading("postgres", "pgconn"),
		}},
		{name: "stream memory", measure: streamMemory, subjects: []subject{
			reading("memory", ""), reading("memory", "").under("stopped"),
			reading("sqlite", ""), reading("sqlite", "").under("stopped"),
		}},
		{name: "stopped client", measure: stoppedClient, subjects: []subject{
			reading("memory", ""), reading("sqlite", "memory"), reading("postgres", "memory"),
		}},
		{name: "cancel", measure: cancel, subjects: []subject{
			doing(computing), doing(streaming), doing(paused),
		}},
		{name: "fairness", measure: fairness, subjects: []subject{
			{name: "alike", server: "caddy", source: "memory"}, {name: "mixed", server: "caddy", source: "memory", special: true},
		}},
		{name: "first row", measure: firstRow, subjects: []subject{
			driver, reading("postgres", "pgconn"), reading("sqlite", "pgconn"),
		}},
	}
}

// run measures the cases whose names match, and gives the table as far as it came.
func run(ctx context.Context, o *options, progress io.Writer) (t *table, err error) {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, err
	}
	var failed error
	t = new(table)
	data := &databases{rows: o.sizes.rows}
	defer func() { err = errors.Join(err, data.close()) }()
	for _, c := range cases() {
		if !only.MatchString(c.name) || c.large && !o.large {
			continue
		}
		fmt.Fprintf(progress, "%s, round", c.name)
		began := time.Now()
		if err := c.run(ctx, o, data, t, progress); err != nil {
			fmt.Fprint(progress, " FAILED")
			failed = errors.Join(failed, fmt.Errorf("%s: %w", c.name, err))
		}
		fmt.Fprintf(progress, ", %.0f s\n", time.Since(began).Seconds())
	}
	return t, failed
}

// run measures all subjects in every round, beginning with another one each time.
func (c *benchCase) run(ctx context.Context, o *options, data *databases, t *table, progress io.Writer) error {
	for round := range o.rounds {
		for i := range c.subjects {
			s := c.subjects[(round+i)%len(c.subjects)]
			values, err := c.once(ctx, o, data, s, round)
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
func (c *benchCase) once(ctx context.Context, o *options, data *databases, s subject, round int) (values []value, err error) {
	l, err := s.launch(ctx, data)
	if err != nil {
		return nil, err
	}
	if o.profiles != "" {
		l.profile = filepath.Join(o.profiles, fmt.Sprintf("%s %s %d.pprof", c.name, s.name, round+1))
	}
	p, err := startProcess(ctx, l)
	if err != nil {
		return nil, err
	}
	p.data = data
	defer func() { err = errors.Join(err, p.stop()) }()
	return c.measure(ctx, &o.sizes, s, p)
}

// launch says how the subject's server is started, and sees to it that what stands behind it is there.
func (s subject) launch(ctx context.Context, data *databases) (launch, error) {
	l := launch{kind: s.server, encrypted: s.encrypted}
	switch s.server {
	case "caddy":
		scheme := "http"
		if s.encrypted {
			scheme = "https"
		}
		options, err := data.options(ctx, s.source)
		l.args = []string{scheme, options}
		return l, err
	case "pgconn":
		dsn, err := data.postgres(ctx)
		l.args = []string{dsn}
		return l, err
	}
	return l, nil
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
