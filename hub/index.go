package hub

import (
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

// index finds the subscriptions that match a name: exact names in a map, patterns in a trie of segments for either separator. The
// cost of a look-up grows with the name's segments and the patterns that match, not with those that do not. It belongs to one
// shard and holds no lock.
type index struct {
	exact      map[string]*topic
	slash, dot node
	one        list   // of the pattern *: every name of one segment
	all        list   // of the pattern **: every name
	names      *names // that stand in exact, here and in other indexes; nil where they are not counted

	// Kept between look-ups so that these allocate nothing.
	hits      []list
	now, next []*node
	round     uint64
}

// node is a place in the trie, reached by the segments above it.
type node struct {
	children map[string]*node
	star     *node // behind *
	deep     *node // behind **: it stays here over any number of segments
	isDeep   bool
	subs     list
	round    uint64 // of the last look-up step that came here
}

// topic is a name that connections are subscribed to.
type topic struct {
	subs        list
	published   uint64 // messages since the first of these subscriptions
	publishedAt time.Time
}

func newIndex() index { return index{exact: make(map[string]*topic)} }

func (x *index) add(s *subscription) { x.listOf(s.pattern, true).add(s) }

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
	} else if root := x.root(p.Separator()); root != nil {
		root.prune(p.Segments())
	}
}

// listOf is where subscriptions to p stand; create makes the way to it.
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
	at := x.root(p.Separator())
	if at == nil {
		if p.String() == "**" {
			return &x.all
		}
		return &x.one
	}
	for _, segment := range p.Segments() {
		at = at.child(segment, create)
	}
	return &at.subs
}

func (x *index) root(separator byte) *node {
	switch separator {
	case '/':
		return &x.slash
	case '.':
		return &x.dot
	}
	return nil
}

func (n *node) child(segment string, create bool) *node {
	var next **node
	switch segment {
	case "*":
		next = &n.star
	case "**":
		next = &n.deep
	default:
		c := n.children[segment]
		if c == nil && create {
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			c = new(node)
			n.children[segment] = c
		}
		return c
	}
	if *next == nil && create {
		*next = &node{isDeep: segment == "**"}
	}
	return *next
}

// prune frees the empty nodes on the way that segments lead; it tells whether n itself is empty.
func (n *node) prune(segments []string) bool {
	if len(segments) > 0 {
		if c := n.child(segments[0], false); c != nil && c.prune(segments[1:]) {
			switch segments[0] {
			case "*":
				n.star = nil
			case "**":
				n.deep = nil
			default:
				delete(n.children, segments[0])
			}
		}
	}
	return len(n.subs) == 0 && len(n.children) == 0 && n.star == nil && n.deep == nil
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
		x.walk(&x.slash, name, '/')
	case strings.IndexByte(name, '.') >= 0:
		x.walk(&x.dot, name, '.')
	default:
		if len(x.one) > 0 {
			x.hits = append(x.hits, x.one)
		}
		x.walk(&x.slash, name, '/')
		x.walk(&x.dot, name, '.')
	}
	return x.hits
}

// walk follows all ways through the trie at once, a segment at a time. A node is visited at most once a step however many ways
// lead to it, which is what keeps patterns with several ** from costing exponentially.
func (x *index) walk(root *node, name string, separator byte) {
	if root.children == nil && root.star == nil && root.deep == nil {
		return
	}
	x.round++
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
		x.round++
		for _, n := range x.now {
			if n.isDeep {
				x.reach(n)
			}
			if n.star != nil {
				x.reach(n.star)
			}
			if c := n.children[segment]; c != nil {
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

// reach adds n to the places of the next step, and with it the place behind a ** that stands for nothing.
func (x *index) reach(n *node) {
	if n.round == x.round {
		return
	}
	n.round = x.round
	x.next = append(x.next, n)
	if n.deep != nil {
		x.reach(n.deep)
	}
}
