package stream

import "time"

// A throttled or paused stream looks at the fill of its connection ever more rarely, between these bounds: it goes on soon after a
// short pause and costs next to nothing in a long one.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = 250 * time.Millisecond
)

// send sends one message of run. It waits for room, for as long as a stream may stall.
func (s *stream) send(msg []byte) error {
	s.wait()
	defer s.waited()
	select {
	case s.turn <- struct{}{}:
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	err := s.group.sender.Send(s.ctx, &s.share, msg)
	<-s.turn
	return err
}

// admit waits until one more batch may be sent: by credit where the client grants it, by the throttle where not.
func (s *stream) admit() error {
	if s.credit == nil {
		return s.throttle()
	}
	if s.credit.TryTake() {
		return nil
	}
	s.progress.state.Store(int32(statePaused))
	s.wait()
	defer s.waited()
	return s.credit.Take(s.ctx)
}

// throttle waits as long as the fill of the connection asks for. It looks again while it waits, so that it goes on early once there
// is room; a fill that falls shows that the client reads, and so is no stall.
func (s *stream) throttle() error {
	fill := s.group.sender.Fill()
	delay, pause := s.pacer.Next(fill)
	if delay == 0 && !pause {
		return nil
	}
	s.wait()
	defer s.waited()
	began, look := time.Now(), firstLook
	timer := time.NewTimer(look)
	defer timer.Stop()
	for lowest := fill; ; {
		left := delay - time.Since(began)
		switch {
		case pause:
			s.progress.state.Store(int32(statePaused))
			left = look
		case left <= 0:
			return nil
		default:
			s.progress.state.Store(int32(stateThrottled))
		}
		timer.Reset(min(left, look))
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		look = min(2*look, lastLook)
		if fill = s.group.sender.Fill(); fill < lowest {
			lowest = fill
			s.stall.Reset(s.options.StallTimeout)
		}
		delay, pause = s.pacer.Next(fill)
	}
}

// wait says that run now waits for the client, and lets the stall timer run.
func (s *stream) wait() {
	s.progress.waitingSince.Store(int64(time.Since(s.started)) + 1)
	s.stall.Reset(s.options.StallTimeout)
}

// waited ends what wait began.
func (s *stream) waited() {
	s.stall.Stop()
	p := &s.progress
	if since := p.waitingSince.Swap(0); since > 0 {
		waited := int64(time.Since(s.started)) + 1 - since
		p.stalled.Add(waited)
		s.counted.stalled.Add(waited)
	}
	p.state.CompareAndSwap(int32(statePaused), int32(stateStreaming))
	p.state.CompareAndSwap(int32(stateThrottled), int32(stateStreaming))
}
