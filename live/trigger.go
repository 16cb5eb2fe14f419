package live

import (
	"context"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Every is a Trigger that calls at each interval.
func Every(interval time.Duration) stream.Trigger {
	return stream.Share(func(ctx context.Context, changed func()) {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				changed()
			case <-ctx.Done():
				return
			}
		}
	})
}
