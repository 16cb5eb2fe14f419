package hub

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Presence over several nodes: each node tells the others of its own members, change by change, and keeps a copy of theirs. Changes are
// numbered; who has missed one asks for all and finds what differs. So copies are right a moment later, whatever is lost on the way, and
// members of a node that is gone leave with its lease.

const (
	presenceTopic = "presence"
	// rosterBeat is how often a node says how far its changes go, which shows who has missed the last.
	rosterBeat = 5 * time.Second
	// rosterPause is the least time between two requests for all members of a node.
	rosterPause = time.Second
	// rosterPatience is how long such a request waits.
	rosterPatience = 10 * time.Second
	// maxRosterWaiting is how many changes wait for being told, or for the answer behind which they stand. Beyond, all is asked for anew.
	maxRosterWaiting = 10_000
	// maxRosterTold is how many changes are told at once.
	maxRosterTold = 200
)

// rosterChange is one member more, or less.
type rosterChange struct {
	Attendee string            `json:"a"`
	Pattern  string            `json:"p"`
	Member   json.RawMessage   `json:"m,omitempty"` // as others see it; absent where it leaves
	User     string            `json:"u,omitempty"`
	Roles    []string          `json:"r,omitempty"`
	Claims   map[string]string `json:"c,omitempty"`
}

// rosterNews are changes that follow each other. In an answer From is 0 and they are all members, up to the change Through.
type rosterNews struct {
	From    uint64         `json:"from"`
	Through uint64         `json:"through"`
	Changes []rosterChange `json:"changes"`
}

// roster is what presence tells other nodes, and knows of them. It is guarded by presence.mu.
type roster struct {
	peers   Peers
	log     *zap.Logger
	number  uint64         // of the newest change here
	waiting []rosterChange // to be told: the newest ones
	news    chan struct{}  // something waits
	stop    context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup
	nodes   map[string]*rosterNode
}

// rosterNode is what is known of another node.
type rosterNode struct {
	through   uint64 // the change up to which its members are known
	asking    bool   // for all of them
	ahead     []rosterNews
	waiting   int // changes in ahead
	attendees map[string]*attendee
}

// meet begins to tell other nodes.
func (p *presence) meet(peers Peers) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &roster{peers: peers, log: p.hub.log, news: make(chan struct{}, 1), nodes: make(map[string]*rosterNode)}
	r.ctx, r.stop = context.WithCancel(context.Background())
	p.roster = r
	r.running.Go(p.tellPeers)
}

// partPeers ends the telling and asking.
func (p *presence) partPeers() {
	p.mu.Lock()
	r := p.roster
	if r != nil {
		r.stop() // under the lock: no goroutine begins after it
	}
	p.mu.Unlock()
	if r != nil {
		r.running.Wait()
	}
}

// changedLocked notes a change of a member of this node.
func (r *roster) changedLocked(join bool, a *attendee, at *attendance, m *member) {
	if r == nil || a.node != "" {
		return
	}
	r.number++
	if len(r.waiting) >= maxRosterWaiting {
		r.waiting = nil // the others find the hole in the numbers
	}
	r.waiting = append(r.waiting, change(join, a, at, m))
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func change(join bool, a *attendee, at *attendance, m *member) rosterChange {
	c := rosterChange{Attendee: a.id, Pattern: at.pattern.String()}
	if join {
		c.Member, c.User, c.Roles, c.Claims = m.json, a.identity.User, a.identity.Roles, a.identity.Claims
	}
	return c
}

// tellPeers tells the other nodes what waits, and now and then how far that goes.
func (p *presence) tellPeers() {
	r := p.roster
	beat := time.NewTicker(rosterBeat)
	defer beat.Stop()
	for {
		select {
		case <-r.news:
		case <-beat.C:
		case <-r.ctx.Done():
			return
		}
		for more := true; more; {
			p.mu.Lock()
			n := min(len(r.waiting), maxRosterTold)
			news := rosterNews{From: r.number - uint64(len(r.waiting)) + 1, Changes: r.waiting[:n:n]}
			news.Through = news.From + uint64(n) - 1
			r.waiting = r.waiting[n:]
			more = len(r.waiting) > 0
			p.mu.Unlock()
			if data, err := json.Marshal(news); err == nil { // which cannot fail
				r.peers.Tell(presenceTopic, data)
			}
		}
	}
}

// asked gives all members of this node.
func (p *presence) asked(string, []byte) []byte {
	p.mu.Lock()
	news := rosterNews{Through: p.roster.number}
	for _, table := range []map[string]*attendance{p.names, p.patterns} {
		for _, at := range table {
			for a, m := range at.members {
				if a.node == "" {
					news.Changes = append(news.Changes, change(true, a, at, m))
				}
			}
		}
	}
	p.mu.Unlock()
	data, err := json.Marshal(news)
	if err != nil {
		return nil
	}
	return data
}

// joined begins to keep the members of another node.
func (p *presence) joined(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.roster.nodes[node] == nil {
		n := &rosterNode{attendees: make(map[string]*attendee)}
		p.roster.nodes[node] = n
		p.askLocked(node, n)
	}
}

// left lets go of all members of another node.
func (p *presence) left(node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.roster.nodes[node]
	if n == nil {
		return
	}
	delete(p.roster.nodes, node)
	for _, a := range n.attendees {
		for at := range a.in {
			p.removeLocked(a, at)
		}
	}
}

// told takes in changes of another node.
func (p *presence) told(node string, data []byte) {
	var news rosterNews
	if err := json.Unmarshal(data, &news); err != nil {
		p.roster.log.Warn("a node tells what cannot be read of its members", zap.String("node", node), zap.Error(err))
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.roster.nodes[node]
	switch {
	case n == nil: // it has joined when all is asked for
	case n.asking:
		if n.waiting += len(news.Changes); n.waiting > maxRosterWaiting {
			n.ahead, n.waiting = nil, 0 // the hole is found with the next
		}
		n.ahead = append(n.ahead, news)
	case !p.followLocked(node, n, &news):
		p.askLocked(node, n)
	}
}

// followLocked applies changes that follow those that are known; ok is false where some in between are missing.
func (p *presence) followLocked(node string, n *rosterNode, news *rosterNews) (ok bool) {
	if news.From > n.through+1 {
		return false
	}
	for i, c := range news.Changes {
		if news.From+uint64(i) > n.through {
			p.applyLocked(node, n, &c)
		}
	}
	n.through = max(n.through, news.Through)
	return true
}

// applyLocked applies one change of another node.
func (p *presence) applyLocked(node string, n *rosterNode, c *rosterChange) {
	pattern, err := protocol.ParsePattern(c.Pattern)
	if err != nil {
		return
	}
	a, at := n.attendees[c.Attendee], p.table(pattern)[c.Pattern]
	if c.Member == nil {
		if a != nil && at != nil && at.members[a] != nil {
			p.removeLocked(a, at)
			if len(a.in) == 0 {
				delete(n.attendees, c.Attendee)
			}
		}
		return
	}
	if a == nil {
		a = &attendee{id: c.Attendee, node: node, in: make(map[*attendance]*member)}
		a.identity = &access.Identity{User: c.User, Roles: c.Roles, Claims: c.Claims}
		n.attendees[c.Attendee] = a
	}
	p.addLocked(a, pattern, c.Member)
}

// askLocked asks another node for all its members.
func (p *presence) askLocked(node string, n *rosterNode) {
	n.asking = true
	r := p.roster
	if r.ctx.Err() != nil {
		return
	}
	r.running.Go(func() {
		for said := false; ; said = true {
			ctx, cancel := context.WithTimeout(r.ctx, rosterPatience)
			answers, _ := r.peers.Ask(ctx, node, presenceTopic, nil)
			cancel()
			var all rosterNews
			if len(answers) == 1 && json.Unmarshal(answers[0].Data, &all) == nil && p.replace(node, n, &all) {
				return
			}
			p.mu.Lock()
			gone := r.nodes[node] != n
			p.mu.Unlock()
			if gone || r.ctx.Err() != nil {
				return
			}
			if !said {
				r.log.Warn("the members of another node are not known yet; asking again", zap.String("node", node), zap.Int("answers", len(answers)))
			}
			select {
			case <-time.After(rosterPause):
			case <-r.ctx.Done():
				return
			}
		}
	})
}

// replace makes the copy of another node's members what they are. ok is false where changes behind that are missing.
func (p *presence) replace(node string, n *rosterNode, all *rosterNews) (ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.roster.nodes[node] != n {
		return true
	}
	stay := make(map[[2]string]bool, len(all.Changes))
	for _, c := range all.Changes {
		stay[[2]string{c.Attendee, c.Pattern}] = true
	}
	for id, a := range n.attendees {
		for at := range a.in {
			if !stay[[2]string{id, at.pattern.String()}] {
				p.removeLocked(a, at)
			}
		}
		if len(a.in) == 0 {
			delete(n.attendees, id)
		}
	}
	for _, c := range all.Changes {
		p.applyLocked(node, n, &c)
	}
	n.through = all.Through
	ahead := n.ahead
	n.ahead, n.waiting = nil, 0
	for i := range ahead {
		if !p.followLocked(node, n, &ahead[i]) {
			return false
		}
	}
	n.asking = false
	return true
}
