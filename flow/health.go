package flow

// Health judges a client by the share of its messages that had to be dropped over its connection's life.
type Health struct {
	Warn  float64 // share from which the client is warned about in the log
	Close float64 // share beyond which it is disconnected; 0 only counts
}

// DefaultHealth is healthy under 10 %, warned to 30 %, then disconnected.
var DefaultHealth = Health{Warn: 0.1, Close: 0.3}

// minOffered is how many messages a client must have been offered before it is judged.
const minOffered = 1000

// Condition is a client's state of health.
type Condition uint8

// The conditions.
const (
	Healthy Condition = iota
	Lagging           // Warn is reached
	Failing           // Close is exceeded
)

// Judge gives the condition for what a queue has seen.
func (h Health) Judge(c Counts) Condition {
	if h.Close == 0 || c.Offered < minOffered {
		return Healthy
	}
	switch share := float64(c.Dropped) / float64(c.Offered); {
	case share > h.Close:
		return Failing
	case share >= h.Warn:
		return Lagging
	}
	return Healthy
}
