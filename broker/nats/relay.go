package nats

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// maxNodes is how many other nodes' numbers are remembered.
const maxNodes = 1024

// relay delivers what goes past the stream: messages of channels without history, each at the newest place in the order. They are
// never fetched again; where some may be lost, the hub is told.
func (b *Broker) relay(messages <-chan *nats.Msg) {
	seen := make(map[string]uint64) // the newest number of each node
	for {
		select {
		case m := <-messages:
			b.relayOne(m, seen)
		case <-b.lost:
			b.tellUnheard()
		case <-b.life.Done():
			return
		}
	}
}

func (b *Broker) relayOne(m *nats.Msg, seen map[string]uint64) {
	channel, err := channelOf(strings.TrimPrefix(m.Subject, b.names.live()))
	node := m.Header.Get(headerNode)
	number, _ := strconv.ParseUint(m.Header.Get(headerNumber), 10, 64)
	if err != nil || node == "" {
		b.log.Warn("a message without history cannot be read", zap.String("subject", m.Subject), zap.Error(err))
		return
	}
	last, known := seen[node]
	if number <= last {
		return
	}
	if known && number != last+1 && !b.options.Dynamic {
		b.unheard.Store(true)
	}
	if !known && len(seen) >= maxNodes {
		clear(seen)
	}
	seen[node] = number
	rule := b.rules(channel)
	if rule == nil {
		return
	}
	b.host.Room()
	p := hub.Publication{Channel: channel, Data: m.Data, Trace: m.Header.Get(headerTrace)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unheard.Swap(false) {
		b.host.MissingUnkept()
	}
	b.deliver(hub.NewTransient(p, rule, b.delivered, b.now()))
}

// tellUnheard tells the hub that messages without history may be lost.
func (b *Broker) tellUnheard() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unheard.Swap(false) {
		b.host.MissingUnkept()
	}
}

// unhear notes that messages without history may be lost.
func (b *Broker) unhear() {
	b.unheard.Store(true)
	select {
	case b.lost <- struct{}{}:
	default:
	}
}
