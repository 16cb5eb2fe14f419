package client

import (
	"slices"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// index finds the subscriptions that a channel's messages are for. The server tells a message once, however many of the connection's
// subscriptions match: which of them do is decided here.
type index struct {
	exact map[string][]*Subscription
	wild  []wildcard
	found []*Subscription // the last answer of match, whose memory is used again
}

type wildcard struct {
	pattern protocol.Pattern
	sub     *Subscription
}

func newIndex() index { return index{exact: make(map[string][]*Subscription)} }

func (x *index) add(sub *Subscription) {
	for _, p := range sub.patterns {
		if p.IsPattern() {
			x.wild = append(x.wild, wildcard{p, sub})
		} else {
			x.exact[p.String()] = append(x.exact[p.String()], sub)
		}
	}
}

func (x *index) remove(sub *Subscription) {
	for _, p := range sub.patterns {
		if p.IsPattern() {
			continue
		}
		rest := slices.DeleteFunc(x.exact[p.String()], func(s *Subscription) bool { return s == sub })
		if x.exact[p.String()] = rest; len(rest) == 0 {
			delete(x.exact, p.String())
		}
	}
	x.wild = slices.DeleteFunc(x.wild, func(w wildcard) bool { return w.sub == sub })
}

// match gives the subscriptions that a channel's messages are for, each once. The answer holds until the next call.
func (x *index) match(channel string) []*Subscription {
	x.found = append(x.found[:0], x.exact[channel]...)
	for _, w := range x.wild {
		if w.pattern.Match(channel) && !slices.Contains(x.found, w.sub) {
			x.found = append(x.found, w.sub)
		}
	}
	return x.found
}
