package hub

import "time"

// Stats is a hub at a moment. Totals count from the hub's beginning.
type Stats struct {
	Connections      int    `json:"connections"`
	Accepted         uint64 `json:"connections_total"`
	Refused          uint64 `json:"connections_refused_total"`
	Subscriptions    int    `json:"subscriptions"`
	Channels         int    `json:"channels"` // with subscribers or with history
	Received         uint64 `json:"messages_received_total"`
	Published        uint64 `json:"messages_published_total"`
	Duplicates       uint64 `json:"messages_duplicate_total"`
	Sent             uint64 `json:"messages_sent_total"`
	SentBytes        uint64 `json:"bytes_sent_total"`
	Offered          uint64 `json:"messages_offered_total"`   // deliveries that connections were due
	Dropped          uint64 `json:"messages_dropped_total"`   // and those of them that were dropped
	Conflated        uint64 `json:"messages_conflated_total"` // and those that a newer one of their channel replaced
	QueuedBytes      int64  `json:"bytes_queued"`
	TooSlow          uint64 `json:"connections_stalled_total"`   // closed because a socket took nothing
	Shed             uint64 `json:"connections_shed_total"`      // closed because the hub held too much
	Unhealthy        uint64 `json:"connections_unhealthy_total"` // closed because too much was dropped for them
	CaughtUp         uint64 `json:"blocked_total"`               // times that the policy block stopped feeding a connection
	MessagesInFlight int64  `json:"messages_in_flight"`
	Members          int64  `json:"presence_members"` // subscriptions that presence counts
}

// Stats tells how the hub stands. It asks every shard and so waits for them.
func (h *Hub) Stats() Stats {
	s := Stats{
		Accepted: h.stats.accepted.Load(), Received: h.stats.received.Load(), Published: h.stats.published.Load(),
		Duplicates: h.stats.duplicates.Load(), QueuedBytes: h.queued.Load(), TooSlow: h.stats.slow.Load(),
		Shed: h.stats.shed.Load(), Unhealthy: h.stats.unhealthy.Load(), CaughtUp: h.stats.blocked.Load(),
		Members: h.presence.members.Load(), MessagesInFlight: h.gate.messages.Load() / int64(len(h.shards)),
	}
	h.mu.Lock()
	conns := h.connectionsLocked()
	s.Refused = h.slots.refused
	s.Sent, s.SentBytes, s.Offered, s.Dropped = h.gone.sent, h.gone.sentBytes, h.gone.offered, h.gone.dropped
	s.Conflated = h.gone.conflated
	h.mu.Unlock()
	s.Connections = len(conns)
	for _, c := range conns {
		cs := c.Stats()
		s.Subscriptions += cs.Subscriptions
		s.Sent += cs.Sent
		s.SentBytes += cs.SentBytes
		s.Offered += cs.Offered
		s.Dropped += cs.Dropped
		s.Conflated += cs.Conflated
	}
	s.Channels = len(h.Channels(func(string) bool { return true }))
	return s
}

// ChannelStats is a channel at a moment.
type ChannelStats struct {
	Channel     string    `json:"channel"`
	Subscribers int       `json:"subscribers"` // connections subscribed to just this name, not by a pattern
	Published   uint64    `json:"messages_published"`
	History     int       `json:"history_messages"`
	HistoryB    int       `json:"history_bytes"`
	Offset      uint64    `json:"offset,omitempty"` // newest, with history
	PublishedAt time.Time `json:"published_at,omitzero"`
}

// Channels lists the channels whose names match and that have subscribers by name or history. A channel that has neither any more
// does not exist.
func (h *Hub) Channels(match func(string) bool) map[string]ChannelStats {
	out := make(map[string]ChannelStats)
	for _, ch := range h.broker.Channels(match) {
		out[ch.Channel] = ChannelStats{
			Channel: ch.Channel, Published: ch.Published, History: ch.Messages, HistoryB: ch.Bytes, Offset: ch.Last,
			PublishedAt: ch.PublishedAt,
		}
	}
	for _, s := range h.shards {
		s.do(func() {
			for name, t := range s.index.exact {
				if !match(name) {
					continue
				}
				cs := out[name]
				cs.Channel = name
				cs.add(t)
				out[name] = cs
			}
		})
	}
	return out
}
