package instance

import (
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// BrokerModule is a guest module of the namespace http.handlers.neuroquantum_ws.brokers: it makes the broker of a hub that does not
// exist yet. maxHistory is the hub's max_history in bytes.
type BrokerModule interface {
	NewBroker(hubName string, maxHistory int64) (hub.Broker, error)
}
