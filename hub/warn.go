package hub

import (
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"
)

// How many lines clients can cause at WARN: a network that fails for a moment must not fill a disk.
const (
	warnRate  = 1 // a second
	warnBurst = 30
)

// warnings bounds lines at WARN. What is beyond comes at DEBUG; the next line at WARN says how many these were.
type warnings struct {
	limiter *rate.Limiter
	held    atomic.Uint64
}

func newWarnings() warnings { return warnings{limiter: rate.NewLimiter(warnRate, warnBurst)} }

// line begins a line of the log, nil where its level is off. fields is what else the line must bear.
func (h *Hub) line(level zapcore.Level, message string) (entry *zapcore.CheckedEntry, fields []zap.Field) {
	if level == zap.WarnLevel {
		if !h.warnings.limiter.Allow() {
			h.warnings.held.Add(1)
			level = zap.DebugLevel
		} else if held := h.warnings.held.Swap(0); held > 0 {
			fields = append(fields, zap.Uint64("suppressed", held))
		}
	}
	return h.log.Check(level, message), append(fields, zap.String("hub", h.name))
}
