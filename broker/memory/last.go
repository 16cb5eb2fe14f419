package memory

import (
	"cmp"
	"slices"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// candidate is a channel that a filter matches, when it was looked at.
type candidate struct {
	channel *channel
	last    uint64
	filters []int
}

// findLast finds the newest q.Last messages of each filter, up to an offset. It looks at channels from the one with the newest message on,
// and ends where no older one can add anything.
func (r *recovery) findLast(through uint64) {
	if r.newest = make([][]*hub.Message, len(r.q.Filters)); r.q.Last <= 0 {
		return
	}
	wants := func(i int, offset uint64) bool {
		return len(r.newest[i]) < r.q.Last || offset > r.newest[i][0].Offset
	}
	for _, c := range r.candidates() {
		if !slices.ContainsFunc(c.filters, func(i int) bool { return wants(i, c.last) }) {
			continue
		}
		r.b.mu.Lock()
		tail := c.channel.messages
		tail = tail[:len(tail)-len(after(tail, through))]
		tail = slices.Clone(tail[max(0, len(tail)-r.q.Last):])
		r.b.mu.Unlock()
		for _, i := range c.filters {
			r.newest[i] = r.cut(union([][]*hub.Message{r.newest[i], tail}))
		}
	}
}

func (r *recovery) cut(messages []*hub.Message) []*hub.Message {
	return messages[max(0, len(messages)-r.q.Last):]
}

// addNewest adds what was published meanwhile to the newest messages of the filters.
func (r *recovery) addNewest() {
	for _, m := range r.messages {
		for i, filter := range r.q.Filters {
			if filter.Match(m.Channel) {
				r.newest[i] = r.cut(append(r.newest[i], m))
			}
		}
	}
	r.messages = nil
}

// candidates are the channels that a filter matches, the one with the newest message first.
func (r *recovery) candidates() []candidate {
	var all []candidate
	r.b.mu.Lock()
	list := make([]*channel, 0, len(r.q.Filters))
	if r.patterns {
		list = slices.Clone(r.b.store.list)
	} else {
		for _, filter := range r.q.Filters {
			if ch := r.b.store.channels[filter.String()]; ch != nil && !slices.Contains(list, ch) {
				list = append(list, ch)
			}
		}
	}
	r.b.mu.Unlock()
	for part := range slices.Chunk(list, copyPart) {
		from := len(all)
		r.b.mu.Lock()
		for _, ch := range part {
			all = append(all, candidate{channel: ch, last: ch.last})
		}
		r.b.mu.Unlock()
		kept := all[:from]
		for _, c := range all[from:] { // a channel's name does not change
			for i, filter := range r.q.Filters {
				if filter.Match(c.channel.name) {
					c.filters = append(c.filters, i)
				}
			}
			if r.matched[c.channel.name] = len(c.filters) > 0; len(c.filters) > 0 {
				kept = append(kept, c)
			}
		}
		all = kept
	}
	slices.SortFunc(all, func(x, y candidate) int { return cmp.Compare(y.last, x.last) })
	return all
}
