package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// firstPause and lastPause bound the time after which a connection that listens is made again.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// OnNotify implements stream.NotifyTeller: NOTIFY on the channel calls. It takes a connection of its own, beside max_connections, as
// long as anybody listens.
func (s *Source) OnNotify(channel string) (stream.Trigger, error) {
	if s.pool == nil {
		return nil, errors.New("the PostgreSQL source is not provisioned")
	}
	if channel == "" || len(channel) > 63 {
		return nil, errors.New("PostgreSQL: a channel's name has 1 to 63 bytes")
	}
	config := s.pool.config.Copy()
	return stream.Share(func(ctx context.Context, changed func()) {
		pause := firstPause
		for {
			err := listen(ctx, config, channel, func() { pause = firstPause; changed() })
			if ctx.Err() != nil {
				return
			}
			s.log.Warn("listening for notifications was interrupted; trying again", zap.String("channel", channel), zap.Error(err))
			select {
			case <-time.After(pause):
				pause = min(2*pause, lastPause)
			case <-ctx.Done():
				return
			}
		}
	}), nil
}

// listen calls changed once it listens, as something may have been told before, and then for each notification, until ctx ends or the
// connection does.
func listen(ctx context.Context, config *pgconn.Config, channel string, changed func()) error {
	config = config.Copy()
	told := false
	config.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) { told = true }
	c, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer (&conn{PgConn: c}).close()
	if _, err := c.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()).ReadAll(); err != nil {
		return err
	}
	for told = true; ; {
		if told {
			told = false
			changed()
		}
		if err := c.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}

var _ stream.NotifyTeller = (*Source)(nil)
