package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// What the stream remembers of its epoch: a token, which is in its subjects, and how often it has lost what it had acknowledged.
const (
	metaEpoch      = "neuroquantum_ws_epoch"
	metaGeneration = "neuroquantum_ws_generation"
)

// transientAge is how long messages of channels without history stay in the stream that are there for their key.
const transientAge = hub.KeyWindow

// errForeign: a stream of the hub's name is there that was not made by this module.
var errForeign = errors.New("the stream was not made by neuroquantum_ws")

// config is the stream as the hub wants it.
func (b *Broker) config(token, generation string) jetstream.StreamConfig {
	keep := b.keeps.Load()
	config := jetstream.StreamConfig{
		Name:        b.names.stream,
		Description: "neuroquantum_ws hub " + b.options.Hub,
		Subjects:    []string{b.names.in(token) + ">"},
		RePublish:   &jetstream.RePublish{Source: b.names.in(token) + ">", Destination: b.names.out(token) + ">"},
		Metadata:    map[string]string{metaEpoch: token, metaGeneration: generation},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		Replicas:    b.options.Replicas,
		Duplicates:  hub.KeyWindow,
		AllowDirect: true,
		AllowMsgTTL: true,
		MaxMsgs:     -1,
		MaxBytes:    -1,
		// One more than any channel shows: where it is not there, nothing was dropped for it.
		MaxMsgsPerSubject: int64(max(keep.Messages, 1)) + 1,
	}
	if keep.Age > 0 {
		config.MaxAge = max(keep.Age, transientAge)
	}
	if b.options.MaxBytes > 0 {
		config.MaxBytes = b.options.MaxBytes
	}
	if b.options.Memory {
		config.Storage = jetstream.MemoryStorage
	}
	return config
}

// info asks the stream's leader how the stream stands.
func (b *Broker) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	stream, err := b.js.Stream(ctx, b.names.stream)
	if err != nil {
		return nil, unavailable("asking for the stream", err)
	}
	info := stream.CachedInfo()
	if !info.TimeStamp.IsZero() {
		b.skew.Store(int64(info.TimeStamp.Sub(b.now())))
	}
	return info, nil
}

// ensure gives the stream, which it makes where there is none, with the limits that the hub wants.
func (b *Broker) ensure(ctx context.Context) (*jetstream.StreamInfo, error) {
	info, err := b.info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		ctx, cancel := context.WithTimeout(ctx, makeTime)
		defer cancel()
		_, err = b.js.CreateStream(ctx, b.config(uuid.NewString()[:8], "0"))
		if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another node was faster
			return nil, unavailable("making the stream", err)
		}
		info, err = b.info(ctx)
	}
	if err != nil {
		return nil, err
	}
	token := info.Config.Metadata[metaEpoch]
	if token == "" {
		return nil, fmt.Errorf("stream %s: %w", b.names.stream, errForeign)
	}
	return info, nil
}

// makeTime is how long the making or changing of the stream may take.
const makeTime = 10 * time.Second

// limit brings the stream's limits in line with what the hub wants. The node whose configuration changed last has its way.
func (b *Broker) limit(ctx context.Context, info *jetstream.StreamInfo) error {
	have, want := info.Config, b.config(info.Config.Metadata[metaEpoch], info.Config.Metadata[metaGeneration])
	if have.MaxMsgsPerSubject == want.MaxMsgsPerSubject && have.MaxAge == want.MaxAge && have.MaxBytes == want.MaxBytes &&
		have.Replicas == want.Replicas && have.Duplicates == want.Duplicates {
		return nil
	}
	want.Storage = have.Storage // cannot be changed
	ctx, cancel := context.WithTimeout(ctx, makeTime)
	defer cancel()
	if _, err := b.js.UpdateStream(ctx, want); err != nil {
		return unavailable("changing the stream's limits", err)
	}
	return nil
}

// shrunkChecks is at how many looks in a row the stream must be shorter than what came here before that is believed: a leader that has
// lost its office may not know of the newest. Then its servers lost what they had stored, as after a power failure.
const shrunkChecks = 3

// renew begins another epoch of a stream that has lost its newest messages, as their offsets will be given again.
func (b *Broker) renew(ctx context.Context, info *jetstream.StreamInfo) error {
	b.log.Error("the stream has lost messages that it had acknowledged; a new epoch begins", zap.String("stream", b.names.stream),
		zap.Uint64("last", info.State.LastSeq))
	generation, err := strconv.Atoi(info.Config.Metadata[metaGeneration])
	if err != nil {
		return fmt.Errorf("the generation of the stream: %w", err)
	}
	config := b.config(info.Config.Metadata[metaEpoch], strconv.Itoa(generation+1))
	config.Storage = info.Config.Storage
	ctx, cancel := context.WithTimeout(ctx, makeTime)
	defer cancel()
	if _, err := b.js.UpdateStream(ctx, config); err != nil {
		return unavailable("beginning another epoch", err)
	}
	return errRenewed
}

// epochOf is the epoch of a stream: one that was made anew never continues an older one's offsets, even where somebody gave it the same
// settings.
func epochOf(info *jetstream.StreamInfo) string {
	return info.Config.Metadata[metaEpoch] + "-" + info.Config.Metadata[metaGeneration] + "-" + strconv.FormatInt(info.Created.UnixNano(), 36)
}
