package flow

import (
	"fmt"
	"strings"
	"testing"
)

// script drives a queue of one class: "x1" pushes message 1 of channel x (offset 1, behind the one pushed before), "." takes what
// stands first. taken is all of that.
func script(class *Class, steps string) (taken []string) {
	var q Queue
	last := make(map[string]uint64)
	for _, step := range strings.Fields(steps) {
		if step != "." {
			var offset uint64
			fmt.Sscan(step[1:], &offset)
			channel := step[:1]
			q.Push(class, &Item{Channel: channel, Offset: offset, Prev: last[channel], Bytes: []byte(step)}, 0)
			last[channel] = offset
			continue
		}
		switch item, gap := q.Pop(); {
		case gap != nil:
			taken = append(taken, fmt.Sprintf("%s(%d,%d]%d", gap.Channel, gap.After, gap.Before, gap.Dropped))
		case item != nil:
			taken = append(taken, string(item.Bytes))
		default:
			taken = append(taken, "-")
		}
	}
	return taken
}

func TestQueuePolicies(t *testing.T) {
	tests := []struct {
		name   string
		policy Policy
		steps  string
		want   string
	}{
		{"oldest goes first", DropOldest, "x1 x2 x3 x4 x5 . . . . .", "x(0,3]2 x3 x4 x5 -"},
		{"a gap for each channel", DropOldest, "x1 y2 x3 y4 x5 . . . . . .", "x(0,3]1 y(0,4]1 x3 y4 x5 -"},
		{"a gap where nothing follows", DropOldest, "x1 y2 y3 y4 . . . . .", "x(0,0]1 y2 y3 y4 -"},
		{"what was taken stands before the gap", DropOldest, "x1 . x2 x3 x4 x5 . . . . .", "x1 x(1,3]1 x3 x4 x5 -"},
		{"what a gap promised comes", DropOldest, "x1 x2 x3 x4 . x5 x6 . . . .", "x(0,2]1 x2 x(2,5]2 x5 x6"},
		{"what a gap promised comes even if nothing else fits", DropOldest,
			"x1 y2 z3 x4 y5 z6 . . . x7 x8 . . . . .", "x(0,4]1 y(0,5]1 z(0,6]1 x4 y5 z6 x(4,0]2 -"},
		{"no gap before is named as delivered", DropOldest, "x1 . x2 y3 y4 y5 . x6 y7 y8 y9 . . . . .", "x1 x(1,0]1 y(0,7]3 x(1,0]1 y7 y8 y9"},
		{"newest goes first", DropNewest, "x1 x2 x3 x4 x5 . x6 . . . . .", "x1 x2 x3 x(3,6]2 x6 -"},
		{"newest of several channels", DropNewest, "x1 y2 z3 x4 y5 x6 . . . . . .", "x1 y2 z3 x(1,0]2 y(2,0]1 -"},
		{"two gaps of newest", DropNewest, "x1 x2 x3 x4 . x5 x6 . . . . . .", "x1 x2 x3 x(3,5]1 x5 x(5,0]1 -"},
		{"newest behind a gap that was told", DropNewest, "y1 y2 x3 x4 . y5 . . y6 y7 . x8 . . . . .", "y1 y2 x3 x(3,0]1 y5 y6 y7 x(3,0]1 -"},
		{"all go", DropAll, "x1 y2 x3 x4 . . . .", "x(0,4]2 y(0,0]1 x4 -"},
		{"all go twice", DropAll, "x1 x2 x3 x4 x5 x6 x7 . . .", "x(0,7]6 x7 -"},
		{"nothing gets past block", Block, "x1 x2 x3 x4 . . . .", "x1 x2 x3 -"},
		{"nothing gets past disconnect", Disconnect, "x1 x2 x3 x4 . . . .", "x1 x2 x3 -"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			class := &Class{MaxMessages: 3, MaxBytes: 1000, Policy: tt.policy, History: true}
			if got := strings.Join(script(class, tt.steps), " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestQueueOverflowsWithTooManyGaps(t *testing.T) {
	for _, policy := range []Policy{DropOldest, DropNewest, DropAll} {
		t.Run(policy.String(), func(t *testing.T) {
			var q Queue
			class := &Class{MaxMessages: 1, MaxBytes: 1000, Policy: policy}
			pushed := 0
			for q.Push(class, &Item{Channel: fmt.Sprint(pushed)}, 0) != Overflow {
				if pushed++; pushed > 2*maxGaps {
					t.Fatal("gaps without end")
				}
			}
			if q.Len() < maxGaps || q.Len() > maxGaps+3 {
				t.Errorf("%d wait", q.Len())
			}
		})
	}
}

// TestQueueForgetsWhatItTold has a client lose messages of ever new channels, of which only so much may be remembered. What is
// forgotten must not become a false statement.
func TestQueueForgetsWhatItTold(t *testing.T) {
	var q Queue
	class := &Class{MaxMessages: 1, MaxBytes: 1000, Policy: DropOldest, History: true}
	offset := uint64(0)
	push := func(channel string, prev uint64) {
		offset++
		q.Push(class, &Item{Channel: channel, Offset: offset, Prev: prev}, 0)
	}
	push("known", 0)
	q.Pop()
	for i := range 3 * maxGaps {
		push(fmt.Sprint(i), 0)
		push("busy", 0)
		if _, gap := q.Pop(); gap == nil || gap.Before != 0 {
			t.Fatalf("%+v, want a gap with nothing behind", gap)
		}
		q.Pop()
	}
	if len(q.told) > maxGaps {
		t.Errorf("%d channels are remembered", len(q.told))
	}
	for channel, prev := range map[string]uint64{"0": 2, "known": 1} {
		push(channel, prev)
		push("busy", 0)
		if _, gap := q.Pop(); gap == nil || gap.After != 0 {
			t.Errorf("gap %+v, of which nothing before is known", gap)
		}
		q.Pop()
	}
}

// TestQueueMixesClasses has the classes of an old configuration make room for those of a new one.
func TestQueueMixesClasses(t *testing.T) {
	var q Queue
	for i := range 50 {
		class := &Class{MaxMessages: 2, MaxBytes: 100}
		for range 2 {
			if q.Push(class, &Item{Channel: "a", Bytes: []byte("x")}, 0) != Queued || q.Waiting(class) == 0 {
				t.Fatalf("class %d is counted with another", i)
			}
		}
		q.Pop()
		q.Pop()
		if !q.Fits(class, 1000) || q.Waiting(class) != 0 {
			t.Fatalf("class %d is not empty", i)
		}
	}
	if len(q.classes) != 1 {
		t.Errorf("%d classes are remembered", len(q.classes))
	}
}

// TestQueueGapsOfWhatIsInNoHistory: a class with history may still carry messages that are in none.
func TestQueueGapsOfWhatIsInNoHistory(t *testing.T) {
	var q Queue
	class := &Class{MaxMessages: 1, MaxBytes: 100, History: true}
	q.Push(class, &Item{Channel: "a"}, 0)
	q.Push(class, &Item{Channel: "a"}, 0)
	if _, gap := q.Pop(); gap == nil || *gap != (Gap{Channel: "a", Dropped: 1, Reason: "drop_oldest"}) {
		t.Errorf("gap %+v", gap)
	}
}

func TestQueueClear(t *testing.T) {
	var q Queue
	class := &Class{MaxMessages: 2, MaxBytes: 100}
	for range 4 {
		q.Push(class, &Item{Channel: "a", Bytes: []byte("x")}, 0)
	}
	q.PushReply(&Item{Bytes: []byte("reply")})
	q.Pop()
	q.Clear()
	if item, gap := q.Pop(); item != nil || gap != nil || q.Len() != 0 || q.Bytes() != 0 || q.ReplyBytes() != 0 || q.Waiting(class) != 0 {
		t.Error("something is left")
	}
	if want := (Counts{Offered: 4, Dropped: 4}); q.Counts() != want {
		t.Errorf("counts %+v, want %+v", q.Counts(), want)
	}
	if want := (Losses{2, 6: 2}); *q.Losses() != want {
		t.Errorf("losses %v, want %v", *q.Losses(), want)
	}
	if q.Push(class, &Item{Channel: "a"}, 0) != Queued || q.Len() != 1 {
		t.Error("it is of no use any more")
	}
}

// TestQueueAllocatesNothing is of the client that keeps up: pushing to it and popping cost no memory, whatever it has lost before.
func TestQueueAllocatesNothing(t *testing.T) {
	classes := []*Class{{MaxMessages: 10, MaxBytes: 1000}, {MaxMessages: 10, MaxBytes: 1000, Policy: DropNewest}}
	item, other, reply := &Item{Channel: "a", Bytes: make([]byte, 10)}, &Item{Channel: "b"}, &Item{Bytes: make([]byte, 10)}
	var q Queue
	for range 100 {
		q.Push(classes[0], item, 0)
	}
	for q.Len() > 0 {
		q.Pop()
	}
	once := func() {
		q.Push(classes[0], item, 0)
		q.Push(classes[1], other, 0)
		q.PushReply(reply)
		for q.Len() > 0 {
			q.Pop()
		}
	}
	once()
	if n := testing.AllocsPerRun(100, once); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	item := &Item{Channel: "a", Bytes: make([]byte, 128)}
	b.Run("kept up", func(b *testing.B) {
		var q Queue
		class := &Class{MaxMessages: 1000, MaxBytes: 1 << 20}
		b.ReportAllocs()
		for b.Loop() {
			q.Push(class, item, 0)
			q.Pop()
		}
	})
	for _, policy := range []Policy{DropOldest, DropNewest} {
		b.Run("full "+policy.String(), func(b *testing.B) {
			var q Queue
			class := &Class{MaxMessages: 1000, MaxBytes: 1 << 20, Policy: policy}
			b.ReportAllocs()
			for b.Loop() {
				q.Push(class, item, 0)
			}
		})
	}
}
