package hub

import "testing"

// TestUnregisterLeavesNothing: a connection that has ended is held by nothing of its shard.
func TestUnregisterLeavesNothing(t *testing.T) {
	sh, _ := benchShard(0)
	c := &Conn{hub: sh.hub, shard: sh, writing: true}
	sh.register(c)
	for _, text := range []string{"a", "a/b", "a/*", "a/**/c", "a.*", "*", "**"} {
		sh.subscription(c, mustPattern(t, text), "")
	}
	sh.flush()
	sh.unregister(c)
	if len(sh.conns) != 0 || len(sh.dirty) != 0 {
		t.Errorf("%d connections and %d to be written to are left", len(sh.conns), len(sh.dirty))
	}
	x := &sh.index
	if len(x.exact) != 0 || len(x.one) != 0 || len(x.all) != 0 || !x.slash.empty() || !x.dot.empty() {
		t.Error("subscriptions are left")
	}
}

// TestLossThatCannotBeTold: of channels whose names are forgotten a subscribe tells by its answer; in the midst of catching up only
// closing the connection can tell, and only whom it may concern.
func TestLossThatCannotBeTold(t *testing.T) {
	for _, test := range []struct {
		channel  string
		from     uint64
		answered bool
		closed   bool
	}{
		{"a/*", 5, false, true}, {"a/*", 5, true, false}, {"a/*", 10, false, false}, {"a/b", 5, false, false},
	} {
		sh, _ := benchShard(0)
		c := &Conn{hub: sh.hub, shard: sh, writing: true}
		sh.register(c)
		sub, _ := sh.subscription(c, mustPattern(t, test.channel), "")
		sub.from = test.from
		sh.tellTrimmed(c, []Trim{{Through: 10}}, test.answered)
		sh.tellTrimmed(c, []Trim{{Through: 10}}, test.answered)
		if c.isClosing() != test.closed {
			t.Errorf("%+v: closed is %v", test, c.isClosing())
		}
		if c.cutLater != nil {
			c.cutLater.Stop()
		}
	}
}
