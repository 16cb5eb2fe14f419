package histogram

import (
	"maps"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	h := New(time.Millisecond, time.Second)
	for _, d := range []time.Duration{-time.Second, 0, time.Millisecond, time.Millisecond + 1, time.Second, 2 * time.Second} {
		h.Observe(d)
	}
	s := h.Snapshot()
	if s.Count != 6 || !maps.Equal(s.Buckets, map[float64]uint64{0.001: 3, 1: 5}) || s.Sum != 3.002000001 {
		t.Errorf("got %+v", s)
	}
	if n := testing.AllocsPerRun(100, func() { h.Observe(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
