package flow

import "fmt"

// Policy is what happens to messages that find a client's queue full.
type Policy uint8

// The policies. All but Block and Disconnect tell the client of every loss by a Gap at its place.
const (
	// DropOldest makes room by dropping the oldest waiting messages of the same class. It is the default.
	DropOldest Policy = iota
	// DropNewest drops the message that does not fit.
	DropNewest
	// DropAll drops everything of the class that waits and starts anew with the message that did not fit.
	DropAll
	// Block stops feeding the client until its queue has drained and then lets it catch up from history; nothing is dropped here.
	Block
	// Disconnect closes the connection.
	Disconnect
	// Conflate keeps the newest message of each channel: once the queue was full, and until it has drained, a message takes the place
	// of the one of its channel that waits. Where even these are too many the oldest are dropped.
	Conflate
)

var policyNames = [...]string{
	DropOldest: "drop_oldest", DropNewest: "drop_newest", DropAll: "drop_all", Block: "block", Disconnect: "disconnect", Conflate: "conflate",
}

// String is the policy's name in the configuration and in a gap's reason.
func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("policy(%d)", uint8(p))
}

// ParsePolicy is the inverse of String. Its error is for the operator.
func ParsePolicy(name string) (Policy, error) {
	for p, n := range policyNames {
		if n == name {
			return Policy(p), nil
		}
	}
	return 0, fmt.Errorf("unknown drop policy %q: use drop_oldest, drop_newest, drop_all, block, conflate or disconnect", name)
}
