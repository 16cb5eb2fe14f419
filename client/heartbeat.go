package client

import (
	"io"
	"time"
)

// hear notes that the server lives.
func (s *session) hear() { s.heard.Store(time.Now().UnixNano()) }

// watchHeart ends a connection whose server is silent. A server sends a WebSocket Ping in each interval, so a ping of ours is needed only
// where it does not, or where Options.Heartbeat is shorter.
func (s *session) watchHeart() {
	interval := s.c.o.Heartbeat
	if interval == 0 {
		interval = time.Duration(s.welcome.HeartbeatMS) * time.Millisecond
	}
	if interval <= 0 {
		return
	}
	for {
		silence := time.Since(time.Unix(0, s.heard.Load()))
		wait := interval - silence
		if silence >= interval {
			wait = 2*interval - silence
			s.out.put([]byte(`{"type":"ping"}`))
		}
		if silence >= 2*interval {
			s.silent.Store(true)
			s.cancel()
			return
		}
		if !sleepCtx(s.ctx, wait) {
			return
		}
	}
}

// readAll is io.ReadAll that tells of each part.
func readAll(r io.Reader, heard func()) ([]byte, error) {
	buf := make([]byte, 0, 4096)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n > 0 {
			heard()
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}
