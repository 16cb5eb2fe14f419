package instance

import (
	"slices"
	"sync/atomic"

	"go.uber.org/zap/zapcore"
)

// reloadableCore passes log entries on to the logger of the newest configuration: those of earlier ones may write to files that are closed.
type reloadableCore struct {
	core   *atomic.Pointer[zapcore.Core]
	fields []zapcore.Field
}

func newReloadableCore(core zapcore.Core) *reloadableCore {
	s := &reloadableCore{core: new(atomic.Pointer[zapcore.Core])}
	s.swap(core)
	return s
}

func (s *reloadableCore) swap(core zapcore.Core) { s.core.Store(&core) }

func (s *reloadableCore) now() zapcore.Core {
	core := *s.core.Load()
	if len(s.fields) > 0 {
		core = core.With(s.fields)
	}
	return core
}

// Enabled implements zapcore.Core.
func (s *reloadableCore) Enabled(l zapcore.Level) bool { return (*s.core.Load()).Enabled(l) }

// With implements zapcore.Core; what it gives follows, too.
func (s *reloadableCore) With(fields []zapcore.Field) zapcore.Core {
	return &reloadableCore{s.core, slices.Concat(s.fields, fields)}
}

// Check implements zapcore.Core.
func (s *reloadableCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return s.now().Check(e, ce)
}

// Write implements zapcore.Core.
func (s *reloadableCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return s.now().Write(e, fields)
}

// Sync implements zapcore.Core.
func (s *reloadableCore) Sync() error { return (*s.core.Load()).Sync() }
