package hub

import (
	"slices"
	"strings"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// subscription is one connection's interest in one name or pattern. It belongs to the connection's shard.
type subscription struct {
	conn    *Conn
	pattern protocol.Pattern
	rule    *Rule // the rule that contains all of the pattern
	// from is the place in the order up to which this subscription has everything it is due, or is not due anything: messages up
	// to it are not for it. It never lies beyond the shard's place in the order, so that live messages need not be held against it.
	from uint64
	at   int // index in its list

	member bool          // presence counts it
	watch  *subscription // stands in the shard's watches where the client wants presence events; nil where not
}

// list is a set of subscriptions that match the same names. Order does not matter, so that removal is cheap.
type list []*subscription

func (l *list) add(s *subscription) {
	s.at = len(*l)
	*l = append(*l, s)
}

func (l *list) remove(s *subscription) {
	last := len(*l) - 1
	moved := (*l)[last]
	(*l)[s.at], moved.at = moved, s.at
	(*l)[last] = nil
	*l = (*l)[:last]
	if cap(*l) > 64 && len(*l) < cap(*l)/4 {
		*l = append(make(list, 0, len(*l)*2), *l...)
	}
}

// index finds the subscriptions that match a name: exact names in a map, patterns by their canonical form, for either separator. The cost
// of a look-up grows with the name's segments and the patterns that match; what those that do not match add to it is bounded, whatever
// they are. It belongs to one shard and holds no lock.
type index struct {
	exact      map[string]*topic
	slash, dot forest
	one        list   // of the pattern *: every name of one segment
	all        list   // of the pattern **: every name
	names      *names // that stand in exact, here and in other indexes; nil where they are not counted
	twin       *index // that holds all patterns which this one holds, under the same anchors; nil where this one chooses them
	visited    uint64 // nodes and patterns that look-ups came to

	// Kept between look-ups so that these allocate nothing.
	hits      []list
	now, next []*node
	step      uint64 // numbers the steps of all look-ups
	lookup    uint64 // numbers the look-ups
}

// forest holds the patterns with one separator. Most are in a trie of segments. In it a look-up visits each node at most once a step, but
// there can be very many of them where patterns have several wildcards: as many as there are ways to put them among the segments of a
// name. So patterns with more than a few wildcards are kept apart, each under one of the segments that it names, its anchor, and only few
// under each: a look-up holds those under the segments of the name against it one by one.
type forest struct {
	root    node
	entries map[string]*entry  // by canonical form
	anchors map[string]*anchor // by segment
}

// anchor is a segment under which patterns are kept.
type anchor struct {
	segment string
	entries []*entry
	lookup  uint64 // the last that came here
}

// entry is a pattern that is kept apart from the trie.
type entry struct {
	pattern protocol.Pattern
	anchor  *anchor
	subs    list
}

// Bounds of what patterns that do not match cost a look-up.
const (
	maxTrieStars = 2  // * of a pattern in the trie
	maxTrieDeep  = 1  // ** of one without *, but for a last one
	maxAnchored  = 16 // different patterns under one anchor; more are refused
)

// node is a place in the trie, reached by the segments above it.
type node struct {
	segment  string // that leads here
	only     *node  // the first child by a segment: most nodes have no other, and need no map
	children map[string]*node
	star     *node // after *
	deep     *node // after **: it stays here over any number of segments
	isDeep   bool
	subs     list   // to the pattern that leads here
	under    list   // to that pattern and a ** after it: whatever follows
	step     uint64 // of the last step of a look-up that came here
	found    uint64 // the last look-up that returned under
}

// topic is a name that connections are subscribed to.
type topic struct {
	subs        list
	published   uint64 // messages since the first of these subscriptions
	publishedAt time.Time
}

func newIndex() index { return index{exact: make(map[string]*topic)} }

// add adds a subscription. It reports false where there is no room for one more pattern like this one.
func (x *index) add(s *subscription) bool {
	l := x.listOf(s.pattern, true)
	if l != nil {
		l.add(s)
	}
	return l != nil
}

func (x *index) remove(s *subscription) {
	p := s.pattern
	l := x.listOf(p, false)
	l.remove(s)
	if len(*l) > 0 {
		return
	}
	if !p.IsPattern() {
		delete(x.exact, p.String())
		if x.names != nil {
			x.names.remove(p.String())
		}
	} else if f := x.forest(p.Separator()); f != nil {
		if segments := p.Canonical(); inTrie(segments) {
			way, _ := wayTo(segments)
			f.root.prune(way)
		} else {
			f.drop(segments)
		}
	}
}

// listOf is where subscriptions to p stand; create makes the way to it, where there is room: it is nil where there is none.
func (x *index) listOf(p protocol.Pattern, create bool) *list {
	if !p.IsPattern() {
		t := x.exact[p.String()]
		if t == nil && create {
			t = new(topic)
			x.exact[p.String()] = t
			if x.names != nil {
				x.names.add(p.String())
			}
		}
		return &t.subs
	}
	f := x.forest(p.Separator())
	if f == nil {
		if p.String() == "**" {
			return &x.all
		}
		return &x.one
	}
	segments := p.Canonical()
	if !inTrie(segments) {
		e := f.entries[keyOf(segments)]
		if e == nil && create {
			under := f.freest(segments)
			if x.twin != nil {
				under = x.twin.forest(p.Separator()).entries[keyOf(segments)].anchor.segment
			} else if a := f.anchors[under]; a != nil && len(a.entries) >= maxAnchored {
				return nil
			}
			e = f.put(p, segments, under)
		}
		return &e.subs
	}
	way, deep := wayTo(segments)
	at := &f.root
	for _, segment := range way {
		at = at.child(segment, create)
	}
	if deep {
		return &at.under
	}
	return &at.subs
}

func (x *index) forest(separator byte) *forest {
	switch separator {
	case '/':
		return &x.slash
	case '.':
		return &x.dot
	}
	return nil
}

func isWildcard(segment string) bool { return segment == "*" || segment == "**" }

// wayTo is the way to a pattern in a trie; deep says that a ** comes after it.
func wayTo(canonical []string) (way []string, deep bool) {
	last := len(canonical) - 1
	if canonical[last] == "**" {
		return canonical[:last], true
	}
	return canonical, false
}

// inTrie reports whether a pattern is kept in the trie: one with at most two *, one with a single **, whatever of these with a ** at its
// end, which leads nowhere else, and one with nothing else, of which there are few.
func inTrie(canonical []string) bool {
	star, deep, literals := 0, 0, 0
	for i, segment := range canonical {
		switch {
		case segment == "*":
			star++
		case segment != "**":
			literals++
		case i < len(canonical)-1:
			deep++
		}
	}
	return literals == 0 || deep == 0 && star <= maxTrieStars || star == 0 && deep <= maxTrieDeep
}

// keyOf is a canonical form as a key of a forest.
func keyOf(canonical []string) string { return strings.Join(canonical, "\x00") }

// freest is the segment under which the fewest patterns are.
func (f *forest) freest(canonical []string) (segment string) {
	least := -1
	for _, other := range canonical {
		if isWildcard(other) {
			continue
		}
		n := 0
		if a := f.anchors[other]; a != nil {
			n = len(a.entries)
		}
		if least < 0 || n < least {
			segment, least = other, n
		}
	}
	return segment
}

func (f *forest) put(p protocol.Pattern, canonical []string, segment string) *entry {
	if f.entries == nil {
		f.entries, f.anchors = make(map[string]*entry), make(map[string]*anchor)
	}
	a := f.anchors[segment]
	if a == nil {
		a = &anchor{segment: segment}
		f.anchors[segment] = a
	}
	e := &entry{pattern: p, anchor: a}
	f.entries[keyOf(canonical)] = e
	a.entries = append(a.entries, e)
	return e
}

func (f *forest) drop(canonical []string) {
	e := f.entries[keyOf(canonical)]
	delete(f.entries, keyOf(canonical))
	e.anchor.entries = slices.DeleteFunc(e.anchor.entries, func(other *entry) bool { return other == e })
	if len(e.anchor.entries) == 0 {
		delete(f.anchors, e.anchor.segment)
	}
}

// empty reports whether no pattern is here.
func (f *forest) empty() bool { return len(f.entries) == 0 && len(f.anchors) == 0 && f.root.prune(nil) }

// after returns the child by a segment that is no wildcard; nil where there is none.
func (n *node) after(segment string) *node {
	if n.only != nil && n.only.segment == segment {
		return n.only
	}
	return n.children[segment]
}

// child returns the child by a segment or wildcard; where there is none, create makes one.
func (n *node) child(segment string, create bool) *node {
	next := n.place(segment)
	if next == nil {
		c := n.after(segment)
		if c != nil || !create {
			return c
		}
		c = &node{segment: segment}
		if n.only == nil {
			n.only = c
			return c
		}
		if n.children == nil {
			n.children = make(map[string]*node)
		}
		n.children[segment] = c
		return c
	}
	if *next == nil && create {
		*next = &node{segment: segment, isDeep: segment == "**"}
	}
	return *next
}

// place is where the child by a wildcard is kept; nil for other segments.
func (n *node) place(segment string) **node {
	switch segment {
	case "*":
		return &n.star
	case "**":
		return &n.deep
	}
	return nil
}

// ends reports whether no node comes after this one.
func (n *node) ends() bool {
	return n.only == nil && len(n.children) == 0 && n.star == nil && n.deep == nil
}

// prune frees the empty nodes on the way that segments lead. It reports whether n itself is empty.
func (n *node) prune(segments []string) bool {
	if len(segments) > 0 {
		segment := segments[0]
		if c := n.child(segment, false); c != nil && c.prune(segments[1:]) {
			switch {
			case isWildcard(segment):
				*n.place(segment) = nil
			case c == n.only:
				n.only = nil
			default:
				delete(n.children, segment)
			}
		}
	}
	return len(n.subs) == 0 && len(n.under) == 0 && n.ends()
}

// done lets go of what match gave, so that nothing of it is kept in memory until the next.
func (x *index) done() { clear(x.hits) }

// match gives the lists of subscriptions that match the name, to which a message was published at the given time; zero where none was.
// They are valid until the next call or change.
func (x *index) match(name string, at time.Time) []list {
	x.hits = x.hits[:0]
	if t := x.exact[name]; t != nil {
		if !at.IsZero() {
			t.published++
			t.publishedAt = at
		}
		x.hits = append(x.hits, t.subs)
	}
	if len(x.all) > 0 {
		x.hits = append(x.hits, x.all)
	}
	switch {
	case strings.IndexByte(name, '/') >= 0:
		x.search(&x.slash, name, '/')
	case strings.IndexByte(name, '.') >= 0:
		x.search(&x.dot, name, '.')
	default:
		if len(x.one) > 0 {
			x.hits = append(x.hits, x.one)
		}
		x.search(&x.slash, name, '/')
		x.search(&x.dot, name, '.')
	}
	return x.hits
}

func (x *index) search(f *forest, name string, separator byte) {
	x.walk(&f.root, name, separator)
	if len(f.anchors) == 0 {
		return
	}
	x.lookup++
	var room [protocol.MaxChannelSegments]string
	segments := room[:0]
	for rest, more := name, true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, string(separator))
		segments = append(segments, segment)
	}
	for _, segment := range segments {
		a := f.anchors[segment]
		if a == nil || a.lookup == x.lookup {
			continue
		}
		a.lookup = x.lookup
		x.visited += uint64(len(a.entries))
		for _, e := range a.entries {
			if e.pattern.MatchSegments(segments) {
				x.hits = append(x.hits, e.subs)
			}
		}
	}
}

// walk follows all ways through the trie at once, a segment at a time. A node is visited at most once a step however many ways
// lead to it, which is what keeps patterns with several ** from costing exponentially.
func (x *index) walk(root *node, name string, separator byte) {
	if root.ends() && len(root.under) == 0 {
		return
	}
	x.lookup++
	x.step++
	x.next = x.next[:0]
	x.reach(root)
	for more := true; more && len(x.next) > 0; {
		var segment string
		if i := strings.IndexByte(name, separator); i >= 0 {
			segment, name = name[:i], name[i+1:]
		} else {
			segment, more = name, false
		}
		x.now, x.next = x.next, x.now[:0]
		x.step++
		for _, n := range x.now {
			if n.isDeep {
				x.reach(n)
			}
			if n.star != nil {
				x.reach(n.star)
			}
			if c := n.after(segment); c != nil {
				x.reach(c)
			}
		}
	}
	for _, n := range x.next {
		if len(n.subs) > 0 {
			x.hits = append(x.hits, n.subs)
		}
	}
}

// reach adds n to the places of the next step, and with it the place after a ** for no segments.
func (x *index) reach(n *node) {
	if n.step == x.step {
		return
	}
	n.step = x.step
	x.visited++
	if len(n.under) > 0 {
		if n.found != x.lookup {
			n.found = x.lookup
			x.hits = append(x.hits, n.under)
		}
		if n.ends() && len(n.subs) == 0 {
			return
		}
	}
	x.next = append(x.next, n)
	if n.deep != nil {
		x.reach(n.deep)
	}
}
