package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// model is a broker beside a list of all that was published, of which everything is worked out anew each time. Time does not matter in
// it: nothing grows too old.
type model struct {
	*rapid.T
	host      *Host
	broker    hub.Broker
	exact     bool
	epoch     string
	rules     map[string]*hub.Rule
	published []record
	keys      map[string]uint64
}

// record is a message as it was published.
type record struct {
	channel, data string
	offset        uint64
}

// channels are those of the model, with how much each keeps. Nothing is ever published to the last.
var channels = []struct {
	name string
	keep int
}{{"a/1", 1}, {"a/b/2", 3}, {"c", 100}, {"x.y", 2}, {"loose", 0}, {"never", 5}}

func runModel(t *rapid.T, b hub.Broker, exact bool) {
	m := &model{T: t, broker: b, exact: exact, rules: make(map[string]*hub.Rule), keys: make(map[string]uint64)}
	for _, c := range channels {
		m.rules[c.name] = &hub.Rule{History: hub.Retention{Messages: c.keep}}
	}
	m.host = Open(t, b, hub.Keep{Messages: 100}, func(channel string) *hub.Rule { return m.rules[channel] }, zap.NewNop())
	defer m.host.Close()
	m.epoch = b.Position().Epoch
	step := func(f func()) func(*rapid.T) { return func(*rapid.T) { f() } }
	t.Repeat(map[string]func(*rapid.T){
		"publish": step(m.publish), "and publish": step(m.publish), "and again": step(m.publish),
		"recover": step(m.recover), "history": step(m.history), "channels": step(m.channels),
	})
}

func (m *model) publish() {
	r := record{channel: channels[rapid.IntRange(0, len(channels)-2).Draw(m.T, "channel")].name, data: fmt.Sprint(len(m.published))}
	key := rapid.SampledFrom([]string{"", "", "", "k", "l"}).Draw(m.T, "key")
	receipt := m.host.PublishKey(r.channel, r.data, "", key)
	if receipt.Position.Epoch != m.epoch {
		m.Fatalf("epoch %q, want %q", receipt.Position.Epoch, m.epoch)
	}
	if offset, used := m.keys[r.channel+" "+key]; key != "" && used {
		if !receipt.Duplicate || receipt.Position.Offset != offset {
			m.Fatalf("a key used again: %+v, first at %d", receipt, offset)
		}
		return
	}
	r.offset = receipt.Position.Offset
	if receipt.Duplicate || (r.offset > 0) != m.rules[r.channel].History.Keeps() || r.offset > 0 && r.offset <= m.newest() {
		m.Fatalf("receipt %+v behind %d", receipt, m.newest())
	}
	m.keys[r.channel+" "+key] = r.offset
	m.published = append(m.published, r)
	last := m.host.Messages(len(m.published))[len(m.published)-1]
	if last.Channel != r.channel || string(last.Data()) != r.data || last.Offset != r.offset {
		m.Fatalf("delivered %s of %s at %d, want %+v", last.Data(), last.Channel, last.Offset, r)
	}
}

// newest is the largest offset.
func (m *model) newest() (offset uint64) {
	for _, r := range m.published {
		offset = max(offset, r.offset)
	}
	return offset
}

// kept are a channel's messages that are left, and the newest offset that is gone.
func (m *model) kept(channel string) (kept []record, gone uint64) {
	for _, r := range m.published {
		if r.channel == channel && r.offset > 0 {
			kept = append(kept, r)
		}
	}
	if n := len(kept) - m.rules[channel].History.Messages; n > 0 {
		gone, kept = kept[n-1].offset, kept[n:]
	}
	return kept, gone
}

// position draws one, of which some lie in the future or in another life.
func (m *model) position() *protocol.Position {
	return &protocol.Position{
		Epoch:  rapid.SampledFrom([]string{m.epoch, m.epoch, m.epoch, m.epoch, "another"}).Draw(m.T, "epoch"),
		Offset: rapid.Uint64Range(0, m.newest()).Draw(m.T, "since"),
	}
}

func (m *model) recover() {
	var q hub.Recovery
	texts := []string{"a/1", "a/b/2", "c", "never", "loose", "a/*", "a/**", "*", "**", "b.*", "x.*", "**/2"}
	q.Filters = Patterns(m.T, rapid.SliceOfN(rapid.SampledFrom(texts), 1, 3).Draw(m.T, "filters")...)
	if rapid.Bool().Draw(m.T, "newest") {
		q.Last = rapid.IntRange(0, 4).Draw(m.T, "last")
	} else {
		q.Since = m.position()
	}
	q.Limit = rapid.SampledFrom([]int{0, 0, 1, 2, 5}).Draw(m.T, "limit")
	if q.Since == nil {
		q.Limit = 0
	}
	got, delivered := m.host.Recover(q)
	if len(delivered) != len(m.published) || got.Position.Epoch != m.epoch || got.Position.Offset < m.newest() {
		m.Fatalf("position %v, behind %d messages of %d", got.Position, len(delivered), len(m.published))
	}
	m.checkRecovered(q, got)
}

func (m *model) checkRecovered(q hub.Recovery, got hub.Recovered) {
	var due []record
	trimmed := make(map[string]uint64)
	known := q.Since == nil || q.Since.Epoch == m.epoch
	for i, f := range q.Filters {
		complete := known
		var list []record
		for _, c := range channels {
			if !known || !f.Match(c.name) {
				continue
			}
			kept, gone := m.kept(c.name)
			list = append(list, kept...)
			if q.Since != nil && gone > q.Since.Offset {
				complete = false
				trimmed[c.name] = gone
			}
		}
		slices.SortFunc(list, order)
		if q.Since != nil {
			list = slices.DeleteFunc(list, func(r record) bool { return r.offset <= q.Since.Offset })
		} else {
			list = list[max(0, len(list)-q.Last):]
		}
		due = append(due, list...)
		if got.Complete[i] != complete && (m.exact || got.Complete[i]) {
			m.Fatalf("filter %s: complete is %v", f, got.Complete[i])
		}
	}
	slices.SortFunc(due, order)
	due = slices.Compact(due)
	through := got.Position.Offset
	if q.Limit > 0 && len(due) > q.Limit {
		due = due[:q.Limit]
		through = due[q.Limit-1].offset
	}
	if !same(got.Messages, due) || got.Through != through {
		m.Fatalf("%v through %d, want %v through %d", Data(got.Messages), got.Through, due, through)
	}
	for _, trim := range got.Trimmed {
		if m.exact && trimmed[trim.Channel] != trim.Through {
			m.Fatalf("trimmed %v, want %v", got.Trimmed, trimmed)
		}
		delete(trimmed, trim.Channel)
	}
	if len(trimmed) > 0 && q.Limit == 0 {
		m.Fatalf("not told as trimmed: %v", trimmed)
	}
}

func order(x, y record) int { return int(x.offset) - int(y.offset) }

func same(got []*hub.Message, want []record) bool {
	return slices.EqualFunc(got, want, func(m *hub.Message, r record) bool {
		return m.Channel == r.channel && string(m.Data()) == r.data && m.Offset == r.offset
	})
}

func (m *model) history() {
	channel := channels[rapid.IntRange(0, len(channels)-1).Draw(m.T, "channel")].name
	limit := rapid.IntRange(0, 4).Draw(m.T, "limit")
	var since *protocol.Position
	if rapid.Bool().Draw(m.T, "on from a position") {
		since = m.position()
	}
	got, err := m.broker.History(context.Background(), channel, since, limit)
	if !m.rules[channel].History.Keeps() {
		if !errors.Is(err, hub.ErrNoHistory) {
			m.Fatalf("history of a channel without: %v", err)
		}
		return
	}
	want, _ := m.kept(channel)
	if since != nil && since.Epoch == m.epoch {
		want = slices.DeleteFunc(want, func(r record) bool { return r.offset <= since.Offset })
	}
	more := len(want) > limit
	if more && since != nil {
		want = want[:limit]
	} else if more {
		want = want[len(want)-limit:]
	}
	if err != nil || got.Epoch != m.epoch || got.More != more || !same(got.Messages, want) {
		m.Fatalf("history %v, more %v, %v; want %v, %v", Data(got.Messages), got.More, err, want, more)
	}
}

// channels holds what is listed against what is kept.
func (m *model) channels() {
	listed := make(map[string]hub.ChannelHistory)
	for _, ch := range m.broker.Channels(func(name string) bool { return name != "c" }) {
		listed[ch.Channel] = ch
	}
	for _, c := range channels {
		kept, _ := m.kept(c.name)
		ch, there := listed[c.name]
		if there != (len(kept) > 0 && c.name != "c") || there && ch.Messages != len(kept) {
			m.Fatalf("%s is listed as %+v, kept are %d", c.name, ch, len(kept))
		}
		ch, there = m.broker.Channel(c.name)
		if there != (len(kept) > 0) || there && (ch.Messages != len(kept) || ch.Last != kept[len(kept)-1].offset || ch.Bytes <= 0) {
			m.Fatalf("%s is %+v, kept are %d", c.name, ch, len(kept))
		}
	}
}
