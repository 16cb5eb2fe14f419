package hub

import (
	"slices"
)

// What operators are shown, a page at a time. The names of what exists are copied under the locks of those who own it, and sorted and
// matched without any; only for a page's entries more is asked.

// ChannelPage lists channels that have subscribers by name, or history: the first limit whose names match and stand behind after, in
// the order of their names. more says that others follow.
func (h *Hub) ChannelPage(match func(string) bool, after string, limit int) (page []ChannelStats, more bool) {
	var names []string
	note := func(name string) bool {
		if name > after {
			names = append(names, name)
		}
		return false
	}
	h.broker.Channels(note)
	for _, s := range h.shards {
		s.do(func() {
			for name := range s.index.exact {
				note(name)
			}
		})
	}
	slices.Sort(names)
	var chosen []string
	for i, name := range names {
		if i > 0 && names[i-1] == name || !match(name) {
			continue
		}
		if len(chosen) == limit {
			more = true
			break
		}
		chosen = append(chosen, name)
	}
	return h.channelStats(chosen), more
}

// Channel tells how a channel stands; false where it has neither subscribers by name nor history.
func (h *Hub) Channel(name string) (ChannelStats, bool) {
	found := h.channelStats([]string{name})
	if len(found) == 0 {
		return ChannelStats{}, false
	}
	return found[0], true
}

// channelStats leaves out those that are gone.
func (h *Hub) channelStats(names []string) []ChannelStats {
	all := make([]ChannelStats, len(names))
	exists := make([]bool, len(names))
	for i, name := range names {
		all[i].Channel = name
		if ch, ok := h.broker.Channel(name); ok {
			exists[i] = true
			all[i].Published, all[i].PublishedAt = ch.Published, ch.PublishedAt
			all[i].History, all[i].HistoryB, all[i].Offset = ch.Messages, ch.Bytes, ch.Last
		}
	}
	for _, s := range h.shards {
		s.do(func() {
			for i, name := range names {
				if t := s.index.exact[name]; t != nil {
					exists[i] = true
					all[i].add(t)
				}
			}
		})
	}
	out := all[:0]
	for i, cs := range all {
		if exists[i] {
			out = append(out, cs)
		}
	}
	return out
}

// add counts a shard's subscriptions to the channel. What was published is known best by whoever keeps the history.
func (cs *ChannelStats) add(t *topic) {
	cs.Subscribers += len(t.subs)
	if cs.Offset == 0 {
		cs.Published = max(cs.Published, t.published)
		if t.publishedAt.After(cs.PublishedAt) {
			cs.PublishedAt = t.publishedAt
		}
	}
}

// Members gives who is subscribed to a channel, at most 10,000 of them as protocol.AppendMember makes them, and how many there are.
// kept is false where the channel's rule keeps no presence.
func (h *Hub) Members(channel string) (members [][]byte, count int, kept bool) {
	rule := h.Settings().RuleFor(channel)
	if rule == nil || !rule.Presence {
		return nil, 0, false
	}
	h.presence.mu.Lock()
	defer h.presence.mu.Unlock()
	members, count = h.presence.listLocked(channel, rule)
	return members, count, true
}

// Subscriptions lists what the connection is subscribed to, in alphabetical order.
func (c *Conn) Subscriptions() []string {
	names := []string{}
	c.shard.do(func() {
		for name := range c.subs {
			names = append(names, name)
		}
	})
	slices.Sort(names)
	return names
}

// Clip leaves out what makes the history longer than bytes, but for one message: the newest where forward says that its reader goes on
// from a position, the oldest where it wants the newest.
func (h History) Clip(bytes int, forward bool) History {
	size := 0
	for n := range h.Messages {
		at := n
		if !forward {
			at = len(h.Messages) - 1 - n
		}
		if size += len(h.Messages[at].Bytes); size <= bytes || n == 0 {
			continue
		}
		h.More = true
		if forward {
			h.Messages = h.Messages[:at]
		} else {
			h.Messages = h.Messages[at+1:]
		}
		break
	}
	return h
}
