package hub

import (
	"context"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Broker is where messages get their order and where history lives. The hub is its only user: it publishes, and it takes every
// message in the one order through the function given to Start. A broker may be of this process (broker/memory) or shared by
// several.
//
// All methods are safe for concurrent use after Start.
type Broker interface {
	// Start begins delivery. deliver is called for every message, one at a time, in the order; it does not block for long and
	// must not be called again before it has returned. rules tells what a channel keeps; it may give other answers after a
	// configuration change.
	Start(deliver func(*Message), rules func(channel string) *Rule) error
	// Publish puts a message into the order. When it returns, the message has its place; delivery may follow.
	Publish(ctx context.Context, p Publication) (Receipt, error)
	// Recover finds what q asks for and calls at exactly once, at one place in the order: every message up to that place has been
	// delivered before, every later one comes after at has returned. That is how replay and live messages join with neither gap nor
	// duplicate. at must not call the broker and must not block.
	Recover(ctx context.Context, q Recovery, at func(Recovered)) error
	// History gives the newest limit messages of a channel, oldest first, or with since the first limit behind it. Where the
	// channel keeps no history it gives ErrNoHistory.
	History(ctx context.Context, channel string, since *protocol.Position, limit int) (History, error)
	// Position is the newest place in the order.
	Position() protocol.Position
	// Channels lists what the broker knows of the channels that keep history and match.
	Channels(match func(channel string) bool) []ChannelHistory
	// Channel is the same of one channel; false where it keeps none, or nothing was published to it.
	Channel(name string) (ChannelHistory, bool)
	// Close ends delivery and waits for a call of deliver that is under way.
	Close() error
}

// Sized is a Broker that knows how much it keeps.
type Sized interface {
	// Size gives the channels in which something is kept, and the bytes that count against max_history.
	Size() (channels int, bytes int64)
}

// Publication is a message that has no place in the order yet.
type Publication struct {
	Channel string
	Data    []byte // JSON without line breaks; the broker does not keep it
	// Key makes publishing idempotent: a second publication of the same sender with the same key to the same channel within KeyWindow is
	// not delivered.
	Key string
	// Sender is the scope of Key, so that no client can use up the keys of another. It holds no NUL character.
	Sender string
	// Trace is the traceparent (W3C Trace Context) of the publishing, which the message keeps; empty where it is not traced.
	Trace string
}

// KeyScope returns the text by which a broker recognizes a repeated key: the same for two publications only where their channels,
// senders and keys are.
func (p *Publication) KeyScope() string {
	return p.Channel + "\x00" + p.Sender + "\x00" + p.Key // only Key can hold a NUL
}

// KeyWindow is how long an idempotency key is remembered.
const KeyWindow = 2 * time.Minute

// Receipt tells where a publication stands in the order.
type Receipt struct {
	Position  protocol.Position // Offset 0 where the channel keeps no history
	Duplicate bool              // the key was seen before; Position is that of the first
}

// Recovery asks for messages of all channels that any of the filters matches.
type Recovery struct {
	Filters []protocol.Pattern
	// Since asks for all behind a position. Nil asks for the newest Last messages instead.
	Since *protocol.Position
	Last  int
	// Limit ends the replay early, after that many messages; 0 sets none. Recovered.Through then says how far it went.
	Limit int
	// Strict has the broker fail where it cannot read the history, although it may be configured to answer that nothing is known.
	Strict bool
}

// Recovered is what a Recovery found.
type Recovered struct {
	Messages []*Message // in offset order, each once however many filters match
	Position protocol.Position
	// Through is the offset up to which Messages are complete: that of Position, less where Limit cut them short.
	Through uint64
	// Complete says for each filter whether nothing due is missing.
	Complete []bool
	// Trimmed names the channels of which messages due are no longer kept, with the newest offset that is gone.
	Trimmed []Trim
}

// Trim tells that a channel's history no longer reaches back to where it should.
type Trim struct {
	Channel string
	Through uint64 // the newest offset that is gone
}

// History is a part of a channel's history.
type History struct {
	Messages []*Message
	Epoch    string
	// More says that newer messages than these are kept (with since), or older ones (without).
	More bool
}

// ChannelHistory is what a broker knows of a channel that keeps history.
type ChannelHistory struct {
	Channel     string
	Published   uint64 // messages since the channel was made
	Messages    int    // kept now
	Bytes       int    // kept now
	Last        uint64 // newest offset
	PublishedAt time.Time
}
