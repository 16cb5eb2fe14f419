package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Bounds of a history, those of the `history` request.
const (
	defaultHistory  = 100
	maxHistory      = 10_000
	maxHistoryBytes = 1 << 20
)

type channelsAnswer struct {
	Channels []channelAnswer `json:"channels"`
	Cursor   string          `json:"cursor,omitempty"` // gives the next page; absent on the last
}

type channelAnswer struct {
	hub.ChannelStats
	Queue *queueAnswer `json:"queue,omitempty"` // absent where no channel block holds the channel any more
}

// queueAnswer is how many of a channel's messages may wait for each connection, together with those of the channels under the same block,
// and what happens beyond.
type queueAnswer struct {
	Messages int    `json:"messages"`
	Bytes    int    `json:"bytes"`
	Policy   string `json:"policy"`
}

func listChannels(a *Routes, r *request) (int, any, error) {
	limit, after, err := r.page()
	if err != nil {
		return 0, nil, err
	}
	match := func(string) bool { return true }
	if r.query.Has("pattern") {
		pattern, err := protocol.ParsePattern(r.query.Get("pattern"))
		if err != nil {
			return 0, nil, protocol.Errorf(protocol.InvalidChannel, "%v", err)
		}
		match = pattern.Match
	}
	page, more := a.Hub.ChannelPage(match, after, limit)
	answer := channelsAnswer{Channels: make([]channelAnswer, 0, len(page))}
	for _, cs := range page {
		answer.Channels = append(answer.Channels, a.channel(cs))
	}
	if more && len(page) > 0 {
		answer.Cursor = cursor(page[len(page)-1].Channel)
	}
	return http.StatusOK, answer, nil
}

func showChannel(a *Routes, r *request) (int, any, error) {
	name, err := r.channel()
	if err != nil {
		return 0, nil, err
	}
	cs, ok := a.Hub.Channel(name)
	if !ok {
		return 0, nil, NotFound("the channel has neither subscribers nor history")
	}
	return http.StatusOK, a.channel(cs), nil
}

func (a *Routes) channel(cs hub.ChannelStats) channelAnswer {
	cs.PublishedAt = stamp(cs.PublishedAt)
	answer := channelAnswer{ChannelStats: cs}
	if rule := a.Hub.Settings().RuleFor(cs.Channel); rule != nil {
		answer.Queue = &queueAnswer{rule.Queue.MaxMessages, rule.Queue.MaxBytes, rule.Queue.Policy.String()}
	}
	return answer
}

// stamp gives times as the protocol does: UTC, milliseconds.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

type historyAnswer struct {
	Channel  string            `json:"channel"`
	Messages []json.RawMessage `json:"messages"` // each as `channel_message`, oldest first
	Epoch    string            `json:"epoch"`
	HasMore  bool              `json:"has_more"` // older messages; newer ones where a position was given
}

func showHistory(a *Routes, r *request) (int, any, error) {
	name, err := r.channel()
	if err != nil {
		return 0, nil, err
	}
	limit, err := r.number("limit", defaultHistory, 0, maxHistory)
	if err != nil {
		return 0, nil, err
	}
	var since *protocol.Position
	if r.query.Has("epoch") || r.query.Has("offset") {
		offset, err := strconv.ParseUint(r.query.Get("offset"), 10, 64)
		if err != nil || r.query.Get("epoch") == "" {
			return 0, nil, invalid("epoch and offset go together, and offset is an integer of 0 or more")
		}
		since = &protocol.Position{Epoch: r.query.Get("epoch"), Offset: offset}
	}
	history, err := a.Hub.History(r.ctx(), name, since, limit)
	switch {
	case errors.Is(err, hub.ErrNoHistory):
		return 0, nil, protocol.Errorf(protocol.HistoryUnavailable, "this channel keeps no history")
	case err != nil:
		return 0, nil, err
	}
	history = history.Clip(maxHistoryBytes, since != nil)
	answer := historyAnswer{
		Channel: name, Messages: make([]json.RawMessage, len(history.Messages)), Epoch: history.Epoch, HasMore: history.More,
	}
	for i, m := range history.Messages {
		answer.Messages[i] = m.JSON()
	}
	return http.StatusOK, answer, nil
}

type presenceAnswer struct {
	Channel string            `json:"channel"`
	Members []json.RawMessage `json:"members"` // in no order, at most 10,000
	Count   int               `json:"count"`   // of all
}

func showPresence(a *Routes, r *request) (int, any, error) {
	name, err := r.channel()
	if err != nil {
		return 0, nil, err
	}
	members, count, kept := a.Hub.Members(name)
	if !kept {
		return 0, nil, NotFound("the presence of this channel is not kept")
	}
	answer := presenceAnswer{Channel: name, Members: make([]json.RawMessage, len(members)), Count: count}
	for i, m := range members {
		answer.Members[i] = m
	}
	return http.StatusOK, answer, nil
}
