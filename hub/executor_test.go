package hub

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
)

// TestExecutorRunsOneAtATime has many bring work beside a reader: nothing runs beside anything else, nothing is left out, and what one
// brings runs in its order.
func TestExecutorRunsOneAtATime(t *testing.T) {
	const bringers, each = 8, 200
	var (
		e       executor
		inside  atomic.Int32
		order   [bringers][]int
		waiting sync.WaitGroup
		done    sync.WaitGroup
	)
	alone := func(f func()) {
		if inside.Add(1) != 1 {
			t.Error("two run at once")
		}
		f()
		inside.Add(-1)
	}
	reads := 0
	done.Go(func() {
		for range bringers * each / 4 {
			e.enter()
			alone(func() { reads++ })
			e.leave()
		}
	})
	for i := range bringers {
		waiting.Add(each)
		done.Go(func() {
			for n := range each {
				e.do(func() {
					alone(func() { order[i] = append(order[i], n) })
					waiting.Done()
				})
			}
		})
	}
	done.Wait()
	waiting.Wait()
	for i, got := range order {
		if len(got) != each || !slices.IsSorted(got) {
			t.Errorf("of bringer %d ran %v", i, got)
		}
	}
	if e.running || len(e.tasks) > 0 || reads != bringers*each/4 {
		t.Errorf("left behind: %+v, %d reads", &e.tasks, reads)
	}
}

// TestExecutorRunsAfterTheReader: what comes while the reader is at work runs when it leaves, before it enters again.
func TestExecutorRunsAfterTheReader(t *testing.T) {
	var e executor
	var ran []string
	e.enter()
	e.do(func() {
		ran = append(ran, "first")
		e.do(func() { ran = append(ran, "from the first") })
	})
	e.do(func() { ran = append(ran, "second") })
	if len(ran) > 0 {
		t.Fatalf("%v ran beside the reader", ran)
	}
	e.leave()
	if !slices.Equal(ran, []string{"first", "second", "from the first"}) {
		t.Errorf("ran %v", ran)
	}
	e.do(func() { ran = append(ran, "at once") })
	if ran[len(ran)-1] != "at once" {
		t.Error("nothing runs, and yet it waits")
	}
}

// TestUndecided: a subscription that is not among the verdicts, or changed since they were made, is returned; until it is decided its
// messages are held against the rules one by one.
func TestUndecided(t *testing.T) {
	sh, _ := benchShard(0)
	settings := sh.hub.Settings()
	c := &Conn{hub: sh.hub, shard: sh, writing: true}
	c.identity.Store(access.Anonymous)
	sh.register(c)
	join := func(channel string) *subscription {
		sub, _ := sh.subscription(c, mustPattern(t, channel), "")
		sub.rule = settings.Fallback
		return sub
	}
	decided, watched := join("decided"), join("watched")
	verdicts := sh.hub.decide(settings, c.Identity(), c.heldByShard())
	made := join("made")
	sh.attend(watched, false, true)
	var left []*subscription
	for _, at := range sh.apply(c, &access.Identity{User: "ann"}, verdicts) {
		left = append(left, at.sub)
		if at.rule != nil || at.sub.rule != nil {
			t.Errorf("%s keeps its rule", at.sub.pattern)
		}
	}
	if len(left) != 2 || !slices.Contains(left, watched) || !slices.Contains(left, made) {
		t.Errorf("%d are undecided", len(left))
	}
	if decided.rule != settings.Fallback || len(c.subs) != 3 || c.Identity().User != "ann" {
		t.Error("what was decided did not take effect")
	}
}
