// Package histogram counts durations where neither a lock nor an allocation may be.
package histogram

import (
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets. It is safe for concurrent use.
type Histogram struct {
	bounds  []time.Duration // inclusive, ascending
	buckets []atomic.Uint64 // one for each bound, and one for all beyond
	sum     atomic.Int64    // nanoseconds
}

// New makes a Histogram with a bucket up to each of the bounds, which ascend, and one beyond the last.
func New(bounds ...time.Duration) *Histogram {
	return &Histogram{bounds: bounds, buckets: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts a duration; one under 0, as clocks of several machines may give, counts as 0.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// Snapshot is a Histogram at a moment.
type Snapshot struct {
	Count uint64
	Sum   float64 // seconds
	// Buckets holds, by the bound in seconds, how many were not longer.
	Buckets map[float64]uint64
}

// Snapshot reads the histogram. While others observe, its sum may be one of a moment before or after its count.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Sum: time.Duration(h.sum.Load()).Seconds(), Buckets: make(map[float64]uint64, len(h.bounds))}
	for i := range h.buckets {
		s.Count += h.buckets[i].Load()
		if i < len(h.bounds) {
			s.Buckets[h.bounds[i].Seconds()] = s.Count
		}
	}
	return s
}
