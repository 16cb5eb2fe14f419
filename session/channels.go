package session

import (
	"errors"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// forbidden is the same for a channel that no rule holds and one whose rule does not allow it: which of both it is, is not the
// client's business.
func forbidden() *protocol.Error {
	return protocol.Errorf(protocol.Forbidden, "this channel is not open to you")
}

// subscribe checks each channel by itself: what is wrong with one is told with its name and does not hinder the others.
func (s *Session) subscribe(req protocol.Request) {
	settings, identity := s.env.Hub.Settings(), s.conn.Identity()
	ask := hub.Subscribe{ID: req.ID, Since: req.Since, Last: min(req.History, maxHistory), Presence: req.Presence}
	seen := make(map[string]bool, len(req.Channels))
	work := protocol.NewWork(protocol.MaxWork)
	for _, channel := range req.Channels {
		if seen[channel] {
			continue
		}
		pattern, err := protocol.ParsePattern(channel)
		if err == nil {
			err = pattern.CheckWildcards()
		}
		if err != nil {
			s.fail(req, channel, protocol.Errorf(protocol.InvalidChannel, "%v", err))
			continue
		}
		rule, denial := settings.MaySubscribe(identity, pattern, req.Presence, work)
		switch {
		case protocol.IsReserved(channel):
			s.fail(req, channel, protocol.Errorf(protocol.Forbidden, "channels that begin with $ belong to the server"))
		case denial == hub.DeniedWork:
			s.fail(req, channel, protocol.Errorf(protocol.LimitExceeded,
				"the patterns of this message take too much work to check: use fewer or simpler ones"))
		case denial == hub.DeniedChannel:
			s.fail(req, channel, forbidden())
		case req.History > 0 && !rule.History.Keeps():
			s.fail(req, channel, noHistory())
		case denial == hub.DeniedPresence:
			s.fail(req, channel, noPresence())
		default:
			seen[channel] = true
			ask.Patterns = append(ask.Patterns, pattern)
			ask.Rules = append(ask.Rules, rule)
		}
	}
	if len(ask.Patterns) > 0 {
		s.conn.Subscribe(s.ctx, ask)
	}
}

// noPresence does not say whether presence is not kept or not for this client.
func noPresence() *protocol.Error {
	return protocol.Errorf(protocol.Forbidden, "the presence of this channel is not open to you")
}

func (s *Session) presence(req protocol.Request) {
	channel := req.Channels[0]
	if err := protocol.CheckName(channel); err != nil {
		s.fail(req, channel, protocol.Errorf(protocol.InvalidChannel, "%v", err))
		return
	}
	rule := s.env.Hub.Settings().RuleFor(channel)
	if rule == nil || !rule.Presence || !rule.Allows(access.Presence, s.conn.Identity(), channel) {
		s.fail(req, channel, noPresence())
		return
	}
	s.conn.Presence(req.ID, channel, rule)
}

func noHistory() *protocol.Error {
	return protocol.Errorf(protocol.HistoryUnavailable, "this channel keeps no history")
}

func (s *Session) unsubscribe(req protocol.Request) {
	valid := make([]string, 0, len(req.Channels))
	for _, channel := range req.Channels {
		if _, err := protocol.ParsePattern(channel); err != nil {
			s.fail(req, channel, protocol.Errorf(protocol.InvalidChannel, "%v", err))
			continue
		}
		valid = append(valid, channel)
	}
	if len(valid) > 0 {
		s.conn.Unsubscribe(req.ID, valid)
	}
}

func (s *Session) publish(req protocol.Request) {
	channel := req.Channels[0]
	if err := protocol.CheckName(channel); err != nil {
		s.fail(req, channel, protocol.Errorf(protocol.InvalidChannel, "%v", err))
		return
	}
	if protocol.IsReserved(channel) {
		s.fail(req, channel, protocol.Errorf(protocol.Forbidden, "channels that begin with $ belong to the server"))
		return
	}
	rule := s.env.Hub.Settings().RuleFor(channel)
	if rule == nil || !rule.Allows(access.Publish, s.conn.Identity(), channel) {
		s.fail(req, channel, forbidden())
		return
	}
	span := s.trace("neuroquantum_ws publish", "channel", channel)
	receipt, err := s.env.Hub.Publish(s.ctx, hub.Publication{
		Channel: channel, Data: req.Data, Key: req.Key, Sender: s.sender(), Trace: span.Context(),
	})
	span.End(err)
	if err != nil {
		s.fail(req, channel, s.presentable(err))
		return
	}
	if req.ID != "" {
		s.reply(protocol.AppendPublished(s.out[:0], protocol.Published{
			ID: req.ID, Channel: channel, Position: receipt.Position, Duplicate: receipt.Duplicate,
		}))
	}
}

// sender returns the scope of the client's idempotency keys: its user, and where it is anonymous its address, so that a key still counts
// after a reconnect.
func (s *Session) sender() string {
	if user := s.conn.Identity().User; user != "" {
		return "user " + user
	}
	return "address " + s.conn.Meta().Address
}

func (s *Session) history(req protocol.Request) {
	channel := req.Channels[0]
	if err := protocol.CheckName(channel); err != nil {
		s.fail(req, channel, protocol.Errorf(protocol.InvalidChannel, "%v", err))
		return
	}
	rule := s.env.Hub.Settings().RuleFor(channel)
	if rule == nil || !rule.Allows(access.History, s.conn.Identity(), channel) {
		s.fail(req, channel, forbidden())
		return
	}
	limit := req.Limit
	if limit < 0 {
		limit = defaultHistory
	}
	history, err := s.env.Hub.History(s.ctx, channel, req.Since, min(limit, maxHistory))
	switch {
	case errors.Is(err, hub.ErrNoHistory):
		s.fail(req, channel, noHistory())
		return
	case err != nil:
		s.fail(req, channel, s.presentable(err))
		return
	}
	history = history.Clip(maxHistoryBytes, req.Since != nil)
	messages := history.Messages
	s.reply(protocol.AppendHistory(s.out[:0], req.ID, channel, history.Epoch, history.More, len(messages),
		func(dst []byte, i int) []byte { return append(dst, messages[i].JSON()...) }))
}
