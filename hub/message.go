package hub

import (
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Message is a channel message with its place in the order. It is made once by the broker, framed as it goes to the sockets,
// shared by the history and by every receiver, and never changed.
type Message struct {
	flow.Item // Bytes are the WebSocket frame, ready to be written

	// Sequence is the message's place in the hub's order; it also counts messages without history. It equals Offset where the
	// channel keeps history.
	Sequence uint64
	Time     time.Time
	Rule     *Rule // what the configuration said of the channel when the message was published

	// Trace is the traceparent (W3C Trace Context) of its publishing; empty where that was not traced.
	Trace string

	sample   int64 // when it was published, where it is measured how long it takes; see sampler
	header   int   // bytes of frame header before the JSON
	from, to int   // where the data lies in Bytes
}

// NewMessage makes a message of a publication; brokers call it. prev is the offset of the message before it in its channel. A
// rule without history makes a message without offset.
func NewMessage(p Publication, rule *Rule, sequence, prev uint64, now time.Time) *Message {
	if !rule.History.Keeps() {
		return NewTransient(p, rule, sequence, now)
	}
	return newMessage(p, rule, sequence, sequence, prev, now)
}

// NewTransient makes a message that is not kept, whatever the rule says now. sequence is the newest place in the order.
func NewTransient(p Publication, rule *Rule, sequence uint64, now time.Time) *Message {
	return newMessage(p, rule, sequence, 0, 0, now)
}

func newMessage(p Publication, rule *Rule, sequence, offset, prev uint64, now time.Time) *Message {
	m := &Message{Sequence: sequence, Time: now, Rule: rule, Trace: p.Trace}
	m.Channel, m.Offset, m.Prev = p.Channel, offset, prev
	buf := make([]byte, maxHeader, maxHeader+len(p.Data)+len(p.Channel)+112)
	buf, from, to := protocol.AppendChannelMessage(buf, p.Channel, p.Data, now, m.Offset)
	start := putHeader(buf)
	m.Bytes = buf[start:]
	m.header = maxHeader - start
	m.from, m.to = from-start, to-start
	return m
}

// JSON is the message as `channel_message`, without the frame around it. It must not be changed.
func (m *Message) JSON() []byte { return m.Bytes[m.header:] }

// Data is what was published. It must not be changed.
func (m *Message) Data() []byte { return m.Bytes[m.from:m.to] }
