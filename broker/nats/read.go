package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// Bounds of reading.
const (
	maxReads    = 64              // readings of history at once; others wait
	batchSize   = 512             // messages asked for at once
	batchBytes  = 4 << 20         // and their bytes
	answerTime  = 2 * time.Second // for one answer of the stream
	lagWait     = 5 * time.Millisecond
	maxLagWait  = 200 * time.Millisecond
	maxSubjects = 1024 // that the stream looks up at once
)

// Headers of messages in the stream, beside those of NATS.
const (
	headerTransient = "Nq-Transient" // of a channel without history; in the stream for its key alone
	headerTrace     = "traceparent"
	headerNode      = "Nq-Node"   // of messages past the stream: who sent it
	headerNumber    = "Nq-Number" // and its number among those that it sent
)

// errNothing: the stream, as far as the server that answered knows it, holds nothing of what was asked for.
var errNothing = errors.New("no such message in the stream")

// errTooMany: more channels match than the stream looks up at once.
var errTooMany = errors.New("too many channels")

// stored is a message as the stream keeps it.
type stored struct {
	channel   string
	data      []byte
	sequence  uint64
	prev      uint64 // of the message before it in its channel, where that is known
	time      time.Time
	trace     string
	transient bool
}

// request is what the stream is asked for directly (JetStream's API DIRECT.GET).
type request struct {
	Seq      uint64   `json:"seq,omitempty"`
	NextFor  string   `json:"next_by_subj,omitempty"`
	Batch    int      `json:"batch,omitempty"`
	MaxBytes int      `json:"max_bytes,omitempty"`
	LastFor  []string `json:"multi_last,omitempty"`
	UpTo     uint64   `json:"up_to_seq,omitempty"`
}

// api is a subject of JetStream's API.
func (b *Broker) api(name string) string {
	if b.options.Domain != "" {
		return "$JS." + b.options.Domain + ".API." + name + "." + b.names.stream
	}
	return jetstream.DefaultAPIPrefix + name + "." + b.names.stream
}

// answer is what came to a request.
type answer struct {
	messages []stored
	pending  uint64 // messages that match as well and did not come any more
	upTo     uint64 // what the server had looked up to; only of LastFor
}

// ask has any server that holds the stream answer a request with the messages that it finds. A server may lag behind the stream's
// leader. It fails with errNothing where none are found.
func (b *Broker) ask(ctx context.Context, epoch string, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	body, err := json.Marshal(r)
	if err != nil {
		return answer{}, fmt.Errorf("asking the stream: %w", err)
	}
	inbox := b.conn.NewInbox()
	sub, err := b.conn.SubscribeSync(inbox)
	if err != nil {
		return answer{}, unavailable("asking the stream", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is closed
	if err := b.conn.PublishRequest(b.api("DIRECT.GET"), inbox, body); err != nil {
		return answer{}, unavailable("asking the stream", err)
	}
	var out answer
	prefix := b.names.in(epoch)
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return answer{}, unavailable("waiting for the stream", err)
		}
		if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
			return out, out.finish(status, m)
		}
		s, err := parse(m, m.Header.Get(jetstream.SubjectHeader), prefix)
		if err != nil {
			return answer{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		out.messages = append(out.messages, s)
	}
}

// finish reads the end of an answer.
func (a *answer) finish(status string, m *nats.Msg) error {
	switch status {
	case "204":
		a.pending, _ = strconv.ParseUint(m.Header.Get("Nats-Num-Pending"), 10, 64)
		a.upTo, _ = strconv.ParseUint(m.Header.Get("Nats-UpTo-Sequence"), 10, 64)
		return nil
	case "404":
		return errNothing
	case "413":
		return errTooMany
	case "503":
		return fmt.Errorf("%w: no server has the stream", ErrUnavailable)
	}
	return fmt.Errorf("%w: the stream answers %s %s", ErrUnavailable, status, m.Header.Get("Description"))
}

// parse reads a message of the stream from its headers and subject, which begins with prefix. What somebody else has put there has no
// channel: it has its place in the order, but is nobody's.
func parse(m *nats.Msg, subject, prefix string) (stored, error) {
	channel, err := channelOf(strings.TrimPrefix(subject, prefix))
	if err != nil || len(m.Data) == 0 {
		channel = ""
	}
	s := stored{channel: channel, data: m.Data, trace: m.Header.Get(headerTrace), transient: m.Header.Get(headerTransient) != ""}
	if s.sequence, err = strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64); err != nil {
		return stored{}, fmt.Errorf("the sequence of a message: %w", err)
	}
	if s.time, err = time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer)); err != nil {
		return stored{}, fmt.Errorf("the time of a message: %w", err)
	}
	return s, nil
}

// message makes the hub's message of a stored one; nil where no rule holds for its channel any more.
func (b *Broker) message(s stored) *hub.Message {
	if s.channel == "" {
		return nil
	}
	rule := b.rules(s.channel)
	if rule == nil {
		return nil
	}
	p := hub.Publication{Channel: s.channel, Data: s.data, Trace: s.trace}
	if s.transient {
		return hub.NewTransient(p, rule, s.sequence, s.time)
	}
	return hub.NewMessage(p, rule, s.sequence, s.prev, s.time)
}

// holds asks the stream's leader whether it holds any message of a filter from a sequence on. That is for when another server, which may
// lag behind, has found nothing.
func (b *Broker) holds(ctx context.Context, from uint64, filter string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	body, err := json.Marshal(request{Seq: from, NextFor: filter})
	if err != nil {
		return false, fmt.Errorf("asking the stream's leader: %w", err)
	}
	m, err := b.conn.RequestWithContext(ctx, b.api("STREAM.MSG.GET"), body)
	if err != nil {
		return false, unavailable("asking the stream's leader", err)
	}
	var reply struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return false, fmt.Errorf("asking the stream's leader: %w", err)
	}
	switch {
	case reply.Error == nil:
		return true, nil
	case reply.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return false, nil
	}
	return false, unavailable("asking the stream's leader", reply.Error)
}

// unavailable wraps an error of NATS.
func unavailable(doing string, err error) error {
	return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
}

// pause waits; it tells whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
