package flow

import "time"

// Throttle is how a sender without credit slows down as the room it sends into fills. Fill is a share from 0 (empty) to 1 (full).
// The delay it gives never falls while the fill rises: none below Start, then growing linearly up to MaxDelay, and from Pause on
// the sender is to send nothing at all. The zero Throttle is off: it never delays.
type Throttle struct {
	// Start is the fill from which batches are delayed.
	Start float64
	// Pause is the fill from which nothing is sent until the fill is back under Start; see Pacer.
	Pause float64
	// MaxDelay is the longest delay between two batches, reached just below Pause.
	MaxDelay time.Duration
}

// DefaultThrottle is a Throttle that starts at 0.7, pauses at 0.9 and delays by at most 500 ms.
func DefaultThrottle() Throttle {
	return Throttle{Start: 0.7, Pause: 0.9, MaxDelay: 500 * time.Millisecond}
}

// Valid reports whether 0 < Start < Pause <= 1 and MaxDelay is not negative.
func (t Throttle) Valid() bool {
	return t.Start > 0 && t.Start < t.Pause && t.Pause <= 1 && t.MaxDelay >= 0
}

// Delay gives the time to wait before the next batch at this fill, and whether to pause instead. It has no memory: a sender that
// was told to pause asks a Pacer, which knows when to go on.
func (t Throttle) Delay(fill float64) (d time.Duration, pause bool) {
	switch {
	case t == Throttle{}:
		return 0, false
	case fill >= t.Pause:
		return t.MaxDelay, true
	case fill < t.Start:
		return 0, false
	default:
		return time.Duration(float64(t.MaxDelay) * (fill - t.Start) / (t.Pause - t.Start)), false
	}
}

// Pacer applies a Throttle to one sender and remembers whether it is paused, so that a paused sender does not flutter around the
// pause mark but goes on only once the fill is back under Start. It is used by one goroutine.
type Pacer struct {
	// Throttle is the curve. It may be changed between calls of Next.
	Throttle Throttle

	paused bool
}

// Next is Throttle.Delay with the memory of a pause: once paused it says so until the fill is under Start.
func (p *Pacer) Next(fill float64) (d time.Duration, pause bool) {
	d, pause = p.Throttle.Delay(fill)
	p.paused = pause || p.paused && fill >= p.Throttle.Start
	if p.paused {
		return p.Throttle.MaxDelay, true
	}
	return d, false
}

// Paused reports what the last Next said.
func (p *Pacer) Paused() bool { return p.paused }
