package memory

import (
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// maxKeys is how many idempotency keys are remembered; beyond it the oldest are forgotten before their time.
const maxKeys = 100_000

// keys remembers idempotency keys by their hub.Publication.KeyScope. It is used under the broker's lock.
type keys struct {
	seen  map[string]uint64 // the offset of the first message with the key
	order []keyTime         // oldest first
}

type keyTime struct {
	key string
	at  time.Time
}

func newKeys() keys { return keys{seen: make(map[string]uint64)} }

func (k *keys) get(key string) (offset uint64, seen bool) {
	offset, seen = k.seen[key]
	return offset, seen
}

func (k *keys) put(key string, offset uint64, now time.Time) {
	if len(k.order) >= maxKeys {
		k.forget()
	}
	k.seen[key] = offset
	k.order = append(k.order, keyTime{key, now})
}

func (k *keys) expire(now time.Time) {
	for len(k.order) > 0 && now.Sub(k.order[0].at) >= hub.KeyWindow {
		k.forget()
	}
}

func (k *keys) forget() {
	delete(k.seen, k.order[0].key)
	k.order[0] = keyTime{}
	k.order = k.order[1:]
}
