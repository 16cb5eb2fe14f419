package session

import (
	"sync/atomic"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Counters counts what the clients of a hub ask for, and what they are refused. The zero Counters is ready for use.
type Counters struct {
	requests [len(requestTypes) + 1]atomic.Uint64
	errors   [len(errorCodes) + 1]atomic.Uint64
}

// requestTypes are the messages of clients; behind them those are counted that have no type that is known.
var requestTypes = [...]string{
	protocol.TypeSubscribe, protocol.TypeUnsubscribe, protocol.TypePublish, protocol.TypeHistory, protocol.TypePresence,
	protocol.TypeStreamQuery, protocol.TypeCredit, protocol.TypeCancelQuery, protocol.TypeQueryStatus, protocol.TypeWatch,
	protocol.TypeUnwatch, protocol.TypeAuthenticate, protocol.TypePing, protocol.TypePong, protocol.TypeMessage,
}

// errorCodes are those of the protocol; behind them any other is counted.
var errorCodes = [...]protocol.Code{
	protocol.InvalidMessage, protocol.UnknownType, protocol.InvalidChannel, protocol.Unauthenticated, protocol.Forbidden,
	protocol.LimitExceeded, protocol.RateLimited, protocol.QueryNotFound, protocol.InvalidParams, protocol.QueryFailed,
	protocol.QueryTimeout, protocol.StreamError, protocol.InvalidStreamID, protocol.CancelFailed, protocol.HistoryUnavailable,
	protocol.Internal,
}

// other is the name of what stands behind the names of a list.
const other = "other"

func count[T comparable](counts []atomic.Uint64, names []T, name T) {
	i := 0
	for i < len(names) && names[i] != name {
		i++
	}
	counts[i].Add(1)
}

func (c *Counters) request(typ string)       { count(c.requests[:], requestTypes[:], typ) }
func (c *Counters) error(code protocol.Code) { count(c.errors[:], errorCodes[:], code) }

// Requests gives the messages of clients by type; other are those that cannot be read.
func (c *Counters) Requests() map[string]uint64 {
	counts := map[string]uint64{other: c.requests[len(requestTypes)].Load()}
	for i, typ := range requestTypes {
		counts[typ] = c.requests[i].Load()
	}
	return counts
}

// Errors gives the requests that were refused, by code. A message with several channels may count for each.
func (c *Counters) Errors() map[string]uint64 {
	counts := map[string]uint64{other: c.errors[len(errorCodes)].Load()}
	for i, code := range errorCodes {
		counts[string(code)] = c.errors[i].Load()
	}
	return counts
}
