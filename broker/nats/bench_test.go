package nats

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/natstest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// benchNodes are three hubs on a cluster of three servers.
func benchNodes(b *testing.B, replicas int) []*hub.Hub {
	servers := natstest.Cluster(b, 3)
	var hubs []*hub.Hub
	everything, err := protocol.ParsePattern("**")
	if err != nil {
		b.Fatal(err)
	}
	rule := &hub.Rule{
		Pattern: everything, History: hub.Retention{Messages: 2000}, Queue: flow.Class{MaxMessages: 1000, MaxBytes: 1 << 20}, Allow: access.Open,
	}
	for i := range servers {
		broker := New(Options{Hub: "test", URL: servers[i].ClientURL(), Replicas: replicas})
		h, err := hub.New("test", broker, &hub.Settings{
			HeartbeatInterval: time.Minute, HeartbeatTimeout: time.Hour, Rules: []*hub.Rule{rule}, Fallback: rule,
		}, zap.NewNop())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := h.Close(context.Background()); err != nil {
				b.Error(err)
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
		if err := h.Open(ctx); err != nil || !h.Ready() {
			b.Fatal(err, "not ready")
		}
		cancel()
		hubs = append(hubs, h)
	}
	return hubs
}

func percentile(times []time.Duration, p float64) float64 {
	slices.Sort(times)
	return float64(times[int(float64(len(times)-1)*p)].Microseconds())
}

// BenchmarkAcross is from publishing on one node until the message has its place on another.
func BenchmarkAcross(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprint("R", replicas), func(b *testing.B) {
			hubs := benchNodes(b, replicas)
			arrived := make(chan struct{}, 1)
			pattern, err := protocol.ParsePattern("c")
			if err != nil {
				b.Fatal(err)
			}
			remove := hubs[1].Tap(pattern, func() { arrived <- struct{}{} })
			defer remove()
			var times []time.Duration
			for b.Loop() {
				start := time.Now()
				go func() {
					_, _ = hubs[0].Publish(context.Background(), hub.Publication{Channel: "c", Data: []byte(`{"value":21.5}`)})
				}()
				<-arrived
				times = append(times, time.Since(start))
			}
			b.ReportMetric(percentile(times, 0.5), "µs-p50")
			b.ReportMetric(percentile(times, 0.99), "µs-p99")
		})
	}
}

// BenchmarkAcknowledged is of many publishers, each of which waits for its acknowledgement.
func BenchmarkAcknowledged(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprint("R", replicas), func(b *testing.B) {
			hubs := benchNodes(b, replicas)
			var n atomic.Int64
			b.SetParallelism(128)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				me := n.Add(1)
				for pb.Next() {
					p := hub.Publication{Channel: fmt.Sprint("c/", me), Data: []byte(`{"value":21.5}`)}
					if _, err := hubs[me%3].Publish(context.Background(), p); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acks/s")
		})
	}
}

// BenchmarkRecovery is of 1,000 messages of one channel, from memory and from the stream.
func BenchmarkRecovery(b *testing.B) {
	for _, from := range []string{"ring", "stream"} {
		b.Run(from, func(b *testing.B) {
			hubs := benchNodes(b, 3)
			start := hubs[1].Position()
			for range 1000 {
				if _, err := hubs[0].Publish(b.Context(), hub.Publication{Channel: "c", Data: []byte(`{"value":21.5}`)}); err != nil {
					b.Fatal(err)
				}
			}
			broker := hubs[1].Broker().(*Broker)
			broker.awaits(b.Context(), start.Offset+1000)
			if from == "stream" {
				broker.mu.Lock()
				broker.ring = ring{low: broker.delivered}
				broker.mu.Unlock()
			}
			pattern, err := protocol.ParsePattern("c")
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				err := broker.Recover(b.Context(), hub.Recovery{Since: &start, Filters: []protocol.Pattern{pattern}}, func(r hub.Recovered) {
					if len(r.Messages) != 1000 || !r.Complete[0] {
						b.Errorf("%d messages, complete %v", len(r.Messages), r.Complete)
					}
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
