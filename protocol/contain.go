package protocol

import (
	"errors"
	"math/bits"
)

// Bounds of a client's pattern. Those of the configuration have none, but are warned of.
const (
	MaxPatternWildcards = 8 // * and ** together
	MaxPatternDeep      = 4 // ** alone
)

var errPatternWildcards = errors.New("a pattern has at most 8 wildcards, and at most 4 of them may be **")

// CheckWildcards reports whether a pattern has at most as many wildcards as a client may use; its error is for clients.
func (p Pattern) CheckWildcards() error {
	if bits.OnesCount32(p.star|p.deep) > MaxPatternWildcards || bits.OnesCount32(p.deep) > MaxPatternDeep {
		return errPatternWildcards
	}
	return nil
}

// MaxWork is how many steps deciding about the channels of one message may take.
const MaxWork = 10_000

// Work is the number of steps that Contains may still take. It is shared by all the patterns of a message. Once it is used up, it stays
// so, and nothing is contained in anything: that refuses rather than allows.
type Work struct {
	left  int
	spent bool
}

// NewWork returns the work of a number of steps.
func NewWork(steps int) *Work { return &Work{left: steps} }

// Exhausted reports whether more steps were asked for than there were.
func (w *Work) Exhausted() bool { return w.spent }

// Left returns the number of steps that are left.
func (w *Work) Left() int { return w.left }

func (w *Work) step() bool {
	if w.left <= 0 {
		w.spent = true
		return false
	}
	w.left--
	return true
}

// Contains reports whether p matches every name that q matches. It reports false where work does not suffice to find out. A q that is a
// name, and one that begins with another segment than p, take no work.
//
// What q matches is the names that come of it by putting segments in the place of its wildcards. A segment that p does not name is the
// hardest for p: whatever p makes of it, it makes of any other. So p need only match the names that have such segments in the place of
// each *, and any number of them in that of each **. The search walks through these names and keeps the set of places in p that each can have
// reached; a place in q and a set in p that were seen before need not be looked at again.
func (p Pattern) Contains(q Pattern, work *Work) bool {
	switch {
	case !q.IsPattern():
		return p.Match(q.text)
	case p.text == q.text:
		return true
	case q.text == "**":
		return false // nothing else matches names of either separator
	case p.sep != 0 && q.sep != 0 && p.sep != q.sep, len(p.segments) == 0:
		return false
	case (p.star|p.deep|q.star|q.deep)&1 == 0 && p.segments[0] != q.segments[0]:
		return false
	}
	end := uint32(1) << len(p.segments)
	all := p.deep & (end >> 1) // a ** at the end: from there on p matches whatever follows
	s := search{p: p, q: q, places: make([]place, 0, fewPlaces)}
	s.reach(place{p: p.closure(1)})
	for i := 0; i < len(s.places); i++ {
		at := s.places[i]
		switch {
		case at.p&all != 0:
			continue
		case at.p == 0, int(at.q) == len(q.segments) && at.begun && at.p&end == 0:
			return false // what q makes of the name from here on does not matter: it makes something
		case int(at.q) == len(q.segments):
			continue
		}
		if !work.step() {
			return false
		}
		switch {
		case q.deep&(1<<at.q) != 0:
			s.reach(place{at.q + 1, at.begun, at.p})
			s.reach(place{at.q, true, p.closure(p.stepOther(at.p))})
		case q.star&(1<<at.q) != 0:
			s.reach(place{at.q + 1, true, p.closure(p.stepOther(at.p))})
		default:
			s.reach(place{at.q + 1, true, p.closure(p.stepOther(at.p) | s.named(at.q)&at.p<<1)})
		}
	}
	return true
}

// place is where a search has come to.
type place struct {
	q     uint8 // segments of q that are used up
	begun bool  // the name has a segment: there is none without
	p     uint32
}

// search is the state of Contains.
type search struct {
	p, q   Pattern
	places []place // in the order in which they were found
	seen   map[place]struct{}
	numbers
}

// numbers are the segments of q by where p has the same: each is looked for once.
type numbers struct {
	known uint32
	at    [MaxChannelSegments]uint32
}

// named is the set of the places of p that ask for the segment i of q.
func (s *search) named(i uint8) uint32 {
	if s.known&(1<<i) == 0 {
		s.known |= 1 << i
		for j, segment := range s.p.segments {
			if segment == s.q.segments[i] {
				s.at[i] |= 1 << j
			}
		}
	}
	return s.at[i]
}

// fewPlaces is the number of places up to which looking through all of them is cheaper than a map.
const fewPlaces = 32

func (s *search) reach(at place) {
	if s.seen == nil {
		for _, other := range s.places {
			if other == at {
				return
			}
		}
		if len(s.places) >= fewPlaces {
			s.seen = make(map[place]struct{}, 2*fewPlaces)
			for _, other := range s.places {
				s.seen[other] = struct{}{}
			}
		}
	}
	if s.seen != nil {
		if _, seen := s.seen[at]; seen {
			return
		}
		s.seen[at] = struct{}{}
	}
	s.places = append(s.places, at)
}

// Canonical returns the segments of the shortest pattern that matches the same names, where both have a separator or neither: in a row of
// wildcards each ** but one adds nothing, and the order does not matter, so that **/* is */** and **/** is **. They must not be changed.
func (p Pattern) Canonical() []string {
	if p.star == 1 && p.deep == 2 && len(p.segments) == 2 {
		return p.segments[1:] // a name has at least one segment
	}
	if p.deep<<1&(p.star|p.deep) == 0 {
		return p.segments
	}
	out := make([]string, 0, len(p.segments))
	for i := 0; i < len(p.segments); i++ {
		deep := false
		for ; i < len(p.segments) && (p.star|p.deep)&(1<<i) != 0; i++ {
			if p.deep&(1<<i) != 0 {
				deep = true
			} else {
				out = append(out, "*")
			}
		}
		if deep {
			out = append(out, "**")
		}
		if i < len(p.segments) {
			out = append(out, p.segments[i])
		}
	}
	if len(out) == 2 && out[0] == "*" && out[1] == "**" {
		return out[1:]
	}
	return out
}
