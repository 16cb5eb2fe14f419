package flow

// Losses counts the messages that a queue has dropped by the policy of their class and the reason that their gap told. Together they
// are Counts.Dropped.
type Losses [7]uint64

// lossNames are the policies and reasons of Losses.
var lossNames = [...]struct{ policy, reason string }{
	{"drop_oldest", "drop_oldest"},
	{"drop_newest", "drop_newest"},
	{"drop_all", "drop_all"},
	{"conflate", "drop_oldest"}, // not even one message of each channel fitted
	{"conflate", "drop_newest"}, // and those that wait were promised by gaps
	{"disconnect", "disconnect"},
	{"any", "closed"}, // what waited when the connection was closed
}

// closed is the place in Losses of what Clear threw away.
const closed = 6

// lossOf is the place in Losses of what a policy dropped for a reason.
func lossOf(policy Policy, reason string) int {
	switch policy {
	case DropNewest:
		return 1
	case DropAll:
		return 2
	case Conflate:
		if reason == lossNames[3].reason {
			return 3
		}
		return 4
	case Disconnect:
		return 5
	}
	return 0
}

// Each calls f for every policy and reason.
func (l *Losses) Each(f func(policy, reason string, n uint64)) {
	for i, names := range lossNames {
		f(names.policy, names.reason, l[i])
	}
}

// Add adds what another queue has lost; nil has lost nothing.
func (l *Losses) Add(other *Losses) {
	if other != nil {
		for i, n := range other {
			l[i] += n
		}
	}
}

// Losses is what the queue has dropped in its life, nil as long as that is nothing.
func (q *Queue) Losses() *Losses { return q.losses }

// lost counts messages that are dropped, by their place in Losses. Few queues ever lose one, so the others have no room for it.
func (q *Queue) lost(place int, messages int) {
	q.counts.Dropped += uint64(messages)
	if q.losses == nil {
		q.losses = new(Losses)
	}
	q.losses[place] += uint64(messages)
}
