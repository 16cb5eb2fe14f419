package nats

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// aliveInterval is how often a node says that it is there; one that was silent for aliveTime is not waited for.
	aliveInterval = time.Second
	aliveTime     = 3 * aliveInterval
	// peerTime is how long the other nodes are given to answer before a subscription counts without them.
	peerTime = time.Second
)

// peers are the other nodes of the hub, as far as they were heard of lately.
type peers struct {
	node string

	mu    sync.Mutex
	heard map[string]time.Time // by node
}

// others are the nodes that are there.
func (p *peers) others(now time.Time) map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]bool)
	for node, at := range p.heard {
		if now.Sub(at) > aliveTime {
			delete(p.heard, node)
		} else {
			out[node] = true
		}
	}
	return out
}

func (p *peers) hear(node string) {
	if node == p.node {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.heard[node]; known || len(p.heard) < maxNodes {
		p.heard[node] = time.Now()
	}
}

// run says that the node is there, hears of others, and answers them, until ctx ends.
func (p *peers) run(ctx context.Context, conn *nats.Conn, alive, sync string) error {
	heard, err := conn.Subscribe(alive, func(m *nats.Msg) { p.hear(string(m.Data)) })
	if err != nil {
		return unavailable("hearing of other nodes", err)
	}
	defer func() { _ = heard.Unsubscribe() }() // fails only where the connection is closed
	answers, err := conn.Subscribe(sync, func(m *nats.Msg) { _ = m.Respond([]byte(p.node)) })
	if err != nil {
		return unavailable("answering other nodes", err)
	}
	defer func() { _ = answers.Unsubscribe() }()
	tick := time.NewTicker(aliveInterval)
	defer tick.Stop()
	for {
		_ = conn.Publish(alive, []byte(p.node)) // while NATS is away there is nobody to hear it
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sync waits until every other node has answered: each then sends what is subscribed to here. One that does not answer in time is no
// longer waited for.
func (p *peers) sync(ctx context.Context, conn *nats.Conn, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, peerTime)
	defer cancel()
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return unavailable("asking other nodes", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is closed
	if err := conn.PublishRequest(subject, inbox, nil); err != nil {
		return unavailable("asking other nodes", err)
	}
	waiting := p.others(time.Now())
	waiting[p.node] = true // shows that the request was sent at all
	for len(waiting) > 0 {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			if waiting[p.node] {
				return unavailable("asking other nodes", err)
			}
			return nil
		}
		delete(waiting, string(m.Data))
	}
	return nil
}
