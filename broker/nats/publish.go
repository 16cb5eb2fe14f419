package nats

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

const (
	// attemptTime is how long the stream may take to acknowledge before it is asked again, under the same id.
	attemptTime = 2 * time.Second
	// attemptWait is before a second attempt; it doubles from then on.
	attemptWait = 50 * time.Millisecond
	// retryAfter is how long a client should wait whose message could not be published.
	retryAfter = time.Second
)

// Publish implements hub.Broker. A message of a channel with history has its place when the stream has acknowledged it; it is delivered
// when it comes back with all others. Until then its outcome is unknown: it is published again under the same id, which the stream takes
// once.
func (b *Broker) Publish(ctx context.Context, p hub.Publication) (hub.Receipt, error) {
	conn, token, epoch, err := b.current()
	if err != nil {
		return hub.Receipt{}, err
	}
	rule := b.rules(p.Channel)
	if rule == nil {
		return hub.Receipt{}, protocol.Errorf(protocol.Forbidden, "this channel is not open to you")
	}
	subject := appendSubject(nil, p.Channel)
	m := &nats.Msg{Data: p.Data, Header: nats.Header{}}
	if p.Trace != "" {
		m.Header.Set(headerTrace, p.Trace)
	}
	if !rule.History.Keeps() && p.Key == "" {
		return hub.Receipt{Position: protocol.Position{Epoch: epoch}}, b.publishLive(conn, m, string(subject))
	}
	m.Subject = b.names.in(token) + string(subject)
	m.Header.Set(jetstream.MsgIDHeader, idOf(p))
	age := rule.History.Age
	if !rule.History.Keeps() {
		m.Header.Set(headerTransient, "1")
		age = transientAge
	}
	if age > 0 {
		m.Header.Set(jetstream.MsgTTLHeader, strconv.FormatInt(int64((age+time.Second-1)/time.Second), 10))
	}
	ack, err := b.store(ctx, m)
	if err != nil {
		return hub.Receipt{}, err
	}
	receipt := hub.Receipt{Position: protocol.Position{Epoch: epoch}, Duplicate: ack.Duplicate && p.Key != ""}
	if rule.History.Keeps() {
		receipt.Position.Offset = ack.Sequence
		b.mu.Lock()
		b.acked = max(b.acked, ack.Sequence)
		b.mu.Unlock()
	}
	return receipt, nil
}

// current is the connection and the epoch, where NATS is within reach.
func (b *Broker) current() (conn *nats.Conn, token, epoch string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, "", "", hub.ErrClosed
	case b.conn == nil || b.epoch == "" || !b.conn.IsConnected():
		return nil, "", "", notNow("the message cannot be published now", ErrUnavailable)
	}
	return b.conn, b.token, b.epoch, nil
}

// notNow is what a client is told of a failure that may be over soon.
func notNow(text string, cause error) error {
	refusal := protocol.Errorf(protocol.Internal, "%s", text)
	refusal.RetryAfter = retryAfter
	return fmt.Errorf("%w: %w", refusal, cause)
}

// idOf returns the id by which the stream recognizes a repeated message. A key counts for its channel and sender alone; as keys may be
// long, all three are hashed.
func idOf(p hub.Publication) string {
	if p.Key == "" {
		return nuid.Next()
	}
	sum := sha256.Sum256([]byte(p.KeyScope()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// store has the stream store a message, and tries again until it is known to be there.
func (b *Broker) store(ctx context.Context, m *nats.Msg) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.PublishTimeout)
	defer cancel()
	wait := attemptWait
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTime)
		ack, err := b.js.PublishMsg(attempt, m, jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			return ack, nil
		}
		if errors.Is(err, nats.ErrMaxPayload) {
			return nil, protocol.Errorf(protocol.LimitExceeded, "the message is larger than the server stores")
		}
		if !b.conn.IsConnected() || !pause(ctx, wait/2+rand.N(wait)) {
			b.look()
			return nil, notNow("it is not known whether the message was published; try again with the same key", err)
		}
		wait *= 2
	}
}

// publishLive sends a message past the stream: whoever is there gets it.
func (b *Broker) publishLive(conn *nats.Conn, m *nats.Msg, subject string) error {
	m.Subject = b.names.live() + subject
	m.Header.Set(headerNode, b.node)
	b.sending.Lock()
	defer b.sending.Unlock()
	b.number++
	m.Header.Set(headerNumber, strconv.FormatUint(b.number, 10))
	if err := conn.PublishMsg(m); err != nil {
		if errors.Is(err, nats.ErrMaxPayload) {
			return protocol.Errorf(protocol.LimitExceeded, "the message is larger than the server takes")
		}
		return notNow("the message cannot be published now", err)
	}
	return nil
}
