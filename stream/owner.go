package stream

import (
	"maps"
	"slices"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Reown names the user that streams which start from now on run for, and ends those that run for queries which are no longer allowed,
// with an error FORBIDDEN.
func (g *Group) Reown(user string, allowed func(query string) bool) {
	g.mu.Lock()
	g.owner.User = user
	streams := slices.Collect(maps.Values(g.running))
	g.mu.Unlock()
	for _, s := range streams {
		if !allowed(s.name) {
			s.stop(failure(protocol.Forbidden, "this query is no longer open to you"))
		}
	}
}
