package hub

import (
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// TestSamplerChooses: one message in so many, and one after a second without any.
func TestSamplerChooses(t *testing.T) {
	s := newSampler()
	began := s.began
	chosen := func(sequence uint64, at time.Duration) bool {
		m := &Message{Sequence: sequence, Time: began.Add(at)}
		s.choose(m)
		if m.sample != 0 && m.sample != max(1, int64(at)) {
			t.Errorf("noted as %d, want %d", m.sample, at)
		}
		return m.sample != 0
	}
	for i, test := range []struct {
		sequence uint64
		at       time.Duration
		want     bool
	}{
		{1, 0, true}, {2, 0, false}, {3, time.Second - 1, false}, {64, time.Second - 1, true}, {65, time.Second, false},
		{66, 2 * time.Second, true}, {67, 2*time.Second + 1, false}, {128, 2*time.Second + 2, true}, {200, 3*time.Second + 2, true},
	} {
		if got := chosen(test.sequence, test.at); got != test.want {
			t.Errorf("%d: %d at %v is chosen: %t", i, test.sequence, test.at, got)
		}
	}
}

func TestNamesCount(t *testing.T) {
	var n names
	n.add("a")
	n.add("b")
	n.add("a")
	n.remove("a")
	if n.count() != 2 {
		t.Errorf("%d names", n.count())
	}
	n.remove("a")
	n.remove("b")
	if n.count() != 0 || len(n.shards) != 0 {
		t.Errorf("%d names", n.count())
	}
}

func TestCloseLabels(t *testing.T) {
	known := newCloses()
	for code, want := range map[int]string{0: "1006", 1000: "1000", 1005: "1005", 4008: "4008", 4999: "other", 3000: "other", 1006: "other"} {
		got := closeLabel(protocol.CloseCode(code))
		if _, ok := known[got]; got != want || !ok {
			t.Errorf("%d is counted as %s", code, got)
		}
	}
}
