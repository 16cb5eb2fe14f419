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
	if len(x.exact) != 0 || len(x.one) != 0 || len(x.all) != 0 || !x.slash.prune(nil) || !x.dot.prune(nil) {
		t.Error("subscriptions are left")
	}
}
