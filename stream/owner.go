package stream

import (
	"maps"
	"slices"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Reown names the user that streams which start from now on run for, and ends those that run and are refused now, with the refusal. name
// is the query's as the client called it.
func (g *Group) Reown(user string, refusal func(name string, query *Query) *protocol.Error) {
	g.mu.Lock()
	g.owner.User = user
	streams := slices.Collect(maps.Values(g.running))
	g.mu.Unlock()
	for _, s := range streams {
		if refused := refusal(s.name, s.query); refused != nil {
			s.stop(&ending{kind: endFailed, told: refused})
		}
	}
}
