package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// History implements hub.Broker.
func (b *Broker) History(ctx context.Context, channel string, since *protocol.Position, limit int) (hub.History, error) {
	if rule := b.rules(channel); rule == nil || !rule.History.Keeps() {
		return hub.History{}, hub.ErrNoHistory
	}
	p, err := protocol.ParsePattern(channel)
	if err != nil {
		return hub.History{}, fmt.Errorf("reading history: %w", err)
	}
	q := hub.Recovery{Filters: []protocol.Pattern{p}, Strict: true}
	epoch := b.Position().Epoch
	switch {
	case since == nil:
		q.Last = limit + 1
	case since.Epoch == epoch:
		q.Since = since
	default: // offsets of another epoch say nothing here: all that is kept is news
		q.Since = &protocol.Position{Epoch: epoch}
	}
	var out hub.History
	err = b.Recover(ctx, q, func(r hub.Recovered) {
		out = hub.History{Messages: r.Messages, Epoch: r.Position.Epoch, More: len(r.Messages) > limit}
	})
	if err != nil {
		if errors.Is(err, ErrUnavailable) {
			refusal := protocol.Errorf(protocol.HistoryUnavailable, "the history cannot be read now")
			refusal.RetryAfter = retryAfter
			err = fmt.Errorf("%w: %w", refusal, err)
		}
		return hub.History{}, err
	}
	if out.More && since == nil {
		out.Messages = out.Messages[len(out.Messages)-limit:]
	} else if out.More {
		out.Messages = out.Messages[:limit]
	}
	return out, nil
}

// listTime is how long a look at the stream for operators may take.
const listTime = 2 * time.Second

// Channels implements hub.Broker. It gives names and numbers of messages; of each alone, Channel knows more.
func (b *Broker) Channels(match func(string) bool) []hub.ChannelHistory {
	ctx, cancel := context.WithTimeout(b.life, listTime)
	defer cancel()
	token, js := b.reach()
	if js == nil {
		return nil
	}
	stream, err := js.Stream(ctx, b.names.stream)
	if err != nil {
		return nil
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(b.names.in(token)+">"))
	if err != nil {
		return nil
	}
	var out []hub.ChannelHistory
	prefix := b.names.in(token)
	for subject, n := range info.State.Subjects {
		channel, err := channelOf(subject[min(len(prefix), len(subject)):])
		if err != nil || !match(channel) {
			continue
		}
		if rule := b.rules(channel); rule != nil && rule.History.Keeps() {
			shown := min(int(n), rule.History.Messages)
			out = append(out, hub.ChannelHistory{Channel: channel, Published: n, Messages: shown})
		}
	}
	return out
}

func (b *Broker) reach() (token string, js jetstream.JetStream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.token == "" {
		return "", nil
	}
	return b.token, b.js
}

// Channel implements hub.Broker. How many messages were ever published is not known: those that are kept are counted.
func (b *Broker) Channel(name string) (hub.ChannelHistory, bool) {
	ctx, cancel := context.WithTimeout(b.life, listTime)
	defer cancel()
	rule := b.rules(name)
	if rule == nil || !rule.History.Keeps() {
		return hub.ChannelHistory{}, false
	}
	history, err := b.History(ctx, name, nil, rule.History.Messages)
	if err != nil || len(history.Messages) == 0 {
		return hub.ChannelHistory{}, false
	}
	out := hub.ChannelHistory{Channel: name, Published: uint64(len(history.Messages)), Messages: len(history.Messages)}
	for _, m := range history.Messages {
		out.Bytes += len(m.Bytes)
		out.Last, out.PublishedAt = m.Offset, m.Time
	}
	return out, true
}

// Size implements hub.Sized: of the stream, as it was at the last look.
func (b *Broker) Size() (channels int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int(b.state.NumSubjects), int64(b.state.Bytes)
}
