package memory

import (
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/brokertest"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

func TestContract(t *testing.T) { brokertest.Run(t, func() hub.Broker { return New(0) }, true) }
