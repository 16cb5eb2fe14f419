package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Changes publishes what becomes of the rows of a table: messages {op, key, row} in the channel that a template makes of the row.
type Changes struct {
	Name    string
	Table   stream.Changes
	Columns []string // that Table tells of
	Channel Template // uses these only
	// Publish puts a message into a channel; it may wait. data is JSON and is not kept. An error that is a *protocol.Error is final; after
	// any other it is tried again, for nothing may be left out.
	Publish func(ctx context.Context, channel string, data []byte) error
	Log     *zap.Logger
	Counts  *Counts
}

// Counts count what becomes of the changes, or rows, of a feed.
type Counts struct {
	Published atomic.Uint64 // messages
	Untold    atomic.Uint64 // changes that could not be told, or not wholly; the log says why
}

const (
	// maxChange is the most bytes of a message; what is larger is told without the row.
	maxChange = 1 << 20
	// sayAgain is the time after which a kind of trouble is logged again.
	sayAgain = time.Minute
	// firstPublish and lastPublish bound the time after which publishing is tried again.
	firstPublish = 10 * time.Millisecond
	lastPublish  = 5 * time.Second
)

// Run publishes until ctx ends.
func (c *Changes) Run(ctx context.Context) {
	log := c.Log.With(zap.String("feed", c.Name))
	p := &changePublisher{Changes: c, log: log, complaints: make(map[string]*complaint)}
	for _, name := range c.Channel.Columns() {
		p.used = append(p.used, slices.Index(c.Columns, name))
	}
	c.Table.Run(ctx, log, p.take)
}

// changePublisher is a Changes at work.
type changePublisher struct {
	*Changes
	log        *zap.Logger
	used       []int // the columns that the template uses
	data       []byte
	complaints map[string]*complaint // by what is said: there are a few
}

type complaint struct {
	next    time.Time
	skipped int
}

// say logs a kind of trouble, at most once in a while.
func (p *changePublisher) say(what string, fields ...zap.Field) {
	c := p.complaints[what]
	if c == nil {
		c = new(complaint)
		p.complaints[what] = c
	}
	now := time.Now()
	if now.Before(c.next) {
		c.skipped++
		return
	}
	if c.skipped > 0 {
		fields = append(fields, zap.Int("times_since", c.skipped))
	}
	c.next, c.skipped = now.Add(sayAgain), 0
	p.log.Warn(what, fields...)
}

// untold counts a change that cannot be told, or not wholly, and says why.
func (p *changePublisher) untold(what string, fields ...zap.Field) {
	p.Counts.Untold.Add(1)
	p.say(what, fields...)
}

// take publishes one change. A row that moves from one channel to another, and one whose key changes, is deleted here and inserted there.
func (p *changePublisher) take(ctx context.Context, change *stream.RowChange) {
	switch change.Op {
	case protocol.OpTruncate:
		if len(p.used) > 0 {
			p.untold("the table was truncated, which cannot be told in channels that are made of its rows")
			return
		}
		p.publish(ctx, p.Channel.render(nil), p.encode(change.Op, nil, nil))
	case protocol.OpInsert:
		if to, ok := p.channel(change.New); ok {
			p.publish(ctx, to, p.encode(change.Op, change.Key, change.New))
		}
	case protocol.OpDelete:
		if !p.known(change.Old) {
			p.untold("a deletion cannot be told, as the old row is not known: ALTER TABLE … REPLICA IDENTITY FULL")
			return
		}
		if from, ok := p.channel(change.Old); ok {
			p.publish(ctx, from, p.encode(change.Op, change.Key, nil))
		}
	case protocol.OpUpdate:
		p.update(ctx, change)
	}
}

func (p *changePublisher) update(ctx context.Context, change *stream.RowChange) {
	if !p.known(change.New) {
		p.untold("an update cannot be told, as a column of the channel's name is large and was left as it is: ALTER TABLE … REPLICA IDENTITY FULL")
		return
	}
	to, there := p.channel(change.New)
	from, was := to, there
	if p.known(change.Old) {
		from, was = p.channel(change.Old)
	} else {
		p.untold("an update is told in the row's channel of now; whether it was in another is not known: ALTER TABLE … REPLICA IDENTITY FULL")
	}
	if was && there && from == to && change.OldKey == nil {
		p.publish(ctx, to, p.encode(change.Op, change.Key, change.New))
		return
	}
	if was {
		key := change.Key
		if change.OldKey != nil {
			key = change.OldKey
		}
		p.publish(ctx, from, p.encode(protocol.OpDelete, key, nil))
	}
	if there {
		p.publish(ctx, to, p.encode(protocol.OpInsert, change.Key, change.New))
	}
}

// known tells whether a row has all that the channel's name is made of.
func (p *changePublisher) known(row [][]byte) bool {
	return !slices.ContainsFunc(p.used, func(i int) bool { return row[i] == nil })
}

// channel makes the channel's name of a row. A value must be one segment of it: whoever writes to the table must not choose another
// channel than its place in the template. ok is false where there is none.
func (p *changePublisher) channel(row [][]byte) (name string, ok bool) {
	next := 0
	unfit := false
	name = p.Channel.render(func(string) string {
		value := row[p.used[next]]
		next++
		text := plain(value)
		unfit = unfit || string(value) == "null" || !p.Channel.fits(text)
		return text
	})
	if !unfit {
		if err := checkChannel(name); err == nil {
			return name, true
		}
	}
	p.untold("a row is in no channel, as a value of it is no part of a channel's name", zap.Strings("columns", p.Channel.Columns()))
	return "", false
}

// encode makes a message; row is nil where it is not told.
func (p *changePublisher) encode(op string, key []byte, row [][]byte) []byte {
	head := append(p.data[:0], `{"op":"`...)
	head = append(append(head, op...), '"')
	if key != nil {
		head = append(append(head, `,"key":`...), key...)
	}
	data := head
	if row != nil {
		data = p.appendRow(data, row)
	}
	if len(data) > maxChange {
		p.untold("a row is too large to be published; it is told without its values")
		data = append(data[:len(head)], `,"too_large":true`...)
	}
	data = append(data, '}')
	p.data = data
	if cap(p.data) > 2*maxChange {
		p.data = nil
	}
	return data
}

// appendRow appends the values that are known, and the names of those that are not.
func (p *changePublisher) appendRow(dst []byte, row [][]byte) []byte {
	dst = append(dst, `,"row":{`...)
	open, unknown := len(dst), 0
	for i, value := range row {
		if value == nil {
			unknown++
			continue
		}
		if len(dst) > open {
			dst = append(dst, ',')
		}
		dst = append(protocol.AppendString(dst, p.Columns[i]), ':')
		dst = append(dst, value...)
	}
	dst = append(dst, '}')
	if unknown == 0 {
		return dst
	}
	dst = append(dst, `,"unchanged":[`...)
	open = len(dst)
	for i, value := range row {
		if value != nil {
			continue
		}
		if len(dst) > open {
			dst = append(dst, ',')
		}
		dst = protocol.AppendString(dst, p.Columns[i])
	}
	return append(dst, ']')
}

// publish publishes a message, however often it must be tried.
func (p *changePublisher) publish(ctx context.Context, channel string, data []byte) {
	for pause := firstPublish; ; pause = min(2*pause, lastPublish) {
		err := p.Publish(ctx, channel, data)
		var final *protocol.Error
		switch {
		case err == nil:
			p.Counts.Published.Add(1)
			return
		case ctx.Err() != nil:
			return
		case errors.As(err, &final):
			p.untold("a change cannot be published", zap.String("channel", channel), zap.Error(err))
			return
		}
		p.say("publishing a change failed; trying again", zap.String("channel", channel), zap.Error(err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// fits tells whether a value is one whole segment, or a part of one, wherever it stands in the template.
func (t Template) fits(value string) bool {
	separators := "./"
	for _, literal := range t.literals {
		if strings.Contains(literal, "/") {
			separators = "/"
		}
	}
	return value != "" && !strings.ContainsAny(value, separators)
}

// CheckColumns tells whether the template uses only these columns.
func (t Template) CheckColumns(columns []string) error {
	for _, name := range t.columns {
		if !slices.Contains(columns, name) {
			return fmt.Errorf("{row.%s} is not one of the columns that are told", name)
		}
	}
	return nil
}

// Example is a channel that the template may make.
func (t Template) Example() string { return t.render(func(string) string { return "x" }) }
