package hub

import (
	"bytes"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
)

func TestFrameHeaders(t *testing.T) {
	tests := []struct {
		size int
		want []byte
	}{
		{0, []byte{0x81, 0}},
		{125, []byte{0x81, 125}},
		{126, []byte{0x81, 126, 0, 126}},
		{1<<16 - 1, []byte{0x81, 126, 0xff, 0xff}},
		{1 << 16, []byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
	}
	for _, test := range tests {
		msg := bytes.Repeat([]byte{'x'}, test.size)
		got := frame(msg)
		if !bytes.HasPrefix(got, test.want) || !bytes.Equal(got[len(test.want):], msg) || !bytes.Equal(payload(got), msg) {
			t.Errorf("%d bytes: header %x", test.size, got[:min(len(got), 10)])
		}
	}
	if got := closing(4008, string(bytes.Repeat([]byte{'r'}, 200))); len(got) != 2+125 || got[1] != 125 {
		t.Errorf("a long reason gives %d bytes", len(got))
	}
}

func TestMessageViews(t *testing.T) {
	for _, size := range []int{1, 200, 70_000} {
		data := append(append([]byte{'"'}, bytes.Repeat([]byte{'d'}, size)...), '"')
		m := NewMessage(Publication{Channel: "a/b", Data: data}, &Rule{History: Retention{Messages: 1}}, 7, 3, time.Unix(0, 0))
		if !bytes.Equal(m.Data(), data) {
			t.Errorf("data of %d bytes", size)
		}
		if m.JSON()[0] != '{' || m.JSON()[len(m.JSON())-1] != '}' || m.Offset != 7 || m.Prev != 3 {
			t.Errorf("%.80s", m.JSON())
		}
		if m := NewMessage(Publication{Channel: "a/b", Data: data}, &Rule{}, 7, 3, time.Unix(0, 0)); m.Offset != 0 || m.Prev != 0 || m.Sequence != 7 {
			t.Errorf("without history: %+v", m)
		}
	}
}

// nothing is a connection's receiver in benchmarks.
func benchShard(conns int) (*shard, *Message) {
	s := &Settings{Fallback: &Rule{Queue: flow.Class{MaxMessages: 1000, MaxBytes: 1 << 20}, Allow: access.Open}}
	h := &Hub{}
	h.settings.Store(s)
	h.presence = newPresence(h)
	sh := newShard(h)
	for range conns {
		c := &Conn{hub: h, shard: sh, writing: true} // as if a writer were at work: nothing is written
		sub := &subscription{conn: c}
		sh.index.add(func() *subscription { sub.pattern = mustPattern(failer{}, "c"); return sub }())
		sh.conns[c] = struct{}{}
	}
	return sh, NewMessage(Publication{Channel: "c", Data: []byte(`{"n":1}`)}, s.Fallback, 1, 0, time.Now())
}

type failer struct{}

func (failer) Fatal(args ...any) { panic(args) }

// drain empties the queues as a write would.
func drain(sh *shard) {
	for c := range sh.conns {
		for item, gap := c.queue.Pop(); item != nil || gap != nil; item, gap = c.queue.Pop() {
		}
	}
}

// TestDeliveryAllocatesNothing: handing a message to a thousand receivers costs no allocation, per receiver or at all.
func TestDeliveryAllocatesNothing(t *testing.T) {
	sh, m := benchShard(1000)
	once := func() {
		m.Sequence++
		sh.deliver(m)
		sh.flush()
		drain(sh)
	}
	once()
	if n := testing.AllocsPerRun(20, once); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkDeliver1000(b *testing.B) {
	sh, m := benchShard(1000)
	b.ReportAllocs()
	for b.Loop() {
		m.Sequence++
		sh.deliver(m)
		sh.flush()
		drain(sh)
	}
}
