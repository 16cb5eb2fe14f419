package memory

import (
	"cmp"
	"context"
	"slices"
	"sort"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// Recover implements hub.Broker: being called in the critical section is what gives `at` its one place in the order.
func (b *Broker) Recover(_ context.Context, q hub.Recovery, at func(hub.Recovered)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return hub.ErrClosed
	}
	b.expireLocked(b.now())
	out := hub.Recovered{Position: b.positionLocked(), Through: b.sequence, Complete: make([]bool, len(q.Filters))}
	switch {
	case q.Since == nil:
		for i, filter := range q.Filters {
			out.Complete[i] = true
			if q.Last > 0 {
				out.Messages = append(out.Messages, b.lastLocked(filter, q.Last)...)
			}
		}
	case q.Since.Epoch == b.epoch && q.Since.Offset <= b.sequence:
		b.sinceLocked(q, &out)
	}
	slices.SortFunc(out.Messages, func(x, y *hub.Message) int { return cmp.Compare(x.Offset, y.Offset) })
	out.Messages = slices.Compact(out.Messages)
	if q.Limit > 0 && len(out.Messages) > q.Limit {
		out.Messages = out.Messages[:q.Limit]
		out.Through = out.Messages[q.Limit-1].Offset
	}
	at(out)
	return nil
}

// sinceLocked collects all that is kept behind q.Since and tells what is missing.
func (b *Broker) sinceLocked(q hub.Recovery, out *hub.Recovered) {
	since := q.Since.Offset
	trimmed := make(map[string]uint64)
	for i, filter := range q.Filters {
		out.Complete[i] = true
		b.store.each(filter, since, func(name string, ch *channel) {
			out.Messages = append(out.Messages, behind(ch.messages, since)...)
		}, func(name string, through uint64) {
			out.Complete[i] = false
			trimmed[name] = through
		})
	}
	for name, through := range trimmed {
		out.Trimmed = append(out.Trimmed, hub.Trim{Channel: name, Through: through})
	}
}

// behind is the part of messages, which are in offset order, with offsets larger than since.
func behind(messages []*hub.Message, since uint64) []*hub.Message {
	i := sort.Search(len(messages), func(i int) bool { return messages[i].Offset > since })
	return messages[i:]
}
