package client

import (
	"encoding/json"
	"fmt"
	"time"
)

// Event is what a Subscription tells: a *Message, *Gap, *Resumed, *Joined or *Left. Events are shared between subscriptions and must not
// be changed.
type Event interface{ event() }

// Message is a message of a channel.
type Message struct {
	Channel   string          `json:"channel"` // the concrete channel, also where a pattern was subscribed to
	Data      json.RawMessage `json:"data"`
	Timestamp time.Time       `json:"timestamp"`
	// Offset is its place in the hub's order, 0 where the channel keeps no history; Epoch is that of the offset.
	Offset uint64 `json:"offset"`
	Epoch  string `json:"-"`
}

// Decode puts the message's data into v, as json.Unmarshal does.
func (m *Message) Decode(v any) error {
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("client: a message of %s: %w", m.Channel, err)
	}
	return nil
}

// ReasonClient is the Reason of a Gap that this client made itself, as its own buffer was full.
const ReasonClient = "client"

// Gap says that messages which the subscription was due are missing at this place.
type Gap struct {
	// Channel is the concrete channel. `$presence/CHANNEL` stands for presence events of CHANNEL: ask for the list again. With
	// ReasonClient it is empty: events of any channel of the subscription may be missing.
	Channel string
	// After and Before are the offsets delivered on either side, 0 where there are none.
	After, Before uint64
	// Dropped is how many are missing, -1 where that is not known.
	Dropped int64
	// Reason is ReasonClient, or the server's word: drop_oldest, drop_newest, drop_all, conflated, history_trimmed, broker.
	Reason string
	// Recoverable says that the messages may still be in the channel's history: see Client.History.
	Recoverable bool
}

// Resumed says that the subscription goes on after the connection was lost, or from the place that SubscribeOptions.Since gave.
// What was missed meanwhile follows.
type Resumed struct {
	// Recovered says that nothing is missing. Where it is false, a *Gap may follow that says more.
	Recovered bool
	// Unrecovered are those channels and patterns of the subscription of which something may be missing: their history no longer reaches
	// back, they keep none, or (EpochChanged) the server began anew.
	Unrecovered []string
	// EpochChanged says that the server's order is another: offsets before and after have nothing to do with each other.
	EpochChanged bool
	// Position is the place from which it goes on; zero where no channel keeps history.
	Position Position
}

// Joined says that a member has come to a channel whose presence the subscription asked for. It is not told of this client itself.
type Joined struct {
	Channel string
	Member  Member
}

// Left says that a member has gone.
type Left struct {
	Channel string
	Member  Member
}

// Member is who is subscribed to a channel.
type Member struct {
	ConnectionID string    `json:"connection_id"`
	User         string    `json:"user"` // empty for an anonymous client
	Since        time.Time `json:"since"`
}

func (*Message) event() {}
func (*Gap) event()     {}
func (*Resumed) event() {}
func (*Joined) event()  {}
func (*Left) event()    {}
