package flow

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// item is a message as the model knows it.
type item struct {
	stream, start, arrived int
	msg                    []byte
	wait                   chan struct{} // nil where it did not wait
}

func open(wait chan struct{}) bool {
	select {
	case <-wait:
		return true // never of a nil channel
	default:
		return false
	}
}

// lanes runs a lane beside plain lists of what should be in it and before it.
type lanes struct {
	*rapid.T
	lane    Lane
	shares  []Share
	ends    []int
	clock   int
	now     int
	in      []item
	waiting []item
}

func total(items []item, stream int) (n int) {
	for _, it := range items {
		if stream < 0 || it.stream == stream {
			n += len(it.msg)
		}
	}
	return n
}

func earlier(a, b item) int {
	if a.start != b.start {
		return a.start - b.start
	}
	return a.arrived - b.arrived
}

// admit is the rule in the simplest words.
func (l *lanes) admit() {
	for {
		streams := map[int]bool{}
		for _, it := range append(slices.Clone(l.in), l.waiting...) {
			streams[it.stream] = true
		}
		var fit []item
		for _, it := range l.waiting {
			own := total(l.in, it.stream)
			if own == 0 || own+len(it.msg) <= l.lane.Max/len(streams) {
				fit = append(fit, it)
			}
		}
		if len(fit) == 0 {
			return
		}
		first := slices.MinFunc(fit, earlier)
		if len(l.in) > 0 && total(l.in, -1)+len(first.msg) > l.lane.Max {
			return
		}
		l.waiting = slices.DeleteFunc(l.waiting, func(it item) bool { return it.arrived == first.arrived })
		l.in = append(l.in, first)
	}
}

func (l *lanes) push() {
	stream := rapid.IntRange(0, len(l.shares)-1).Draw(l.T, "stream")
	if slices.ContainsFunc(l.waiting, func(it item) bool { return it.stream == stream }) {
		return // a stream sends one message at a time
	}
	l.clock++
	it := item{stream: stream, arrived: l.clock, start: max(l.now, l.ends[stream])}
	it.msg = bytes.Repeat([]byte{byte(l.clock)}, rapid.IntRange(1, 14).Draw(l.T, "size"))
	l.ends[stream] = it.start + len(it.msg)
	it.wait = l.lane.Push(&l.shares[stream], it.msg)
	l.waiting = append(l.waiting, it)
	l.admit()
	if waits := slices.ContainsFunc(l.waiting, func(w item) bool { return w.arrived == it.arrived }); waits != (it.wait != nil) {
		l.Fatalf("the message waits: %v", !waits)
	}
}

func (l *lanes) leave() {
	if len(l.waiting) == 0 {
		return
	}
	i := rapid.IntRange(0, len(l.waiting)-1).Draw(l.T, "leaver")
	if !l.lane.Leave(l.waiting[i].wait) {
		l.Fatal("it was not there")
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	l.admit()
}

func (l *lanes) pop() {
	got := l.lane.Pop()
	if len(l.in) == 0 {
		if got != nil {
			l.Fatalf("got %v of an empty lane", got)
		}
		return
	}
	// Of each stream the oldest, and of these the one that starts first.
	heads := map[int]item{}
	for _, it := range l.in {
		if head, ok := heads[it.stream]; !ok || it.arrived < head.arrived {
			heads[it.stream] = it
		}
	}
	least := 1 << 30
	for _, head := range heads {
		least = min(least, head.start)
	}
	at := slices.IndexFunc(l.in, func(it item) bool { return bytes.Equal(it.msg, got) })
	if at < 0 || l.in[at].start != least || heads[l.in[at].stream].arrived != l.in[at].arrived {
		l.Fatalf("got %v, of %v", got, heads)
	}
	l.now = least
	l.in = slices.Delete(l.in, at, at+1)
	l.admit()
}

func (l *lanes) clear() {
	l.lane.Clear()
	for _, it := range l.waiting {
		if !open(it.wait) || l.lane.Leave(it.wait) {
			l.Fatal("one waits on after all was cleared")
		}
	}
	l.in, l.waiting = nil, nil
}

func (l *lanes) check() {
	if l.lane.Len() != len(l.in) || l.lane.Bytes() != total(l.in, -1) {
		l.Fatalf("%d of %d bytes, want %d of %d", l.lane.Len(), l.lane.Bytes(), len(l.in), total(l.in, -1))
	}
	if len(l.in) > 1 && l.lane.Bytes() > l.lane.Max {
		l.Fatalf("%d bytes are in it", l.lane.Bytes())
	}
	if fill := l.lane.Fill(); fill < 0 || fill > 1 || (fill == 1) != (l.lane.Bytes() >= l.lane.Max) {
		l.Fatalf("fill %v at %d bytes", fill, l.lane.Bytes())
	}
	for _, it := range l.waiting {
		if open(it.wait) {
			l.Fatal("one that waits was told that it is in")
		}
	}
	for _, it := range l.in {
		if it.wait != nil && (!open(it.wait) || l.lane.Leave(it.wait)) {
			l.Fatal("one that is in was not told, or could leave")
		}
	}
}

func TestLaneAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &lanes{T: t, lane: Lane{Max: 40}, shares: make([]Share, 4), ends: make([]int, 4)}
		step := func(f func()) func(*rapid.T) { return func(*rapid.T) { f() } }
		actions := map[string]func(*rapid.T){
			"push": step(l.push), "and push": step(l.push), "pop": step(l.pop), "leave": step(l.leave), "": step(l.check),
		}
		if rapid.IntRange(0, 3).Draw(t, "may be cleared") == 0 {
			actions["clear"] = step(l.clear)
		}
		t.Repeat(actions)
		for len(l.in) > 0 { // whoever waits gets in as long as the lane is drained
			l.pop()
			l.check()
		}
		if l.lane.Pop() != nil || len(l.waiting) > 0 {
			t.Fatal("one waits for ever")
		}
	})
}

func TestLaneOversized(t *testing.T) {
	l := Lane{Max: 4}
	if l.Push(new(Share), make([]byte, 9)) != nil || l.Fill() != 1 {
		t.Error("a message larger than the lane does not get into the empty lane")
	}
	wait := l.Push(new(Share), []byte("x"))
	if wait == nil {
		t.Fatal("there is room behind it")
	}
	l.Pop()
	if !open(wait) || l.Len() != 1 || l.Bytes() != 1 {
		t.Error("it did not get in behind it")
	}
}

// Streams that always have something to send get the same number of bytes, whatever the sizes of their messages.
func TestLaneIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		largest := rapid.SliceOfN(rapid.IntRange(1, 200), 2, 8).Draw(t, "largest messages")
		l := Lane{Max: 400 * len(largest)}
		type sender struct {
			share Share
			wait  chan struct{}
			got   int // bytes that went out
		}
		senders := make([]*sender, len(largest))
		fill := func(i int) {
			for s := senders[i]; s.wait == nil || open(s.wait); {
				size := largest[i]
				if size > 1 && rapid.Bool().Draw(t, "small") {
					size /= 2
				}
				s.wait = l.Push(&s.share, bytes.Repeat([]byte{byte(i)}, size))
			}
		}
		for i := range senders {
			senders[i] = new(sender)
		}
		for i := range senders {
			fill(i)
		}
		for range l.Max { // what filled the lane before the others came goes first
			senders[l.Pop()[0]].got = 0
			for i := range senders {
				fill(i)
			}
			if slices.ContainsFunc(l.busy, func(s *Share) bool { return s.bytes > l.Max/len(senders) }) || len(l.busy) < len(senders) {
				continue
			}
			break
		}
		for _, s := range senders {
			s.got = 0
		}
		for range 200 {
			msg := l.Pop()
			senders[msg[0]].got += len(msg)
			for i := range senders {
				fill(i)
			}
			for i, a := range senders {
				for j, b := range senders[:i] {
					if bound := largest[i] + largest[j]; a.got-b.got > bound || b.got-a.got > bound {
						t.Fatalf("%d has %d bytes, %d has %d: messages up to %d and %d", i, a.got, j, b.got, largest[i], largest[j])
					}
				}
			}
		}
	})
}
