package instance

import (
	"context"
	"reflect"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/live"
)

// FeedRunner is what publishes into channels as long as a configuration has it.
type FeedRunner interface {
	// run publishes until ctx ends.
	run(ctx context.Context, publish func(ctx context.Context, channel string, data []byte) error, log *zap.Logger, counts *live.Counts)
	// name is that of the configuration.
	name() string
	// same tells whether a feed of the next configuration may be left to this one, which goes on.
	same(next FeedRunner) bool
}

// ReplayFeed begins again with each configuration.
type ReplayFeed struct{ live.Replay }

func (f ReplayFeed) run(ctx context.Context, publish func(context.Context, string, []byte) error, log *zap.Logger, counts *live.Counts) {
	f.Publish, f.Log, f.Counts = publish, log, counts
	f.Run(ctx)
}

func (f ReplayFeed) name() string { return f.Name }

func (ReplayFeed) same(FeedRunner) bool { return false }

// TableFeed goes on where the next configuration has it as it is: to begin again would leave out what is committed in between.
type TableFeed struct{ live.Changes }

func (f TableFeed) run(ctx context.Context, publish func(context.Context, string, []byte) error, log *zap.Logger, counts *live.Counts) {
	f.Publish, f.Log, f.Counts = publish, log, counts
	f.Run(ctx)
}

func (f TableFeed) name() string { return f.Name }

func (f TableFeed) same(next FeedRunner) bool {
	n, ok := next.(TableFeed)
	return ok && n.Name == f.Name && slices.Equal(n.Columns, f.Columns) && reflect.DeepEqual(n.Channel, f.Channel) && f.Table.Same(n.Table)
}

// feeds are those of a hub that run.
type feeds struct {
	publish func(ctx context.Context, channel string, data []byte) error
	lead    func(ctx context.Context, task string, run func(ctx context.Context)) // hub.Lead: of several nodes one publishes
	log     *zap.Logger
	running []*runningFeed
	counts  sync.Map // *live.Counts by the name of the feed, as long as the configuration has it
}

type runningFeed struct {
	feed FeedRunner
	stop context.CancelFunc
	done chan struct{}
}

// replace lets these feeds run in place of those that do, and waits until the others have ended.
func (f *feeds) replace(next []FeedRunner) {
	f.counts.Range(func(name, _ any) bool {
		if !slices.ContainsFunc(next, func(n FeedRunner) bool { return n.name() == name }) {
			f.counts.Delete(name)
		}
		return true
	})
	var kept []*runningFeed
	for _, r := range f.running {
		i := slices.IndexFunc(next, r.feed.same)
		if i >= 0 {
			next = slices.Delete(slices.Clone(next), i, i+1)
			kept = append(kept, r)
			continue
		}
		r.stop()
	}
	for _, r := range f.running {
		if !slices.Contains(kept, r) {
			<-r.done
		}
	}
	f.running = kept
	for _, n := range next {
		ctx, cancel := context.WithCancel(context.Background())
		r := &runningFeed{n, cancel, make(chan struct{})}
		counts, _ := f.counts.LoadOrStore(n.name(), new(live.Counts))
		go func() {
			defer close(r.done)
			f.lead(ctx, "feed/"+n.name(), func(ctx context.Context) { n.run(ctx, f.publish, f.log, counts.(*live.Counts)) })
		}()
		f.running = append(f.running, r)
	}
}

var (
	_ FeedRunner = ReplayFeed{}
	_ FeedRunner = TableFeed{}
)
