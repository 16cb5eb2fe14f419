package nats

import (
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// How the connection is kept up. A node that comes back after an outage does not come at the same moment as all others.
const (
	reconnectWait   = 100 * time.Millisecond
	maxReconnect    = 5 * time.Second
	reconnectJitter = 0.5 // of the wait, added at random
	pingInterval    = 10 * time.Second
	maxPings        = 2
	connectTimeout  = 5 * time.Second
)

func (b *Broker) connectOptions() []nats.Option {
	return []nats.Option{
		nats.Name("neuroquantum_ws hub " + b.options.Hub),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(backoff),
		nats.ReconnectBufSize(-1), // what cannot be sent now fails now
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.Timeout(connectTimeout),
		nats.IgnoreAuthErrorAbort(), // credentials may be mended while we run
		nats.ErrorHandler(b.onError),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if b.life.Err() == nil {
				b.log.Warn("the connection to NATS is lost", zap.Error(err))
			}
		}),
		nats.ConnectHandler(func(*nats.Conn) { b.look() }),
		nats.ReconnectHandler(func(conn *nats.Conn) {
			b.log.Info("connected to NATS again", zap.String("server", conn.ConnectedServerName()))
			// What came before the server knows our subscriptions again is lost.
			if err := b.flush(); err != nil {
				b.log.Debug("waiting for NATS after connecting again", zap.Error(err))
			}
			b.unhear()
			b.look()
		}),
	}
}

// onError hears of what goes wrong beside any call.
func (b *Broker) onError(_ *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		b.slow.Add(1)
		if sub != nil && strings.HasPrefix(sub.Subject, b.names.live()) {
			b.unhear()
		}
		b.look()
		b.log.Warn("messages from NATS come faster than they are taken; those that are kept are fetched again")
		return
	}
	if b.life.Err() == nil {
		b.log.Warn("NATS", zap.Error(err))
	}
}

// backoff is how long to wait before another attempt to connect, once all servers have been tried attempts times.
func backoff(attempts int) time.Duration {
	wait := min(reconnectWait<<min(attempts, 10), maxReconnect)
	return wait + time.Duration(reconnectJitter*rand.Float64()*float64(wait))
}
