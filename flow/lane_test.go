package flow

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// stream is one that sends through a lane: it has a message on its way in or it has none.
type stream struct {
	msg     []byte
	arrived int           // when it came with msg
	wait    chan struct{} // nil where it does not wait
}

func (s *stream) woken() bool {
	select {
	case <-s.wait:
		return true // never of a nil channel
	default:
		return false
	}
}

// lanes runs a lane beside a plain list of what it should hold.
type lanes struct {
	*rapid.T
	lane    Lane
	streams []*stream
	clock   int
	held    [][]byte
}

func (l *lanes) draw(label string, those func(*stream) bool) *stream {
	var some []*stream
	for _, s := range l.streams {
		if those(s) {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return rapid.SampledFrom(some).Draw(l.T, label)
}

func (l *lanes) bytes() (n int) {
	for _, msg := range l.held {
		n += len(msg)
	}
	return n
}

// in notes what became of a try to get in.
func (l *lanes) in(s *stream, wait chan struct{}) {
	s.wait = wait
	if wait != nil {
		if len(l.held) == 0 && !slices.ContainsFunc(l.streams, func(o *stream) bool { return o != s && o.wait != nil }) {
			l.Fatal("it waits for nobody")
		}
		return
	}
	for _, other := range l.streams {
		if other.wait != nil && other.arrived < s.arrived {
			l.Fatalf("the stream of %d got in before that of %d", s.arrived, other.arrived)
		}
	}
	l.held = append(l.held, s.msg)
}

func (l *lanes) push() {
	s := l.draw("pusher", func(s *stream) bool { return s.wait == nil })
	if s == nil {
		return
	}
	l.clock++
	s.arrived = l.clock
	s.msg = bytes.Repeat([]byte{byte(l.clock)}, rapid.IntRange(1, 14).Draw(l.T, "size"))
	l.in(s, l.lane.Push(s.msg))
}

func (l *lanes) retry() {
	if s := l.draw("woken", (*stream).woken); s != nil {
		l.in(s, l.lane.Retry(s.msg))
	}
}

// leave is of one that waits or whose turn has come.
func (l *lanes) leave() {
	if s := l.draw("leaver", func(s *stream) bool { return s.wait != nil }); s != nil {
		l.lane.Leave(s.wait)
		s.wait = nil
	}
}

func (l *lanes) pop() {
	got := l.lane.Pop()
	if len(l.held) == 0 {
		if got != nil {
			l.Fatalf("got %v of an empty lane", got)
		}
		return
	}
	if !bytes.Equal(got, l.held[0]) {
		l.Fatalf("got %v, want %v", got, l.held[0])
	}
	l.held = l.held[1:]
}

func (l *lanes) clear() {
	l.lane.Clear()
	l.held = nil
	for _, s := range l.streams {
		if s.wait != nil && !s.woken() {
			l.Fatal("one waits on after all was cleared")
		}
		s.wait = nil
	}
}

func (l *lanes) check() {
	if l.lane.Len() != len(l.held) || l.lane.Bytes() != l.bytes() {
		l.Fatalf("%d of %d bytes, want %d of %d", l.lane.Len(), l.lane.Bytes(), len(l.held), l.bytes())
	}
	if len(l.held) > 1 && l.bytes() > l.lane.Max {
		l.Fatalf("%d bytes wait", l.bytes())
	}
	if fill := l.lane.Fill(); fill < 0 || fill > 1 || (fill == 1) != (l.bytes() >= l.lane.Max) {
		l.Fatalf("fill %v at %d bytes", fill, l.bytes())
	}
}

func TestLaneAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &lanes{T: t, lane: Lane{Max: 20}, streams: []*stream{{}, {}, {}, {}}}
		step := func(f func()) func(*rapid.T) { return func(*rapid.T) { f() } }
		actions := map[string]func(*rapid.T){
			"push": step(l.push), "and push": step(l.push), "pop": step(l.pop), "retry": step(l.retry), "and retry": step(l.retry),
			"leave": step(l.leave), "": step(l.check),
		}
		if rapid.IntRange(0, 3).Draw(t, "may be cleared") == 0 {
			actions["clear"] = step(l.clear)
		}
		t.Repeat(actions)
		// Whoever waits gets in as long as the lane is drained and those whose turn has come take it.
		woken := func() int { return slices.IndexFunc(l.streams, (*stream).woken) }
		for woken() >= 0 || len(l.held) > 0 {
			for i := woken(); i >= 0; i = woken() {
				l.in(l.streams[i], l.lane.Retry(l.streams[i].msg))
			}
			l.pop()
			l.check()
		}
		if l.lane.Pop() != nil || slices.ContainsFunc(l.streams, func(s *stream) bool { return s.wait != nil }) {
			t.Fatal("one waits for ever")
		}
	})
}

func TestLaneOversized(t *testing.T) {
	l := Lane{Max: 4}
	if l.Push(make([]byte, 9)) != nil || l.Fill() != 1 {
		t.Error("a message larger than the lane does not get into the empty lane")
	}
	wait := l.Push([]byte("x"))
	if wait == nil {
		t.Fatal("there is room behind it")
	}
	l.Pop()
	<-wait
	if l.Retry([]byte("x")) != nil || l.Len() != 1 || l.Bytes() != 1 {
		t.Error("its turn was none")
	}
}

func TestLaneLeaveInEveryState(t *testing.T) {
	full := func() (l *Lane, first, second chan struct{}) {
		l = &Lane{Max: 4}
		l.Push([]byte("full"))
		return l, l.Push([]byte("aa")), l.Push([]byte("bb"))
	}
	awake := func(wait chan struct{}) bool { return (&stream{wait: wait}).woken() }
	t.Run("waiting first", func(t *testing.T) {
		l, first, second := full()
		l.Leave(first)
		l.Pop()
		if awake(first) || !awake(second) {
			t.Error("the turn went to the one that left")
		}
	})
	t.Run("waiting second", func(t *testing.T) {
		l, first, second := full()
		l.Leave(second)
		l.Pop()
		if !awake(first) || awake(second) {
			t.Error("the turn went to the one that left")
		}
	})
	t.Run("with the turn", func(t *testing.T) {
		l, first, second := full()
		l.Pop()
		l.Leave(first)
		if !awake(first) || !awake(second) {
			t.Error("the turn was not passed on")
		}
	})
	t.Run("after having got in", func(t *testing.T) {
		l, first, second := full()
		l.Pop()
		if l.Retry([]byte("aa")) != nil || !awake(second) {
			t.Fatal("no turn")
		}
		l.Leave(first)
		if l.Retry([]byte("bb")) != nil {
			t.Error("the turn was lost")
		}
	})
	t.Run("after clearing", func(t *testing.T) {
		l, first, second := full()
		l.Clear()
		if !awake(first) || !awake(second) || l.Len() != 0 || l.Bytes() != 0 {
			t.Error("not clear")
		}
		l.Leave(first)
		l.Leave(second)
		if l.Push([]byte("x")) != nil {
			t.Error("somebody still has a turn")
		}
	})
}

func TestLaneTakesTurns(t *testing.T) {
	// Both got their turn; that the second comes first is the scheduler's choice and must not put it before the first.
	l := Lane{Max: 4}
	l.Push([]byte("12"))
	l.Push([]byte("34"))
	first, second := l.Push([]byte("aaaa")), l.Push([]byte("bb"))
	l.Pop()
	if (&stream{wait: second}).woken() {
		t.Error("the second has its turn before the first took its own")
	}
	l.Pop()
	<-first
	if newcomer := l.Push([]byte("cc")); newcomer == nil {
		t.Error("a newcomer took the room of the one whose turn it is")
	}
	if l.Retry([]byte("aaaa")) != nil {
		t.Error("the turn was none")
	}
}
