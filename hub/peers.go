package hub

import (
	"context"
	"errors"
)

// Peers reaches the other nodes of a hub: processes that share its broker. What goes over it is small and may be late or lost, but for
// what Remember keeps; channel messages go another way. All methods are safe for concurrent use.
type Peers interface {
	// Node is this node's name. No other has it, and none that is started later will.
	Node() string
	// Start begins to be one of the nodes, and has events told of what comes from others.
	Start(events PeerEvents) error
	// Nodes are the others that are alive, in the order of their names.
	Nodes() []string
	// Tell tells all others, and does not wait for them. What one node tells arrives in its order, or not at all.
	Tell(topic string, data []byte)
	// Ask asks one node, or all others where node is empty, and gives what they answer before ctx ends. missing are those that are alive, or
	// the node asked for, and have not answered. One answer may have 64 MiB.
	Ask(ctx context.Context, node, topic string, data []byte) (answers []PeerAnswer, missing []string)
	// Remember has all nodes told of data, those that start within the next 24 hours included. When it returns without error it is kept.
	Remember(ctx context.Context, key string, data []byte) error
	// Lead has run called, with a context of its own, while this is the one node that leads the task, until ctx ends. It returns after that.
	// For a moment while the cluster is divided two nodes may lead.
	Lead(ctx context.Context, task string, run func(ctx context.Context))
}

// Clustered is a Broker that several processes share.
type Clustered interface {
	Broker
	// Peers reaches the others. Close of the broker ends it: the others see that this node has left.
	Peers() Peers
}

// PeerAnswer is what one node answers.
type PeerAnswer struct {
	Node string
	Data []byte
}

// PeerEvents is what comes from other nodes. Calls of Told, Joined and Left for one node come one after the other and must not wait long;
// Asked is called concurrently.
type PeerEvents interface {
	// Joined: a node is there, which was not known before.
	Joined(node string)
	// Left: a node has stopped, or nothing has been heard of it for the length of its lease.
	Left(node string)
	Told(node, topic string, data []byte)
	// Asked gives the answer, nil for none.
	Asked(node, topic string, data []byte) []byte
	// Remembered: any node has Remember called, or had before this one was started.
	Remembered(key string, data []byte)
}

// PeerTopic handles what other nodes say under one topic. Each function may be nil.
type PeerTopic struct {
	Told  func(node string, data []byte)
	Asked func(node string, data []byte) []byte
	// Remembered gets what is kept under keys that begin with the topic and a slash.
	Remembered func(key string, data []byte)
}

// Peers reaches the other nodes; nil where the hub is of this process alone.
func (h *Hub) Peers() Peers { return h.peers }

// OnPeers has what other nodes say under a topic handled. It must be called before Meet.
func (h *Hub) OnPeers(topic string, t PeerTopic) { h.topics[topic] = t }

// Meet makes this one of the hub's nodes, where its broker knows others.
func (h *Hub) Meet() error {
	if h.peers == nil {
		return nil
	}
	h.OnPeers(presenceTopic, PeerTopic{Told: h.presence.told, Asked: h.presence.asked})
	h.presence.meet(h.peers)
	return h.peers.Start(peerEvents{h})
}

// AskPeers asks as Peers.Ask does; nobody where the hub is of this process alone.
func (h *Hub) AskPeers(ctx context.Context, node, topic string, data []byte) (answers []PeerAnswer, missing []string) {
	if h.peers == nil {
		return nil, nil
	}
	return h.peers.Ask(ctx, node, topic, data)
}

// Node is this node's name; empty where the hub is of this process alone.
func (h *Hub) Node() string {
	if h.peers == nil {
		return ""
	}
	return h.peers.Node()
}

// Nodes counts the nodes of the hub that are alive, this one included.
func (h *Hub) Nodes() int {
	if h.peers == nil {
		return 1
	}
	return 1 + len(h.peers.Nodes())
}

// Lead calls run while this node leads the task; at once, and until ctx ends, where the hub is of this process alone.
func (h *Hub) Lead(ctx context.Context, task string, run func(ctx context.Context)) {
	if h.peers == nil {
		run(ctx)
		return
	}
	h.peers.Lead(ctx, task, run)
}

// ErrNotRemembered is the error of Remember where the cluster cannot be reached.
var ErrNotRemembered = errors.New("the other nodes cannot be reached")

// peerEvents hands what comes from other nodes to its topic.
type peerEvents struct{ hub *Hub }

func (e peerEvents) Joined(node string) { e.hub.presence.joined(node) }

func (e peerEvents) Left(node string) { e.hub.presence.left(node) }

func (e peerEvents) Told(node, topic string, data []byte) {
	if t := e.hub.topics[topic]; t.Told != nil {
		t.Told(node, data)
	}
}

func (e peerEvents) Asked(node, topic string, data []byte) []byte {
	if t := e.hub.topics[topic]; t.Asked != nil {
		return t.Asked(node, data)
	}
	return nil
}

func (e peerEvents) Remembered(key string, data []byte) {
	for topic, t := range e.hub.topics {
		if t.Remembered != nil && len(key) > len(topic) && key[:len(topic)] == topic && key[len(topic)] == '/' {
			t.Remembered(key[len(topic)+1:], data)
		}
	}
}
