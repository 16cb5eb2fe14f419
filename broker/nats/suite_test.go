package nats

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/brokertest"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/natstest"
)

func TestContract(t *testing.T) {
	s := natstest.Server(t)
	var n atomic.Int64
	make := func(ring int) brokertest.Maker {
		return func() hub.Broker {
			b := New(Options{Hub: fmt.Sprint("h", n.Add(1)), Memory: true, Connect: []nats.Option{nats.InProcessServer(s)}})
			b.ring.limit = ring
			return b
		}
	}
	t.Run("from the ring", func(t *testing.T) { brokertest.Run(t, make(ringMessages), true) })
	t.Run("from the stream", func(t *testing.T) { brokertest.Run(t, make(1), false) })
}

func TestContractDynamic(t *testing.T) {
	s := natstest.Server(t)
	var n atomic.Int64
	brokertest.Run(t, func() hub.Broker {
		return New(Options{
			Hub: fmt.Sprint("h", n.Add(1)), Memory: true, Connect: []nats.Option{nats.InProcessServer(s)}, Dynamic: true,
		})
	}, false)
}
