package flow

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestThrottleDelay(t *testing.T) {
	for _, test := range []struct {
		fill  float64
		d     time.Duration
		pause bool
	}{
		{0, 0, false}, {0.69, 0, false}, {0.7, 0, false}, {0.75, 125 * time.Millisecond, false}, {0.8, 250 * time.Millisecond, false},
		{0.9, 500 * time.Millisecond, true}, {1, 500 * time.Millisecond, true},
	} {
		d, pause := DefaultThrottle().Delay(test.fill)
		if d.Round(time.Microsecond) != test.d || pause != test.pause {
			t.Errorf("fill %v: %v, %v", test.fill, d, pause)
		}
	}
	if d, pause := (Throttle{}).Delay(1); d != 0 || pause {
		t.Errorf("the zero Throttle delays by %v, pauses %v", d, pause)
	}
}

func TestThrottleIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		throttle := Throttle{
			Start:    rapid.Float64Range(0.01, 0.5).Draw(t, "start"),
			Pause:    rapid.Float64Range(0.51, 1).Draw(t, "pause"),
			MaxDelay: time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "max")),
		}
		if !throttle.Valid() {
			t.Fatalf("%+v is not valid", throttle)
		}
		low := rapid.Float64Range(0, 1).Draw(t, "low")
		high := rapid.Float64Range(low, 1).Draw(t, "high")
		d1, pause1 := throttle.Delay(low)
		d2, pause2 := throttle.Delay(high)
		if d1 > d2 || pause1 && !pause2 || d2 > throttle.MaxDelay || d1 < 0 {
			t.Fatalf("%v gives %v, %v; %v gives %v, %v", low, d1, pause1, high, d2, pause2)
		}
	})
}

func TestThrottleValid(t *testing.T) {
	for _, throttle := range []Throttle{{}, {0.9, 0.7, 0}, {0.7, 0.7, 0}, {0.7, 1.1, 0}, {0, 0.9, 0}, {0.7, 0.9, -1}} {
		if throttle.Valid() {
			t.Errorf("%+v is valid", throttle)
		}
	}
}

func TestPacer(t *testing.T) {
	p := Pacer{Throttle: DefaultThrottle()}
	for i, step := range []struct {
		fill  float64
		pause bool
	}{{0.89, false}, {0.9, true}, {0.89, true}, {0.7, true}, {0.69, false}, {0.89, false}, {1, true}, {0, false}} {
		if _, pause := p.Next(step.fill); pause != step.pause || p.Paused() != step.pause {
			t.Errorf("step %d at %v: paused %v", i, step.fill, pause)
		}
	}
}
