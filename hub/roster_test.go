package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
)

// party is a cluster in memory, whose messages may be lost.
type party struct {
	mu    sync.Mutex
	nodes map[string]*guest
	loses func() bool
}

// guest is the Peers of one node.
type guest struct {
	party  *party
	name   string
	events PeerEvents
	inbox  chan func()
	ended  chan struct{}
}

func (p *party) guest(name string) *guest {
	return &guest{party: p, name: name, inbox: make(chan func(), 100_000), ended: make(chan struct{})}
}

func (g *guest) Node() string { return g.name }

func (g *guest) Start(events PeerEvents) error {
	g.events = events
	go func() {
		defer close(g.ended)
		for f := range g.inbox {
			f()
		}
	}()
	g.party.mu.Lock()
	defer g.party.mu.Unlock()
	for name, other := range g.party.nodes {
		other.inbox <- func() { other.events.Joined(g.name) }
		g.inbox <- func() { g.events.Joined(name) }
	}
	g.party.nodes[g.name] = g
	return nil
}

// leave has the others see that the node is gone.
func (g *guest) leave() {
	g.party.mu.Lock()
	delete(g.party.nodes, g.name)
	for _, other := range g.party.nodes {
		other.inbox <- func() { other.events.Left(g.name) }
	}
	close(g.inbox)
	g.party.mu.Unlock()
	<-g.ended
}

func (g *guest) Nodes() []string {
	g.party.mu.Lock()
	defer g.party.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(g.party.nodes)), func(n string) bool { return n == g.name })
}

func (g *guest) Tell(topic string, data []byte) {
	g.party.mu.Lock()
	defer g.party.mu.Unlock()
	for _, other := range g.party.nodes {
		if other != g && !g.party.loses() {
			other.inbox <- func() { other.events.Told(g.name, topic, data) }
		}
	}
}

func (g *guest) Ask(_ context.Context, node, topic string, data []byte) (answers []PeerAnswer, missing []string) {
	g.party.mu.Lock()
	other, lost := g.party.nodes[node], g.party.loses()
	g.party.mu.Unlock()
	if other == nil || lost {
		return nil, []string{node}
	}
	return []PeerAnswer{{node, other.events.Asked(g.name, topic, data)}}, nil
}

func (g *guest) Remember(context.Context, string, []byte) error { return ErrNotRemembered }

func (g *guest) Lead(ctx context.Context, _ string, run func(context.Context)) { run(ctx) }

// memberIDs are who the hub says is in a channel.
func memberIDs(t interface{ Fatal(...any) }, h *Hub, channel string) []string {
	raw, count, kept := h.Members(channel)
	ids := []string{}
	for _, text := range raw {
		var m rollMember
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.ConnectionID)
	}
	slices.Sort(ids)
	if count != len(ids) || !kept {
		t.Fatal(count, kept, ids)
	}
	return ids
}

// TestRosterAgainstModel: whatever is lost on the way, and whichever nodes come and go, after a quiet time every node knows who is where on
// all of them.
func TestRosterAgainstModel(t *testing.T) {
	channels := []string{"a", "b/c", "b/d", "b/*", "**"}
	rapid.Check(t, func(rt *rapid.T) {
		failed := false
		synctest.Test(t, func(t *testing.T) {
			draw := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, label) }
			losing := false
			p := &party{nodes: make(map[string]*guest)}
			chance := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(rt, "chance"))) // under the party's lock, as is losing
			p.loses = func() bool { return losing && chance.IntN(2) == 0 }
			hubs := make(map[string]*Hub)
			present := make(map[string]map[string]map[string]bool) // by node, connection, subscription
			made := 0
			start := func() {
				made++
				name := fmt.Sprint("n", made)
				rule := &Rule{Pattern: mustPattern(failer{}, "**"), Presence: true, Allow: access.Open}
				h := &Hub{peers: p.guest(name), topics: make(map[string]PeerTopic), log: zap.NewNop()}
				h.settings.Store(&Settings{Rules: []*Rule{rule}, Fallback: &Rule{Queue: flow.Class{MaxMessages: 1, MaxBytes: 1}}})
				h.presence = newPresence(h)
				if err := h.Meet(); err != nil {
					t.Fatal(err)
				}
				hubs[name], present[name] = h, make(map[string]map[string]bool)
			}
			stop := func(name string) {
				hubs[name].presence.partPeers()
				hubs[name].peers.(*guest).leave()
				hubs[name].presence.close()
				delete(hubs, name)
				delete(present, name)
			}
			start()
			for range rapid.IntRange(1, 60).Draw(rt, "steps") {
				name := slices.Sorted(maps.Keys(hubs))[draw("node", len(hubs))]
				h, here := hubs[name], present[name]
				connection := fmt.Sprint(name, "-", draw("connection", 4))
				channel := channels[draw("channel", len(channels))]
				pattern := mustPattern(failer{}, channel)
				switch draw("step", 12) {
				case 0:
					if len(hubs) < 4 {
						start()
					}
				case 1:
					if len(hubs) > 1 {
						stop(name)
					}
				case 2:
					p.mu.Lock()
					losing = !losing
					p.mu.Unlock()
				case 3:
					synctest.Wait()
				case 4:
					time.Sleep(time.Second)
				case 5, 6:
					h.presence.leave(pattern, connection)
					delete(here[connection], channel)
				case 7:
					h.presence.gone(connection)
					delete(here, connection)
				default:
					if here[connection] == nil {
						here[connection] = make(map[string]bool)
						// What left with an earlier connection of this name is another's.
						time.Sleep(leaveDelay + time.Second)
					}
					h.presence.join(pattern, connection, &access.Identity{})
					here[connection][channel] = true
				}
			}
			p.mu.Lock()
			losing = false
			p.mu.Unlock()
			time.Sleep(leaveDelay + rosterBeat + 2*rosterPause)
			synctest.Wait()
			for _, channel := range []string{"a", "b/c", "b/d", "x"} {
				want := []string{}
				for _, connections := range present {
					for connection, subscriptions := range connections {
						for s := range subscriptions {
							if mustPattern(failer{}, s).Match(channel) && !slices.Contains(want, connection) {
								want = append(want, connection)
							}
						}
					}
				}
				slices.Sort(want)
				for name, h := range hubs {
					if got := memberIDs(t, h, channel); !slices.Equal(got, want) {
						t.Errorf("%s says that in %s are %v, want %v", name, channel, got, want)
					}
				}
			}
			for name := range hubs {
				stop(name)
			}
			failed = t.Failed()
		})
		if failed {
			rt.FailNow()
		}
	})
}
