package flow

import "sync"

// This file is the lists that Queue keeps its messages in.

// none is the index of no node.
const none = int32(-1)

// node is a place in the queue. Nodes live in one slice and link to each other by index, so that dropping from the middle costs
// the same as from the front, and a queue that is empty holds next to nothing.
type node struct {
	item         *Item  // nil in a gap
	gap          *Gap   // nil in a message
	class        int32  // index into classes; none for replies
	sealed       bool   // of a gap: a message of its channel waits behind it
	promised     bool   // of a message: a gap has named it as the next, so that it cannot be dropped any more
	after        uint64 // of a message: what After is in a gap in its place
	prev, next   int32  // in the queue
	prevC, nextC int32  // in its class; nextC also links free nodes
}

// usage is how much of a class waits.
type usage struct {
	class      *Class
	messages   int
	bytes      int
	head, tail int32 // of the messages that may be dropped

	// latest is, while the class conflates, the newest message of each channel that may be dropped; nil while it does not.
	latest map[string]int32
}

// usageOf is the index of the class's usage, which it makes where the class is new to this queue.
func (q *Queue) usageOf(class *Class) int32 {
	unused := none
	for i := range q.classes {
		if q.classes[i].class == class {
			return int32(i)
		}
		if q.classes[i].messages == 0 {
			unused = int32(i)
		}
	}
	fresh := usage{class: class, head: none, tail: none}
	if unused != none {
		// Classes of an older configuration make room for those of the newer one.
		q.classes[unused] = fresh
		return unused
	}
	q.classes = append(q.classes, fresh)
	return int32(len(q.classes) - 1)
}

// link takes a free node and puts it at the end of the queue and of its class.
func (q *Queue) link(class int32) int32 {
	var n int32
	if q.free > 0 {
		n = q.free - 1
		q.free = q.nodes[n].nextC
	} else {
		n = int32(len(q.nodes))
		if len(q.nodes) == keepNodes && cap(q.nodes) == keepNodes {
			q.nodes = append(nodePool.Get().(*[pooledNodes]node)[:0], q.nodes...)
		}
		q.nodes = append(q.nodes, node{})
	}
	q.nodes[n] = node{class: class, prev: q.tail - 1, next: none, prevC: none, nextC: none}
	if q.tail > 0 {
		q.nodes[q.tail-1].next = n
	} else {
		q.head = n + 1
	}
	q.tail = n + 1
	q.length++
	if class != none {
		u := &q.classes[class]
		q.nodes[n].prevC = u.tail
		if u.tail != none {
			q.nodes[u.tail].nextC = n
		} else {
			u.head = n
		}
		u.tail = n
	}
	return n
}

// unlink takes node n out of the queue and its class and frees it.
func (q *Queue) unlink(n int32) {
	at := q.nodes[n]
	if at.prev != none {
		q.nodes[at.prev].next = at.next
	} else {
		q.head = at.next + 1
	}
	if at.next != none {
		q.nodes[at.next].prev = at.prev
	} else {
		q.tail = at.prev + 1
	}
	q.length--
	if at.item != nil {
		q.bytes -= len(at.item.Bytes)
	}
	if at.class != none {
		if !at.promised {
			q.unlinkClass(n)
		}
		u := &q.classes[at.class]
		u.messages--
		if at.item != nil {
			u.bytes -= len(at.item.Bytes)
		}
	} else if at.item != nil {
		q.replyBytes -= len(at.item.Bytes)
	}
	q.nodes[n] = node{nextC: q.free}
	q.free = n + 1
	if q.length == 0 {
		q.release()
	}
}

func (q *Queue) unlinkClass(n int32) {
	u := &q.classes[q.nodes[n].class]
	prev, next := q.nodes[n].prevC, q.nodes[n].nextC
	if prev != none {
		q.nodes[prev].nextC = next
	} else {
		u.head = next
	}
	if next != none {
		q.nodes[next].prevC = prev
	} else {
		u.tail = prev
	}
	q.nodes[n].prevC, q.nodes[n].nextC = none, none
	if u.latest != nil && u.latest[q.nodes[n].item.Channel] == n {
		delete(u.latest, q.nodes[n].item.Channel)
	}
}

// keepNodes is how many nodes an empty queue keeps, so that a client that is served at once costs no allocation per message.
const keepNodes = 4

// pooledNodes is how many nodes a queue takes from the pool when it has more than keepNodes: enough for what gathers for a client
// between two writes while much is published, so that this costs no allocation either.
const pooledNodes = 128

// nodePool holds arrays of nodes without items and gaps.
var nodePool = sync.Pool{New: func() any { return new([pooledNodes]node) }}

// release gives back what a full queue had grown to. All its nodes are free.
func (q *Queue) release() {
	switch n := cap(q.nodes); {
	case n <= keepNodes:
		q.nodes = q.nodes[:0]
	case n == pooledNodes:
		nodePool.Put((*[pooledNodes]node)(q.nodes[:pooledNodes]))
		q.nodes = nil
	default:
		q.nodes = nil
	}
	q.free = 0
	q.gaps = nil
}
