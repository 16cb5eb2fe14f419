package nats

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/brokertest"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/natstest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
)

func foreign(name string) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: name, Subjects: []string{"foreign"}}
}

// urls are the servers' addresses, beginning with number first.
func urls(servers []*server.Server, first int) string {
	var out []string
	for i := range servers {
		out = append(out, servers[(first+i)%len(servers)].ClientURL())
	}
	return strings.Join(out, ",")
}

// history is what was acknowledged.
type history struct {
	stop  chan struct{}
	once  sync.Once
	group sync.WaitGroup

	mu    sync.Mutex
	acked map[string]uint64 // offset by data
	gap   time.Duration     // the longest between two acknowledgements
	last  time.Time
}

func (h *history) note(data string, offset uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked[data] = offset
	now := time.Now()
	if !h.last.IsZero() {
		h.gap = max(h.gap, now.Sub(h.last))
	}
	h.last = now
}

// judge holds what a node was given against what was acknowledged: none is lost, none comes twice, each stands at the offset that its
// publisher was told, and offsets grow.
func (h *history) judge(t *testing.T, name string, delivered []*hub.Message) {
	t.Helper()
	seen := make(map[string]uint64, len(delivered))
	last := uint64(0)
	for _, m := range delivered {
		data := string(m.Data())
		if at, twice := seen[data]; twice {
			t.Fatalf("%s: %s came at %d and at %d", name, data, at, m.Offset)
		}
		seen[data] = m.Offset
		if m.Offset <= last {
			t.Fatalf("%s: offset %d behind %d", name, m.Offset, last)
		}
		last = m.Offset
	}
	for data, offset := range h.acked {
		if at, came := seen[data]; !came || at != offset {
			t.Fatalf("%s: %s was acknowledged at %d and came at %d (%v)", name, data, offset, at, came)
		}
	}
}

// publishing has publishers publish on these nodes until end is called. Who is refused tries the same again under its key.
func publishing(t *testing.T, nodes []*node, publishers int) *history {
	h := &history{acked: make(map[string]uint64), stop: make(chan struct{})}
	for p := range publishers {
		h.group.Go(func() { h.publish(nodes[p%len(nodes)], p) })
	}
	t.Cleanup(h.end)
	return h
}

func (h *history) publish(n *node, publisher int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i := 0; ; i++ {
		data := fmt.Sprintf("[%d,%d]", publisher, i)
		for {
			select {
			case <-h.stop:
				return
			default:
			}
			receipt, err := n.broker.Publish(ctx, hub.Publication{
				Channel: fmt.Sprintf("c/%d", publisher), Data: []byte(data), Key: data,
			})
			if err == nil {
				h.note(data, receipt.Position.Offset)
				break
			}
			pause(ctx, 20*time.Millisecond)
		}
	}
}

func (h *history) end() {
	h.once.Do(func() { close(h.stop) })
	h.group.Wait()
}

// enough waits until so many more were acknowledged.
func (h *history) enough(t *testing.T, more int) {
	t.Helper()
	h.mu.Lock()
	want := len(h.acked) + more
	h.mu.Unlock()
	wait.Until(t, fmt.Sprint(want, " messages are acknowledged"), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.acked) >= want
	})
}

// TestLeaderIsLost kills the server that leads the stream while all nodes publish.
func TestLeaderIsLost(t *testing.T) {
	servers := natstest.Cluster(t, 3)
	var nodes []*node
	for i := range servers {
		nodes = append(nodes, openQuietly(t, Options{URL: urls(servers, i), Replicas: 3, PublishTimeout: 10 * time.Second}))
	}
	h := publishing(t, nodes, 6)
	h.enough(t, 500)
	leader := leaderOf(t, servers, nodes[0].broker.names.stream)
	leader.Shutdown()
	leader.WaitForShutdown()
	h.enough(t, 2000)
	h.end()
	settle(t, h, nodes)
	t.Logf("%d acknowledged, at most %v between two", len(h.acked), h.gap)
}

func openQuietly(t *testing.T, options Options) *node {
	options.Hub = "test"
	b := New(options)
	n := &node{brokertest.Open(t, b, hub.Keep{Messages: 100_000}, keeping(100_000), zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel))), b}
	t.Cleanup(n.Close)
	return n
}

// settle waits until every node has come to the newest acknowledged message, and judges what each was given.
func settle(t *testing.T, h *history, nodes []*node) {
	t.Helper()
	for i, n := range nodes {
		var newest uint64
		h.mu.Lock()
		for _, offset := range h.acked {
			newest = max(newest, offset)
		}
		h.mu.Unlock()
		events := n.Until("the newest message", func(events []brokertest.Event) bool {
			messages := brokertest.MessagesOf(events)
			return len(messages) > 0 && messages[len(messages)-1].Offset >= newest
		})
		h.mu.Lock()
		h.judge(t, fmt.Sprint("node ", i), brokertest.MessagesOf(events))
		h.mu.Unlock()
	}
}

func leaderOf(t *testing.T, servers []*server.Server, stream string) *server.Server {
	t.Helper()
	for _, s := range servers {
		if s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return s
		}
	}
	t.Fatal("the stream has no leader")
	return nil
}
