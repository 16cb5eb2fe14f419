package hub

import (
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
)

// Bounds of the time between two looks at a shard's connections: often enough that a timeout is noticed within a quarter of the
// heartbeat interval, seldom enough to cost next to nothing.
const (
	minSweep = 10 * time.Millisecond
	maxSweep = time.Second
)

func (h *Hub) sweepInterval() time.Duration {
	s := h.Settings()
	interval := s.HeartbeatInterval
	if s.IdleTimeout > 0 {
		interval = min(interval, s.IdleTimeout)
	}
	return min(max(interval/4, minSweep), maxSweep)
}

// sweep pings, and closes whoever was silent for too long or loses too much.
func (s *shard) sweep(now time.Time) {
	settings := s.hub.Settings()
	if s.beat.interval != settings.HeartbeatInterval || s.beat.timeout != settings.HeartbeatTimeout {
		s.rebeat(settings, now)
	}
	for c := range s.conns {
		s.look(c, settings, now)
	}
	s.flush()
}

// beat is the heartbeat that a shard's connections are held to.
type beat struct {
	interval, timeout time.Duration
	since             time.Time // silence before is not held against a client: it may not have been asked as often
}

// rebeat puts another heartbeat in force. The pings are spread over the new interval as they were over the old one: at their old
// times they would come too late for the new timeout.
func (s *shard) rebeat(settings *Settings, now time.Time) {
	scale := float64(settings.HeartbeatInterval) / float64(s.beat.interval)
	for c := range s.conns {
		left := time.Duration(float64(c.nextPing.Sub(now)) * scale)
		c.nextPing = now.Add(min(max(left, 0), c.pingInterval(settings)))
	}
	s.beat = beat{settings.HeartbeatInterval, settings.HeartbeatTimeout, now}
}

func (s *shard) look(c *Conn, settings *Settings, now time.Time) {
	if c.limit != settings.MaxMessageSize {
		c.limit = settings.MaxMessageSize
		c.ws.SetReadLimit(c.limit)
	}
	c.rouse()
	if c.overdue(now) || c.dawdles(now) {
		return
	}
	silent := min(now.Sub(time.Unix(0, c.lastRead.Load())), now.Sub(s.beat.since))
	if silent > settings.HeartbeatTimeout {
		c.Close(closeHeartbeat, "no heartbeat in time")
		return
	}
	if len(c.subs) > 0 || c.receiver.Busy() {
		c.lastActive.Store(now.UnixNano())
	} else if settings.IdleTimeout > 0 && now.Sub(time.Unix(0, c.lastActive.Load())) > settings.IdleTimeout {
		c.Close(closeHeartbeat, "idle for too long")
		return
	}
	if !now.Before(c.nextPing) {
		interval := c.pingInterval(settings)
		c.nextPing = c.nextPing.Add(interval)
		if c.nextPing.Before(now) {
			c.nextPing = now.Add(interval)
		}
		c.ping()
		s.touch(c)
	}
	s.judge(c, settings)
}

// pingInterval is the heartbeat of this connection.
func (c *Conn) pingInterval(settings *Settings) time.Duration {
	if c.maxPing > 0 {
		return min(settings.HeartbeatInterval, c.maxPing)
	}
	return settings.HeartbeatInterval
}

// pingFrame is a ping without payload: the server measures nothing by it.
var pingFrame = control(opPing, nil)

// maxControls bounds the control frames that wait for a socket that takes nothing.
const maxControls = 256

func (c *Conn) ping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing && len(c.controls) < maxControls {
		c.controls = append(c.controls, pingFrame...)
	}
}

// judge acts on a client's health.
func (s *shard) judge(c *Conn, settings *Settings) {
	c.mu.Lock()
	counts, queued, bytes := c.queue.Counts(), c.queue.Len(), c.queue.Bytes()
	c.mu.Unlock()
	switch settings.Health.Judge(counts) {
	case flow.Failing:
		if c.giveUp("too slow: too many messages had to be dropped") {
			s.hub.stats.unhealthy.Add(1)
		}
	case flow.Lagging:
		if !c.warned {
			c.warned = true
			if entry, fields := s.hub.line(zap.WarnLevel, "client is slow: messages are dropped"); entry != nil {
				entry.Write(append(fields, zap.String("connection_id", c.id), zap.String("client_ip", c.meta.Address),
					zap.String("user", c.Identity().User), zap.Uint64("offered", counts.Offered), zap.Uint64("dropped", counts.Dropped),
					zap.Int("queued", queued), zap.Int("queued_bytes", bytes))...)
			}
		}
	}
}
