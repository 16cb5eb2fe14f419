package nats

import (
	"sort"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// Bounds of the ring.
const (
	ringMessages = 8192
	ringBytes    = 8 << 20
)

// ring holds the newest messages of the stream that were delivered, so that who asks for history that ends with them needs to read only
// what is older.
type ring struct {
	limit    int    // messages held at most
	low      uint64 // all that was delivered behind this sequence is here
	messages []*hub.Message
	bytes    int
}

func (r *ring) add(m *hub.Message) {
	r.messages = append(r.messages, m)
	r.bytes += len(m.Bytes)
	for len(r.messages) > r.limit || r.bytes > ringBytes {
		oldest := r.messages[0]
		r.messages[0] = nil
		r.messages = r.messages[1:]
		r.bytes -= len(oldest.Bytes)
		r.low = oldest.Sequence
	}
}

// has tells whether a message was delivered. Of what is older than the ring that is taken for granted.
func (r *ring) has(sequence uint64) bool {
	i := sort.Search(len(r.messages), func(i int) bool { return r.messages[i].Sequence >= sequence })
	return sequence <= r.low || i < len(r.messages) && r.messages[i].Sequence == sequence
}
