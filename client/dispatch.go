package client

import (
	"slices"
	"strings"
)

// eventSize is about what an event takes besides its data.
const eventSize = 128

// deliverLocked gives a message to the subscriptions that it is for.
func (c *Client) deliverLocked(s *session, m *message) {
	out := &Message{Channel: m.Channel, Data: m.Data, Timestamp: m.Timestamp, Offset: m.Offset}
	if m.Offset > 0 {
		out.Epoch = s.epoch
	}
	for _, sub := range c.index.match(m.Channel) {
		switch {
		case sub.live != s:
			continue // it was not confirmed yet: this is for another
		case m.Offset == 0:
			sub.forgetfulLocked(m.Channel)
		case m.Offset <= max(sub.pos.Offset, s.mark):
			continue // it has that
		}
		if m.Offset > 0 && sub.pos.Epoch == "" {
			// Its pattern is of a block without history, but a channel within it is of one that keeps it: that can be gone on with.
			sub.pos = Position{Epoch: s.epoch}
		}
		sub.push(out, len(m.Data)+len(m.Channel)+eventSize)
	}
	s.mark = max(s.mark, m.Offset)
}

// forgetfulLocked notes that a message without offset came, by whatever pattern.
func (sub *Subscription) forgetfulLocked(channel string) {
	for i, p := range sub.patterns {
		if !sub.volatile[i] && p.Match(channel) {
			sub.volatile[i] = true
		}
	}
}

// presencePrefix is before the channel in gaps of presence events.
const presencePrefix = "$presence/"

func (c *Client) tellGapLocked(s *session, m *message) {
	gap := &Gap{
		Channel: m.Channel, After: m.After, Before: m.Before, Dropped: -1, Reason: m.Reason, Recoverable: m.Recoverable,
	}
	if m.Dropped != nil {
		gap.Dropped = *m.Dropped
	}
	channel, ofPresence := strings.CutPrefix(m.Channel, presencePrefix)
	for _, sub := range c.index.match(channel) {
		if sub.live == s && (!ofPresence || sub.options.Presence) {
			sub.push(gap, len(m.Channel)+eventSize)
		}
	}
}

func (c *Client) tellPresenceLocked(s *session, m *message) {
	var event Event = &Joined{Channel: m.Channel, Member: m.Member}
	if m.Type == "presence_leave" {
		event = &Left{Channel: m.Channel, Member: m.Member}
	}
	for _, sub := range c.index.match(m.Channel) {
		if sub.live == s && sub.options.Presence {
			sub.push(event, 2*eventSize)
		}
	}
}

// revokeLocked ends the subscriptions to what the server no longer allows.
func (c *Client) revokeLocked(s *session, m *message) {
	for _, sub := range slices.Clone(c.subs) {
		if sub.live == s && slices.Contains(sub.Channels(), m.Channel) {
			c.dropLocked(sub, m.err())
		}
	}
}
