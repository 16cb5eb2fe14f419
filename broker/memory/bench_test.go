package memory

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// BenchmarkPublishBesideRecovery measures the longest time that a publish takes while others recover with 100 patterns from a million messages that are kept.
func BenchmarkPublishBesideRecovery(b *testing.B) {
	broker := New(1 << 30)
	rule := &hub.Rule{History: hub.Retention{Messages: 2000}}
	if err := broker.Start(func(*hub.Message) {}, func(string) *hub.Rule { return rule }); err != nil {
		b.Fatal(err)
	}
	defer broker.Close()
	ctx := context.Background()
	for i := range 1_000_000 {
		if _, err := broker.Publish(ctx, hub.Publication{Channel: fmt.Sprintf("chat/c%d", i%1000), Data: []byte("1")}); err != nil {
			b.Fatal(err)
		}
	}
	var filters []protocol.Pattern
	for i := range 100 {
		p, err := protocol.ParsePattern(fmt.Sprintf("chat/**/c%d", i))
		if i%2 == 0 {
			p, err = protocol.ParsePattern("chat/**" + "/*"[:2*(i/2%2)])
		}
		if err != nil {
			b.Fatal(err)
		}
		filters = append(filters, p)
	}
	for name, q := range map[string]hub.Recovery{
		"since": {Filters: filters, Since: &protocol.Position{Epoch: broker.epoch}},
		"last":  {Filters: filters, Last: 100},
		"part":  {Filters: filters, Since: &protocol.Position{Epoch: broker.epoch}, Limit: 512},
	} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for range b.N {
				done := make(chan struct{})
				go func() {
					defer close(done)
					_ = broker.Recover(ctx, q, func(hub.Recovered) {})
				}()
				for over := false; !over; {
					begin := time.Now()
					_, _ = broker.Publish(ctx, hub.Publication{Channel: "other", Data: []byte("1")})
					took = append(took, time.Since(begin))
					select {
					case <-done:
						over = true
					case <-time.After(100 * time.Microsecond):
					}
				}
			}
			b.ReportMetric(float64(slices.Max(took).Microseconds()), "max-µs")
		})
	}
}
