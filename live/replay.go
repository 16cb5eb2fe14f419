package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Replay publishes the rows of a query one after the other in a steady pace, and begins again after the last: recorded data as if
// it happened now.
type Replay struct {
	Name      string
	Statement stream.Statement
	Channel   Template
	Every     time.Duration // between two steps
	Rows      int           // in a step
	// Publish puts a message into a channel. data is JSON and is not kept.
	Publish func(ctx context.Context, channel string, data []byte) error
	Log     *zap.Logger
	Counts  *Counts
}

// retryAfter is how long a replay waits after its query failed.
const retryAfter = 5 * time.Second

// Run replays until ctx ends.
func (r *Replay) Run(ctx context.Context) {
	tick := time.NewTicker(r.Every)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := r.once(ctx, tick.C); err != nil && ctx.Err() == nil {
			r.Log.Error("feed failed; trying again later", zap.String("feed", r.Name), zap.Error(err))
			select {
			case <-time.After(retryAfter):
			case <-ctx.Done():
			}
		}
	}
}

// once goes through the rows.
func (r *Replay) once(ctx context.Context, tick <-chan time.Time) error {
	rows, err := r.Statement.Query(ctx, stream.Run{})
	if err != nil {
		return fmt.Errorf("starting the query: %w", err)
	}
	defer rows.Close()
	columns := rows.Columns()
	index := make(map[string]int, len(columns))
	for i, c := range columns {
		index[c.Name] = i
	}
	for _, name := range r.Channel.Columns() {
		if _, ok := index[name]; !ok {
			return fmt.Errorf("the query has no column %q", name)
		}
	}
	var data []byte
	n := 0
	for ; rows.Next(); n++ {
		if n%r.Rows == 0 && !wait(ctx, tick) {
			return nil
		}
		data = appendRow(data[:0], columns, rows)
		channel := r.Channel.render(func(column string) string { return plain(rows.AppendValue(nil, index[column])) })
		if err := checkChannel(channel); err != nil {
			return fmt.Errorf("a row gives the channel %q: %w", channel, err)
		}
		if err := r.Publish(ctx, channel, data); err != nil {
			return fmt.Errorf("publishing to %q: %w", channel, err)
		}
		r.Counts.Published.Add(1)
	}
	if n == 0 && rows.Err() == nil {
		wait(ctx, tick) // a query without rows is not run without pause
	}
	return errors.Join(rows.Err(), rows.Close())
}

// wait waits for the next step. It tells whether there is one.
func wait(ctx context.Context, tick <-chan time.Time) bool {
	select {
	case <-tick:
		return true
	case <-ctx.Done():
		return false
	}
}

func appendRow(dst []byte, columns []stream.Column, rows stream.Rows) []byte {
	dst = append(dst, '{')
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(protocol.AppendString(dst, c.Name), ':')
		dst = rows.AppendValue(dst, i)
	}
	return append(dst, '}')
}

// plain is a JSON value as text: strings without their quotes, all else as it stands.
func plain(value []byte) string {
	if s, ok := protocol.Unquote(value); ok {
		return s
	}
	return string(value)
}
