package stream

import (
	"crypto/rand"
	"encoding/hex"
	"errors"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

type endKind uint8

const (
	endCompleted endKind = iota
	endCancelled
	endFailed
	endGone // the connection is closed: there is nobody to tell
)

// ending is how a stream ends. It is the cause of the stream's context.
type ending struct {
	kind   endKind
	reason string          // endCancelled
	id     protocol.ID     // endCancelled: of the request to cancel
	told   *protocol.Error // endFailed: what the client gets
	cause  error           // endFailed: what only the log gets, nil where told says all
	ref    string          // endFailed: what ties told to cause
	keeps  bool            // what remains of the stream can be resumed
}

// resumable says that the stream may be gone on with.
func (e *ending) resumable() *ending {
	e.keeps = true
	return e
}

func (e *ending) Error() string {
	switch {
	case e.cause != nil:
		return e.cause.Error()
	case e.told != nil:
		return e.told.Error()
	case e.kind == endGone:
		return ErrSenderClosed.Error()
	default:
		return "the stream has ended: " + e.status()
	}
}

// status is the name of the ending in query_status.
func (e *ending) status() string {
	switch e.kind {
	case endCompleted:
		return "completed"
	case endFailed:
		return "failed"
	default:
		return "cancelled"
	}
}

func failure(code protocol.Code, format string, args ...any) *ending {
	return &ending{kind: endFailed, told: protocol.Errorf(code, format, args...)}
}

// outcome is the ending of a stream that nobody stopped.
func (s *stream) outcome(err error) *ending {
	if err == nil {
		return (&ending{kind: endCompleted}).resumable()
	}
	if errors.Is(err, ErrSenderClosed) {
		return (&ending{kind: endGone}).resumable()
	}
	if told, ok := protocol.AsError(err); ok {
		// Where the database had no room for the query, or failed, it may go well another time.
		return &ending{kind: endFailed, told: told, keeps: told.Code == protocol.LimitExceeded}
	}
	var text *TextError
	if s.query.RawText != "" && errors.As(err, &text) {
		return failure(text.Code, "%s", text.Message)
	}
	var random [4]byte
	rand.Read(random[:]) // it never fails: see crypto/rand
	ref := hex.EncodeToString(random[:])
	what := "the query failed"
	if s.query.RawText != "" && !s.progress.begun() {
		what = "the statement cannot be run"
	}
	end := failure(protocol.QueryFailed, "%s (reference %s)", what, ref)
	end.cause, end.ref = err, ref
	return end.resumable()
}

// tellEnding sends the stream's last message. A stream has exactly one ending, so it waits for room as long as the connection lives,
// which a client that takes nothing ends by write_timeout; the group bounds how many wait.
func (s *stream) tellEnding(end *ending) {
	s.logEnding(end)
	buf := s.buf[:0]
	switch end.kind {
	case endGone:
		return
	case endCompleted:
		buf = protocol.AppendQueryCompleted(buf, protocol.QueryCompleted{
			StreamID: s.id,
			Rows:     s.progress.sent.Load(),
			Elapsed:  s.progress.elapsed,
			Batches:  s.progress.batches.Load(),
		})
	case endCancelled:
		buf = protocol.AppendQueryCancelled(buf, s.id, end.reason, s.progress.sent.Load(), end.id)
	case endFailed:
		// The request was answered by query_started if that was sent; if not, this is the answer.
		id := s.request
		if s.progress.begun() {
			id = ""
		}
		buf = protocol.AppendError(buf, end.told, id, s.id, "")
	}
	if err := s.group.sender.Send(s.group.ctx, &s.share, buf); err != nil && s.group.ctx.Err() == nil && !errors.Is(err, ErrSenderClosed) {
		s.log().Warn("the ending of a stream could not be sent", zap.String("status", end.status()), zap.Error(err))
	}
}

// tellEnded tells whoever asked.
func (s *stream) tellEnded(end *ending) {
	if s.ended == nil {
		return
	}
	p := &s.progress
	e := Ended{StreamID: s.id, Status: end.status(), Rows: p.sent.Load(), Batches: p.batches.Load(), Bytes: p.bytes.Load()}
	if end.told != nil {
		e.Err = end.told
	}
	s.ended(e)
}

// logEnding writes what an operator should know of an ending; the cause is told here and nowhere else.
func (s *stream) logEnding(end *ending) {
	if end.kind != endFailed {
		return
	}
	fields := []zap.Field{zap.String("code", string(end.told.Code))}
	if end.cause != nil {
		if gist := gistOf(end.cause); s.query.RawText != "" && gist != "" {
			s.logRaw(end, gist)
			return
		}
		s.log().Error("a query failed", append(fields, zap.String("reference", end.ref), zap.Error(end.cause))...)
		return
	}
	s.log().Info("a query was stopped", append(fields, zap.String("reason", end.told.Message))...)
}

func (s *stream) log() *zap.Logger {
	return s.group.registry.log.With(
		zap.String("query", s.query.Name),
		zap.String("stream_id", s.id),
		zap.String("connection_id", s.owner.ConnectionID),
		zap.String("user", s.owner.User),
	)
}
