package nats

import "github.com/neuroquantumdb/neuroquantum-ws/protocol"

// matcher tells whether any of some patterns matches, names first.
type matcher struct {
	names    map[string]bool
	patterns []protocol.Pattern
}

func newMatcher(filters []protocol.Pattern) matcher {
	m := matcher{names: make(map[string]bool)}
	for _, f := range filters {
		if f.IsPattern() {
			m.patterns = append(m.patterns, f)
		} else {
			m.names[f.String()] = true
		}
	}
	return m
}

func (m *matcher) match(channel string) bool {
	if m.names[channel] {
		return true
	}
	for _, p := range m.patterns {
		if p.Match(channel) {
			return true
		}
	}
	return false
}
