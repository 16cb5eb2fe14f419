package hub

import (
	"context"
	"slices"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// tap is a listener of the server's own.
type tap struct {
	pattern protocol.Pattern
	call    func()
}

// Tap has call called for every message in a channel that the pattern matches, when the message has its place in the order, until
// remove is called. call holds up the whole hub: it must do next to nothing. A call may be under way when remove returns.
func (h *Hub) Tap(pattern protocol.Pattern, call func()) (remove func()) {
	t := &tap{pattern, call}
	wanted := h.wantTap(pattern)
	h.changeTaps(func(taps []*tap) []*tap { return append(slices.Clone(taps), t) })
	return func() {
		wanted()
		h.changeTaps(func(taps []*tap) []*tap {
			return slices.DeleteFunc(slices.Clone(taps), func(other *tap) bool { return other == t })
		})
	}
}

func (h *Hub) changeTaps(change func([]*tap) []*tap) {
	for {
		old := h.taps.Load()
		var taps []*tap
		if old != nil {
			taps = *old
		}
		if taps = change(taps); len(taps) == 0 {
			if h.taps.CompareAndSwap(old, nil) {
				return
			}
		} else if h.taps.CompareAndSwap(old, &taps) {
			return
		}
	}
}

// tell calls the taps for a message.
func (h *Hub) tell(m *Message) {
	taps := h.taps.Load()
	if taps == nil {
		return
	}
	for _, t := range *taps {
		if t.pattern.Match(m.Channel) {
			t.call()
		}
	}
}

// wantTap has the messages of a tap come here, where the broker has to know: soon, as nothing says from when on a tap hears.
func (h *Hub) wantTap(pattern protocol.Pattern) (end func()) {
	if h.wants == nil {
		return func() {}
	}
	patterns := []protocol.Pattern{pattern}
	ctx, cancel := context.WithCancel(h.life)
	h.background(func(context.Context) {
		for h.wants.Want(ctx, patterns) != nil {
			select { // the broker is out of reach
			case <-time.After(subscribeRetry):
			case <-ctx.Done():
				return
			}
		}
		<-ctx.Done()
		h.wants.Unwant(patterns)
	})
	return cancel
}
