package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// record is a message as the naive model remembers it: for ever.
type record struct {
	message *hub.Message
	age     time.Duration // 0: no age is too great
	gone    bool
}

// firstUse is when and where a key was used first.
type firstUse struct {
	at     time.Time
	offset uint64
}

// world is a broker beside a model that forgets nothing and asks everything anew. Nothing runs on its own: time is what the test
// says, and the broker's sweep is not started.
type world struct {
	*rapid.T
	broker    *Broker
	now       time.Time
	waited    bool
	limit     int
	rules     map[string]*hub.Rule
	delivered []*hub.Message

	records map[string][]*record
	keys    map[string]firstUse
}

var channelNames = []string{"a/1", "a/b/2", "c", "never"}

func newWorld(t *rapid.T) *world {
	w := &world{
		T: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rules: make(map[string]*hub.Rule),
		records: make(map[string][]*record), keys: make(map[string]firstUse),
	}
	w.limit = rapid.SampledFrom([]int{1 << 20, 1 << 20, 4000, 1500}).Draw(t, "max history")
	w.broker = New(w.limit)
	w.broker.now = func() time.Time { return w.now }
	w.broker.deliver = func(m *hub.Message) { w.delivered = append(w.delivered, m) }
	w.broker.rules = func(channel string) *hub.Rule { return w.rules[channel] }
	for _, name := range channelNames {
		w.rule(name)
	}
	return w
}

func (w *world) rule(name string) {
	w.rules[name] = &hub.Rule{History: hub.Retention{
		Messages: rapid.SampledFrom([]int{1, 2, 3, 100, 100, 0}).Draw(w.T, "messages of "+name),
		Age:      time.Duration(rapid.SampledFrom([]int{0, 5, 5, 20}).Draw(w.T, "age of "+name)) * time.Second,
	}}
}

func (w *world) reload() { w.rule(rapid.SampledFrom(channelNames).Draw(w.T, "channel")) }

func (w *world) resize() {
	w.limit = rapid.SampledFrom([]int{1 << 20, 4000, 1500}).Draw(w.T, "max history")
	w.broker.SetMaxHistory(w.limit)
	w.shrink()
}

func (w *world) wait() {
	w.waited = true
	w.now = w.now.Add(time.Duration(rapid.SampledFrom([]int{1, 4, 5, 10, 60, 119, 120}).Draw(w.T, "seconds")) * time.Second)
}

// kept are the channel's messages that are still there, oldest first.
func (w *world) kept(channel string) (out []*hub.Message) {
	for _, r := range w.records[channel] {
		if !r.gone {
			out = append(out, r.message)
		}
	}
	return out
}

// lost is the newest offset of the channel that is gone, 0 where none is.
func (w *world) lost(channel string) (offset uint64) {
	for _, r := range w.records[channel] {
		if r.gone {
			offset = r.message.Offset
		}
	}
	return offset
}

// lose drops a channel's messages up to record i.
func (w *world) lose(channel string, i int) {
	for _, r := range w.records[channel][:i+1] {
		r.gone = true
	}
}

func (w *world) expire() {
	for channel, records := range w.records {
		for i, r := range records {
			if r.age > 0 && w.now.Sub(r.message.Time) >= r.age {
				w.lose(channel, i)
			}
		}
	}
}

func (w *world) bytes() (n int) {
	for channel := range w.records {
		kept := w.kept(channel)
		if len(kept) > 0 {
			n += channelOverhead + len(channel)
		}
		for _, m := range kept {
			n += len(m.Bytes) + messageOverhead
		}
	}
	return n
}

func (w *world) shrink() {
	for w.bytes() > w.limit {
		oldest, at := "", uint64(0)
		for channel := range w.records {
			if kept := w.kept(channel); len(kept) > 0 && (at == 0 || kept[0].Offset < at) {
				oldest, at = channel, kept[0].Offset
			}
		}
		w.lose(oldest, slices.IndexFunc(w.records[oldest], func(r *record) bool { return r.message.Offset == at }))
	}
}

func (w *world) publish() {
	p := hub.Publication{
		Channel: rapid.SampledFrom(channelNames[:len(channelNames)-1]).Draw(w.T, "channel"),
		Data:    fmt.Appendf(nil, "%d", len(w.delivered)),
		Key:     rapid.SampledFrom([]string{"", "", "", "k", "l"}).Draw(w.T, "key"),
		Sender:  rapid.SampledFrom([]string{"", "x", "y"}).Draw(w.T, "sender"),
	}
	before := len(w.delivered)
	receipt, err := w.broker.Publish(context.Background(), p)
	if err != nil {
		w.Fatal(err)
	}
	w.expire()
	key := p.Channel + " " + p.Sender + " " + p.Key
	if first, used := w.keys[key]; p.Key != "" && used && w.now.Sub(first.at) < hub.KeyWindow {
		if !receipt.Duplicate || receipt.Position.Offset != first.offset || len(w.delivered) != before {
			w.Fatalf("key used again: %+v, first at %d", receipt, first.offset)
		}
		return
	}
	if receipt.Duplicate || len(w.delivered) != before+1 {
		w.Fatalf("receipt %+v, %d deliveries", receipt, len(w.delivered)-before)
	}
	m := w.delivered[before]
	w.checkMessage(m, p)
	if receipt.Position.Offset != m.Offset || receipt.Position.Epoch != w.broker.epoch {
		w.Fatalf("receipt %+v for offset %d", receipt, m.Offset)
	}
	w.keys[key] = firstUse{w.now, m.Offset}
	if retention := w.rules[p.Channel].History; retention.Messages > 0 {
		w.records[p.Channel] = append(w.records[p.Channel], &record{message: m, age: retention.Age})
		if i := len(w.records[p.Channel]) - 1 - retention.Messages; i >= 0 {
			w.lose(p.Channel, i)
		}
		w.shrink()
	}
}

func (w *world) checkMessage(m *hub.Message, p hub.Publication) {
	want := hub.Message{Sequence: uint64(len(w.delivered)), Time: w.now, Rule: w.rules[p.Channel]}
	if want.Rule.History.Messages > 0 {
		want.Offset = want.Sequence
		if records := w.records[p.Channel]; len(records) > 0 {
			want.Prev = records[len(records)-1].message.Offset
		}
	}
	if m.Channel != p.Channel || string(m.Data()) != string(p.Data) || m.Sequence != want.Sequence || m.Offset != want.Offset ||
		m.Prev != want.Prev || !m.Time.Equal(want.Time) || m.Rule != want.Rule {
		w.Fatalf("message %d of %q behind %d in order %d", m.Offset, m.Channel, m.Prev, m.Sequence)
	}
}

// drawSince draws a position, of which some lie in the future or in another life.
func (w *world) drawSince() *protocol.Position {
	return &protocol.Position{
		Epoch:  rapid.SampledFrom([]string{w.broker.epoch, w.broker.epoch, w.broker.epoch, "another"}).Draw(w.T, "epoch"),
		Offset: rapid.Uint64Range(0, uint64(len(w.delivered))+1).Draw(w.T, "since"),
	}
}

func (w *world) recover() {
	var q hub.Recovery
	patterns := []string{"a/1", "a/b/2", "c", "never", "a/*", "a/**", "*", "**", "b.*"}
	for _, text := range rapid.SliceOfN(rapid.SampledFrom(patterns), 1, 3).Draw(w.T, "filters") {
		p, err := protocol.ParsePattern(text)
		if err != nil {
			w.Fatal(err)
		}
		q.Filters = append(q.Filters, p)
	}
	if rapid.Bool().Draw(w.T, "newest") {
		q.Last = rapid.IntRange(0, 4).Draw(w.T, "last")
	} else {
		q.Since = w.drawSince()
	}
	q.Limit = rapid.SampledFrom([]int{0, 0, 1, 2, 5}).Draw(w.T, "limit")
	calls := 0
	err := w.broker.Recover(context.Background(), q, func(got hub.Recovered) {
		calls++
		w.expire()
		w.checkRecovered(q, got)
	})
	if err != nil || calls != 1 {
		w.Fatalf("%d calls, %v", calls, err)
	}
}

func (w *world) checkRecovered(q hub.Recovery, got hub.Recovered) {
	if want := (protocol.Position{Epoch: w.broker.epoch, Offset: uint64(len(w.delivered))}); got.Position != want {
		w.Fatalf("position %v, but all up to %v was delivered", got.Position, want)
	}
	messages, complete, trimmed := w.due(q)
	through := got.Position.Offset
	if q.Limit > 0 && len(messages) > q.Limit {
		messages = messages[:q.Limit]
		through = messages[q.Limit-1].Offset
	}
	if !slices.Equal(got.Messages, messages) || got.Through != through {
		w.Fatalf("messages %v through %d, want %v through %d", offsets(got.Messages), got.Through, offsets(messages), through)
	}
	if !slices.Equal(got.Complete, complete) {
		w.Fatalf("complete %v, want %v", got.Complete, complete)
	}
	if !sameTrims(got.Trimmed, trimmed) {
		w.Fatalf("trimmed %v, want %v", got.Trimmed, trimmed)
	}
}

func sameTrims(trims []hub.Trim, want map[string]uint64) bool {
	for _, trim := range trims {
		if through, ok := want[trim.Channel]; !ok || through != trim.Through {
			return false
		}
	}
	return len(trims) == len(want)
}

func offsets(messages []*hub.Message) (out []uint64) {
	for _, m := range messages {
		out = append(out, m.Offset)
	}
	return out
}

// due is what the recovery should find.
func (w *world) due(q hub.Recovery) (messages []*hub.Message, complete []bool, trimmed map[string]uint64) {
	trimmed = make(map[string]uint64)
	known := q.Since == nil || q.Since.Epoch == w.broker.epoch && q.Since.Offset <= uint64(len(w.delivered))
	for _, filter := range q.Filters {
		var found []*hub.Message
		all := known
		for _, channel := range channelNames {
			if !known || !filter.Match(channel) {
				continue
			}
			found = append(found, w.kept(channel)...)
			if lost := w.lost(channel); q.Since != nil && lost > q.Since.Offset {
				all = false
				trimmed[channel] = lost
			}
		}
		sortMessages(found)
		if q.Since != nil {
			found = slices.DeleteFunc(found, func(m *hub.Message) bool { return m.Offset <= q.Since.Offset })
		} else {
			found = found[max(0, len(found)-q.Last):]
		}
		messages = append(messages, found...)
		complete = append(complete, all)
	}
	sortMessages(messages)
	return slices.Compact(messages), complete, trimmed
}

func sortMessages(messages []*hub.Message) {
	slices.SortFunc(messages, func(a, b *hub.Message) int { return int(a.Offset) - int(b.Offset) })
}

func (w *world) history() {
	channel := rapid.SampledFrom(channelNames).Draw(w.T, "channel")
	limit := rapid.IntRange(0, 4).Draw(w.T, "limit")
	var since *protocol.Position
	if rapid.Bool().Draw(w.T, "on from a position") {
		since = w.drawSince()
	}
	got, err := w.broker.History(context.Background(), channel, since, limit)
	if w.rules[channel].History.Messages == 0 {
		if !errors.Is(err, hub.ErrNoHistory) {
			w.Fatalf("history of a channel without: %v", err)
		}
		return
	}
	w.expire()
	want := w.kept(channel)
	if since != nil && since.Epoch == w.broker.epoch {
		want = slices.DeleteFunc(want, func(m *hub.Message) bool { return m.Offset <= since.Offset })
	}
	more := len(want) > limit
	if more && since != nil {
		want = want[:limit]
	} else if more {
		want = want[len(want)-limit:]
	}
	if err != nil || got.Epoch != w.broker.epoch || got.More != more || !slices.Equal(got.Messages, want) {
		w.Fatalf("history %v, more %v, %v; want %v, %v", offsets(got.Messages), got.More, err, offsets(want), more)
	}
}

// check holds what is kept against the model, and against the bound.
func (w *world) check() {
	if w.waited {
		// What is asked next must itself see to what has grown too old.
		w.waited = false
		return
	}
	b := w.broker
	b.expireLocked(w.now)
	w.expire()
	if b.store.bytes != w.bytes() || b.store.bytes > w.limit {
		w.Fatalf("%d bytes, want %d and at most %d", b.store.bytes, w.bytes(), w.limit)
	}
	if want := (protocol.Position{Epoch: b.epoch, Offset: uint64(len(w.delivered))}); b.Position() != want {
		w.Fatalf("position %v, want %v", b.Position(), want)
	}
	listed := make(map[string]hub.ChannelHistory)
	for _, ch := range b.Channels(func(name string) bool { return name != "c" }) {
		listed[ch.Channel] = ch
	}
	for _, channel := range channelNames {
		kept, ch := w.kept(channel), listed[channel]
		if channel == "c" {
			kept = nil
		}
		bytes := 0
		for _, m := range kept {
			bytes += len(m.Bytes)
		}
		if ch.Messages != len(kept) || ch.Bytes != bytes || len(kept) > 0 && (ch.Last != kept[len(kept)-1].Offset || !ch.PublishedAt.Equal(kept[len(kept)-1].Time)) {
			w.Fatalf("listed %+v, kept %v", ch, offsets(kept))
		}
	}
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		step := func(f func()) func(*rapid.T) { return func(*rapid.T) { f() } }
		t.Repeat(map[string]func(*rapid.T){
			"publish": step(w.publish), "and publish": step(w.publish), "and again": step(w.publish),
			"recover": step(w.recover), "history": step(w.history), "wait": step(w.wait),
			"reload": step(w.reload), "resize": step(w.resize), "": step(w.check),
		})
	})
}
