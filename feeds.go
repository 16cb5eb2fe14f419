package neuroquantumws

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
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

func (h *Handler) prepareFeeds(ctx caddy.Context, c *instance.Configuration, sources map[string]stream.Source) error {
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
			c.Feeds = append(c.Feeds, instance.ReplayFeed{Replay: live.Replay{
				Name: name, Statement: statement, Channel: template, Every: timeOf(f.Replay), Rows: cmp.Or(f.Rows, 1),
			}})
			continue
		}
		changes, err := f.prepareTable(ctx, sources)
		if err != nil {
			return fmt.Errorf("feed %s: %w", name, err)
		}
		h.warnOfFeed(name, changes, template, c.Settings)
		c.Feeds = append(c.Feeds, instance.TableFeed{Changes: live.Changes{Name: name, Table: changes, Columns: f.Columns, Channel: template}})
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
