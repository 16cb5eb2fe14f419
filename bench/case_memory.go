package main

import (
	"context"
	"time"
)

// memory measures what connections hold that are subscribed and idle.
func memory(ctx context.Context, z *sizes, _ subject, p *process) ([]value, error) {
	empty, emptyResident, err := p.memory()
	if err != nil {
		return nil, err
	}
	var a *audience
	cpu, err := cpuOf(p, func() (err error) {
		a, err = gather(ctx, p, z.idle, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer a.close()
	n := float64(z.idle)
	values := []value{{"connect and subscribe, server CPU", "µs", cpu.Seconds() * 1e6 / n}}
	held := func(when string, after time.Duration) error {
		if err := pause(ctx, after); err != nil {
			return err
		}
		live, resident, err := p.memory()
		values = append(values,
			value{"heap and stacks per connection" + when, "KB", (live - empty) / n / 1e3},
			value{"resident per connection" + when, "KB", (resident - emptyResident) / n / 1e3})
		return err
	}
	if err := held("", z.settle); err != nil {
		return nil, err
	}
	if z.idleOn > 0 {
		err = held(", after a ping", z.idleOn)
	}
	return values, err
}
