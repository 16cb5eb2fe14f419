package hub

import (
	"maps"
	"strings"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/histogram"
)

// Stats is a hub at a moment. Totals count from the hub's beginning.
type Stats struct {
	Connections     int               `json:"connections"`
	Parked          int64             `json:"connections_parked"` // that have no goroutine
	Accepted        uint64            `json:"connections_total"`
	Refused         uint64            `json:"connections_refused_total"`
	Refusals        map[string]uint64 `json:"refusals"` // by reason; together they are Refused
	Closes          map[string]uint64 `json:"closes"`   // connections that have ended, by close code
	Subscriptions   int               `json:"subscriptions"`
	Channels        int               `json:"channels"`         // with subscribers by name
	HistoryChannels int               `json:"history_channels"` // in which something is kept
	HistoryBytes    int64             `json:"bytes_history"`
	Received        uint64            `json:"messages_received_total"`
	ReceivedBytes   uint64            `json:"bytes_received_total"`
	Published       uint64            `json:"messages_published_total"`
	Duplicates      uint64            `json:"messages_duplicate_total"`
	Sent            uint64            `json:"messages_sent_total"`
	SentKinds       map[string]uint64 `json:"messages_sent"` // by kind; together they are Sent
	SentBytes       uint64            `json:"bytes_sent_total"`
	Offered         uint64            `json:"messages_offered_total"`   // deliveries that connections were due
	Dropped         uint64            `json:"messages_dropped_total"`   // and those of them that were dropped
	Losses          []Loss            `json:"losses"`                   // together they are Dropped
	Conflated       uint64            `json:"messages_conflated_total"` // and those that a newer one of their channel replaced
	Gaps            map[string]uint64 `json:"gaps"`                     // told to clients, by reason
	Recovered       uint64            `json:"recovered_total"`          // subscriptions with since of which nothing was missing
	Unrecovered     uint64            `json:"unrecovered_total"`        // and of which something was, or may have been
	Queued          int               `json:"messages_queued"`
	QueuedBytes     int64             `json:"bytes_queued"`
	TooSlow         uint64            `json:"connections_stalled_total"`         // closed because a socket took nothing
	Shed            uint64            `json:"connections_shed_total"`            // closed because the hub held too much
	Unhealthy       uint64            `json:"connections_unhealthy_total"`       // closed because too much was dropped for them
	Overdue         uint64            `json:"connections_unauthenticated_total"` // closed because no token was shown in time
	Unidentified    uint64            `json:"tokens_refused_total"`              // before the upgrade and on connections
	Disconnected    uint64            `json:"connections_disconnected_total"`    // closed by an operator
	CaughtUp        uint64            `json:"blocked_total"`                     // times that the policy block stopped feeding a connection

	Visited          uint64 `json:"patterns_visited_total"`      // nodes and patterns that look-ups of subscriptions came to
	Oversubscribed   uint64 `json:"oversubscribed_total"`        // subscriptions refused: too many of the connection, or too many such patterns
	Revoked          uint64 `json:"subscriptions_revoked_total"` // subscriptions ended because they are no longer allowed
	Unreadable       uint64 `json:"history_unreadable_total"`    // subscriptions refused as the broker could not give the history
	MessagesInFlight int64  `json:"messages_in_flight"`
	Members          int64  `json:"presence_members"` // subscriptions that presence counts
}

// Loss counts messages that were dropped by what did it.
type Loss struct {
	Policy string `json:"policy"`
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// Stats tells how the hub stands. It asks no shard: it looks at each connection's own counters.
func (h *Hub) Stats() Stats {
	n := &h.stats
	s := Stats{
		Parked: n.parked.Load(), Accepted: n.accepted.Load(), Published: n.published.Load(), Duplicates: n.duplicates.Load(),
		QueuedBytes: h.queued.Load(), TooSlow: n.slow.Load(), Shed: n.shed.Load(), Unhealthy: n.unhealthy.Load(),
		CaughtUp: n.blocked.Load(), Overdue: n.overdue.Load(), Unidentified: n.unidentified.Load(), Disconnected: n.disconnected.Load(),
		Recovered: n.recovered.Load(), Unrecovered: n.unrecovered.Load(),
		Visited: n.visited.Load(), Oversubscribed: n.oversubscribed.Load(), Revoked: n.revoked.Load(), Unreadable: n.unreadable.Load(), Members: h.presence.members.Load(),
		MessagesInFlight: h.gate.messages.Load() / int64(len(h.shards)), Channels: h.names.count(),
		Refusals: make(map[string]uint64), Gaps: make(map[string]uint64), SentKinds: make(map[string]uint64),
	}
	for i := range n.refusals {
		if Refusal(i) != Admitted {
			s.Refusals[strings.ReplaceAll(refusals[i], " ", "_")] = n.refusals[i].Load()
			s.Refused += n.refusals[i].Load()
		}
	}
	for i := range n.gaps {
		reason := "other"
		if i < len(gapReasons) {
			reason = gapReasons[i]
		}
		s.Gaps[reason] = n.gaps[i].Load()
	}
	if sized, ok := h.broker.(Sized); ok {
		s.HistoryChannels, s.HistoryBytes = sized.Size()
	}
	h.traffic(&s)
	return s
}

// traffic sums up what the connections count, those that have ended included.
func (h *Hub) traffic(s *Stats) {
	h.mu.Lock()
	conns := h.connectionsLocked()
	t := h.gone
	s.Closes = maps.Clone(h.closes) // those that have not happened are told as well, so that a first one shows
	h.mu.Unlock()
	t.subscriptions, t.queued = 0, 0
	for _, c := range conns {
		t.add(c)
	}
	s.Connections, s.Subscriptions, s.Queued = len(conns), t.subscriptions, t.queued
	s.Received, s.ReceivedBytes, s.SentBytes, s.Sent = t.received, t.receivedBytes, t.sentBytes, t.messages()
	s.Offered, s.Dropped, s.Conflated = t.offered, t.dropped, t.conflated
	for kind, n := range t.sent {
		s.SentKinds[kindNames[kind]] = n
	}
	t.losses.Each(func(policy, reason string, n uint64) {
		s.Losses = append(s.Losses, Loss{policy, reason, n})
	})
}

// Latency is how long messages took from publishing until a connection's socket had taken all that waited for it. Not every message is
// measured.
func (h *Hub) Latency() histogram.Snapshot { return h.sampler.times.Snapshot() }

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
