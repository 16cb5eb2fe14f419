package neuroquantumws

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// WatchOptions make a query one that clients may watch: they get its result and then what becomes of it.
type WatchOptions struct {
	// The columns that tell the result's rows apart.
	Key []string `json:"key"`
	// What says that the rows may have changed; at least one, of every or on.
	On []WatchTrigger `json:"on,omitempty"`
	// Time after which the query runs again in any case. Default: 0, never.
	Every caddy.Duration `json:"every,omitempty"`
	// The least time between two runs. Default: 100ms.
	Debounce caddy.Duration `json:"debounce,omitempty"`
	// The most rows that the result may have; beyond, the watch ends with QUERY_FAILED. Default: 10000.
	MaxRows int `json:"max_rows,omitempty"`
}

// WatchTrigger is one thing that says that the rows of a query may have changed: one of its fields is set.
type WatchTrigger struct {
	// A table of the query's source: it has been written to.
	Table string `json:"table,omitempty"`
	// A channel of the hub, or a pattern: a message was published there.
	Channel string `json:"channel,omitempty"`
	// A notification channel of the query's PostgreSQL source: NOTIFY.
	Notify string `json:"notify,omitempty"`
}

const (
	maxWatchRows     = 1_000_000
	minWatchInterval = 10 * time.Millisecond
)

// check refuses what cannot work.
func (w *WatchOptions) check() error {
	switch {
	case len(w.Key) == 0:
		return errors.New("watch: it needs a key")
	case len(w.On) == 0 && w.Every == 0:
		return errors.New("watch: it needs on or every, or nothing would ever change")
	case w.Every != 0 && time.Duration(w.Every) < minWatchInterval || w.Debounce < 0 || w.MaxRows < 0 || w.MaxRows > maxWatchRows:
		return fmt.Errorf("watch: every must be at least %v, debounce positive, and max_rows at most %d", minWatchInterval, maxWatchRows)
	}
	for i, name := range w.Key {
		for _, other := range w.Key[:i] {
			if other == name {
				return fmt.Errorf("watch: key has %s twice", name)
			}
		}
	}
	for _, on := range w.On {
		given := 0
		for _, name := range []string{on.Table, on.Channel, on.Notify} {
			if name != "" {
				given++
			}
		}
		if given != 1 {
			return errors.New("watch: each on must name one of table, channel and notify")
		}
		if on.Channel != "" {
			_, err := protocol.ParsePattern(on.Channel)
			if err := cmp.Or(err, directive.CheckName(on.Channel)); err != nil {
				return fmt.Errorf("watch: on channel %s: %w", on.Channel, err)
			}
		}
	}
	return nil
}

// prepareWatch makes a query one that can be watched.
func (w *WatchOptions) prepareWatch(ctx caddy.Context, query *stream.Query, source stream.Source) (instance.WatchedQuery, error) {
	if err := w.check(); err != nil {
		return instance.WatchedQuery{}, err
	}
	out := instance.WatchedQuery{Query: query, Watch: live.Watch{
		Key: w.Key, Debounce: timeOf(w.Debounce), MaxRows: w.MaxRows, MaxDuration: query.MaxDuration,
	}}
	if w.Every > 0 {
		out.Watch.Triggers = append(out.Watch.Triggers, live.Every(timeOf(w.Every)))
	}
	for _, on := range w.On {
		var trigger stream.Trigger
		var err error
		switch {
		case on.Channel != "":
			pattern, err := protocol.ParsePattern(on.Channel)
			if err != nil {
				return out, err
			}
			out.Channels = append(out.Channels, pattern)
			continue
		case on.Table != "":
			teller, ok := source.(stream.TableTeller)
			if !ok {
				return out, errors.New("watch: on table: this kind of source cannot tell of changes to a table; use on channel, on notify or every")
			}
			trigger, err = teller.OnTable(ctx, on.Table)
		default:
			teller, ok := source.(stream.NotifyTeller)
			if !ok {
				return out, errors.New("watch: on notify: only PostgreSQL has notifications")
			}
			trigger, err = teller.OnNotify(on.Notify)
		}
		if err != nil {
			return out, fmt.Errorf("watch: %w", err)
		}
		out.Watch.Triggers = append(out.Watch.Triggers, trigger)
	}
	return out, nil
}
