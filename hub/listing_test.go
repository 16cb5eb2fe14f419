package hub_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// TestChannelPages: whatever is subscribed and kept where, the pages are what all of it, sorted and matched, is cut into.
func TestChannelPages(t *testing.T) {
	s := settings(rule(t, "kept/**", 2, flow.Class{MaxMessages: 100, MaxBytes: 1 << 20}), rule(t, "**", 0, flow.Class{MaxMessages: 100, MaxBytes: 1 << 20}))
	s.MaxSubscriptions = 1000
	h := newHub(t, unhurried(s))
	var peers []*peer
	var conns []*hub.Conn
	for range 4 { // on several shards
		p, c := tcp(t, h, &receiver{})
		peers, conns = append(peers, p), append(conns, c)
	}
	rapid.Check(t, func(rt *rapid.T) {
		subscribed, published := make(map[string]int), make(map[string]int)
		name := rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom([]string{"kept/", "plain/"}).Draw(t, "kind") + fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "number"))
		})
		for _, c := range conns {
			for _, channel := range rapid.SliceOfDistinct(name, rapid.ID[string]).Draw(rt, "subscriptions") {
				subscribe(t, h, c, nil, 0, channel)
				subscribed[channel]++
			}
		}
		for _, channel := range rapid.SliceOfN(name, 0, 10).Draw(rt, "messages") {
			publish(t, h, channel, "1")
		}
		for _, channel := range h.Channels(func(string) bool { return true }) { // what earlier rounds have left is there as well
			published[channel.Channel] = channel.History
		}
		all := slices.Sorted(maps.Keys(published))
		pattern := patterns(t, rapid.SampledFrom([]string{"**", "kept/*", "plain/**", "*/1", "none"}).Draw(rt, "pattern"))[0]
		limit := rapid.IntRange(1, 8).Draw(rt, "limit")
		var want, got []string
		for _, name := range all {
			if pattern.Match(name) {
				want = append(want, name)
			}
		}
		for after, more := "", true; more; {
			var page []hub.ChannelStats
			if page, more = h.ChannelPage(pattern.Match, after, limit); len(page) > limit || more && len(page) == 0 {
				t.Fatalf("a page of %d with more behind: %t", len(page), more)
			}
			for _, cs := range page {
				got = append(got, cs.Channel)
				if after = cs.Channel; cs.Subscribers != subscribed[after] || cs.History != published[after] {
					t.Fatalf("%+v, want %d subscribers and %d messages", cs, subscribed[after], published[after])
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		if n := h.Stats().Channels; n != len(subscribed) {
			t.Fatalf("%d channels have subscribers, want %d", n, len(subscribed))
		}
		for _, c := range conns {
			c.Unsubscribe("", c.Subscriptions())
			if left := c.Subscriptions(); len(left) != 0 {
				t.Fatalf("%v are left", left)
			}
		}
	})
	for i, p := range peers {
		p.leave(conns[i])
	}
	ended(t, h)
}
