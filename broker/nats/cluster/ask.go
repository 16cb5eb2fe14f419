package cluster

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// Ask implements hub.Peers.
func (p *Peers) Ask(ctx context.Context, node, topic string, data []byte) (answers []hub.PeerAnswer, missing []string) {
	nodes := []string{node}
	if node == "" {
		nodes = p.Nodes()
	}
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn == nil {
		return nil, nodes
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, node := range nodes {
		all.Go(func() {
			answer, ok := p.askOne(ctx, conn, node, topic, data)
			mu.Lock()
			defer mu.Unlock()
			if ok {
				answers = append(answers, hub.PeerAnswer{Node: node, Data: answer})
			} else {
				missing = append(missing, node)
			}
		})
	}
	all.Wait()
	slices.Sort(missing)
	return answers, missing
}

// askOne asks one node and puts the parts of its answer together. NATS tells at once where nobody listens.
func (p *Peers) askOne(ctx context.Context, conn *nats.Conn, node, topic string, data []byte) (answer []byte, ok bool) {
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, false
	}
	// It fails on a closed connection only.
	defer func() { _ = sub.Unsubscribe() }()
	if conn.PublishRequest(p.options.Subject+".ask."+node+"."+p.options.Node+"."+topic, inbox, data) != nil {
		return nil, false
	}
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil || msg.Header.Get("Status") != "" {
			return nil, false
		}
		answer = append(answer, msg.Data...)
		switch {
		case msg.Header.Get(lastPartHeader) != "":
			return answer, true
		case len(answer) > maxAnswer:
			return nil, false
		}
	}
}

// answer answers what another node asks. Where too much is asked at once nothing is answered, and the other sees that.
func (p *Peers) answer(msg *nats.Msg) {
	select {
	case p.asked <- struct{}{}:
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() != nil {
		<-p.asked
		return
	}
	p.running.Go(func() {
		defer func() { <-p.asked }()
		p.answerOne(msg)
	})
}

func (p *Peers) answerOne(msg *nats.Msg) {
	node, topic, ok := strings.Cut(strings.TrimPrefix(msg.Subject, p.options.Subject+".ask."+p.options.Node+"."), ".")
	if !ok || msg.Reply == "" {
		return
	}
	answer := p.events.Asked(node, topic, msg.Data)
	for last := false; !last; {
		n := min(len(answer), answerPart)
		part := nats.NewMsg(msg.Reply)
		part.Data, answer = answer[:n], answer[n:]
		if last = len(answer) == 0; last {
			part.Header.Set(lastPartHeader, "1")
		}
		if p.conn.PublishMsg(part) != nil {
			return // the other sees that nothing comes
		}
	}
}
