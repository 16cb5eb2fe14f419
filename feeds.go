package neuroquantumws

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// check refuses what cannot work, whatever the source.
func (f *Feed) check() error {
	replays := f.SQL != "" || f.Replay != 0 || f.Rows != 0
	tells := f.Table != "" || len(f.Columns) > 0 || f.Int64 != ""
	switch {
	case f.Source == "" || f.Publish == "" || !replays && !tells:
		return errors.New("it needs source, publish, and either table with its columns or sql and replay")
	case replays && tells:
		return errors.New("it has either table or sql and replay")
	case replays && (f.SQL == "" || f.Replay <= 0 || f.Rows < 0):
		return errors.New("it needs sql, and replay with a positive interval and number of rows")
	}
	template, err := live.ParseTemplate(f.Publish)
	if err == nil && tells {
		if err := f.checkTable(); err != nil {
			return err
		}
		err = template.CheckColumns(f.Columns)
	}
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

func (f *Feed) checkTable() error {
	switch {
	case f.Table == "" || len(f.Columns) == 0:
		return errors.New("table: give its name and the columns that are told")
	case f.Int64 != "" && f.Int64 != int64Number && f.Int64 != int64String:
		return errors.New("int64 must be number or string")
	}
	for i, name := range f.Columns {
		if name == "" || slices.Contains(f.Columns[:i], name) {
			return fmt.Errorf("table: the column %q is empty or given twice", name)
		}
	}
	return nil
}

func (h *Handler) prepareFeeds(ctx caddy.Context, c *configuration, sources map[string]stream.Source) error {
	for name, f := range h.Feed {
		if err := f.check(); err != nil {
			return fmt.Errorf("feed %s: %w", name, err)
		}
		template, err := live.ParseTemplate(f.Publish)
		if err != nil {
			return fmt.Errorf("feed %s: publish: %w", name, err)
		}
		if f.Table == "" {
			statement, err := prepare(ctx, sources, f.Source, stream.Text{SQL: f.SQL}, nil)
			if err != nil {
				return fmt.Errorf("feed %s: %w", name, err)
			}
			c.feeds = append(c.feeds, replayFeed{live.Replay{
				Name: name, Statement: statement, Channel: template, Every: timeOf(f.Replay), Rows: orDefault(f.Rows, 1),
			}})
			continue
		}
		changes, err := f.prepareTable(ctx, sources)
		if err != nil {
			return fmt.Errorf("feed %s: %w", name, err)
		}
		h.warnOfFeed(name, changes, template, c.settings)
		c.feeds = append(c.feeds, tableFeed{live.Changes{Name: name, Table: changes, Columns: f.Columns, Channel: template}})
	}
	return nil
}

func (f *Feed) prepareTable(ctx caddy.Context, sources map[string]stream.Source) (stream.Changes, error) {
	source := sources[f.Source]
	if source == nil {
		return nil, fmt.Errorf("there is no source %q", f.Source)
	}
	teller, ok := source.(stream.ChangeTeller)
	if !ok {
		return nil, errors.New("table: only PostgreSQL tells what becomes of a table's rows")
	}
	changes, err := teller.OnChanges(ctx, f.Table, f.Columns, f.Int64 == int64String)
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	return changes, nil
}

// warnOfFeed tells the operator of a feed that works but may tell more, or less, than is meant.
func (h *Handler) warnOfFeed(name string, changes stream.Changes, template live.Template, settings *hub.Settings) {
	facts, known := changes.Facts()
	if !known {
		return
	}
	log := h.log.With(zap.String("hub", h.name), zap.String("feed", name))
	rule := settings.RuleFor(template.Example())
	if facts.RowSecurity && rule != nil && slices.Contains(rule.Allow.Subscribe, access.Anyone) {
		log.Warn("the table has row-level security, which a feed does not heed, and anyone may subscribe to its channels")
	}
	for _, column := range template.Columns() {
		if !facts.Known[column] {
			log.Warn("deletions, and which channel a row leaves, cannot be told: the channel's name uses a column of which the database "+
				"does not tell the old value (ALTER TABLE … REPLICA IDENTITY FULL)", zap.String("column", column))
		}
	}
	if rule == nil {
		log.Warn("no channel block holds the feed's channels: nothing is published", zap.String("channel", template.Example()))
	}
}

// feed is what publishes into channels as long as a configuration has it.
type feed interface {
	// run publishes until ctx ends.
	run(ctx context.Context, publish func(ctx context.Context, channel string, data []byte) error, log *zap.Logger, counts *live.Counts)
	// name is that of the configuration.
	name() string
	// same tells whether a feed of the next configuration may be left to this one, which goes on.
	same(next feed) bool
}

// replayFeed begins again with each configuration.
type replayFeed struct{ live.Replay }

func (f replayFeed) run(ctx context.Context, publish func(context.Context, string, []byte) error, log *zap.Logger, counts *live.Counts) {
	f.Publish, f.Log, f.Counts = publish, log, counts
	f.Run(ctx)
}

func (f replayFeed) name() string { return f.Name }

func (replayFeed) same(feed) bool { return false }

// tableFeed goes on where the next configuration has it as it is: to begin again would leave out what is committed in between.
type tableFeed struct{ live.Changes }

func (f tableFeed) run(ctx context.Context, publish func(context.Context, string, []byte) error, log *zap.Logger, counts *live.Counts) {
	f.Publish, f.Log, f.Counts = publish, log, counts
	f.Run(ctx)
}

func (f tableFeed) name() string { return f.Name }

func (f tableFeed) same(next feed) bool {
	n, ok := next.(tableFeed)
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
	feed feed
	stop context.CancelFunc
	done chan struct{}
}

// replace lets these feeds run in place of those that do, and waits until the others have ended.
func (f *feeds) replace(next []feed) {
	f.counts.Range(func(name, _ any) bool {
		if !slices.ContainsFunc(next, func(n feed) bool { return n.name() == name }) {
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
	_ feed = replayFeed{}
	_ feed = tableFeed{}
)
