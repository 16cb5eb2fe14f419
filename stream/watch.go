package stream

import (
	"context"
	"slices"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Live is a result that is kept true. Its methods are safe for concurrent use.
type Live interface {
	// Begin waits for the result as it is after the call, or in the case of one that is kept up to date already, as it is. Its error is
	// why there is none. The Failure is the last that there was.
	Begin(ctx context.Context) (*Version, Failure, error)
	// Newest is the result as it is known.
	Newest() *Version
	// Changes are what leads from a revision to the newest. ok is false where that is not known (any more).
	Changes(revision int64) (changes []Change, newest int64, ok bool)
	// Wait waits until there is something newer than the revision, or another failure than that of the given number: keeping up failed,
	// and is tried again. Its error is why the result is not kept any more.
	Wait(ctx context.Context, revision int64, failures int) (Failure, error)
	// Leave is called once, when nothing more is asked.
	Leave()
}

// Version is a Live result at a revision. It does not change.
type Version struct {
	Revision int64
	Columns  []protocol.QueryColumn
	Rows     []*LiveRow // in the order of the query
}

// LiveRow is a row of a Live result. It does not change.
type LiveRow struct {
	Key, Text []byte // JSON
}

// Change is what became of a row. Revisions are even. An odd one stands within changes that were conflated: a client that has got so far
// and no further has a result that never was, and cannot go on from there.
type Change struct {
	Revision int64
	Op       string // protocol.OpInsert and so on
	Row      *LiveRow
}

// Failure tells that a result could not be brought up to date.
type Failure struct {
	Number int             // of failures so far
	Told   *protocol.Error // what clients are told; nil where there was none
}

// Watch asks for a Live result in place of one that ends.
type Watch struct {
	Live Live
	// Revision is the last one that the client has of this result; -1 where it has none. What follows are the changes behind it where
	// they are known; else a fresh result.
	Revision int64
	// StreamID is the watch that is gone on with: the stream has its id where that is free. Default: a new one.
	StreamID string
}

// follow is the run of a watch: the result, and then what becomes of it, until the stream is stopped.
func (s *stream) follow() error {
	live := s.watch.Live
	version, failed, err := live.Begin(s.ctx)
	if err != nil {
		return err
	}
	revision := s.watch.Revision
	_, _, known := live.Changes(revision)
	s.goesOn = revision >= 0 && known
	rows := int64(len(version.Rows))
	if err := s.tellStarted(version.Columns, rows, KindExact); err != nil {
		return err
	}
	if !s.goesOn {
		if revision >= 0 || s.watch.StreamID != "" { // it is to be resumed, and cannot be
			err = s.tellReset()
		}
		if err == nil {
			err = s.withProgress(func() error { return s.sendVersion(version) })
		}
		if err != nil {
			return err
		}
		revision = version.Revision
	}
	for failures := failed.Number; ; {
		failed, err := live.Wait(s.ctx, revision, failures)
		if err != nil {
			return err
		}
		if failed.Number != failures && failed.Told != nil {
			if err := s.send(protocol.AppendError(s.buf[:0], failed.Told, "", s.id, "")); err != nil {
				return err
			}
		}
		failures = failed.Number
		if revision, err = s.catchUp(live, revision); err != nil {
			return err
		}
	}
}

// catchUp sends what has changed since a revision, and gives that which the client has then.
func (s *stream) catchUp(live Live, revision int64) (int64, error) {
	changes, newest, known := live.Changes(revision)
	if !known {
		version := live.Newest()
		if err := s.tellReset(); err != nil {
			return 0, err
		}
		return version.Revision, s.withProgress(func() error { return s.sendVersion(version) })
	}
	for _, c := range changes {
		row := c.Row.Text
		if c.Op == protocol.OpDelete {
			row = nil
		}
		s.buf = protocol.AppendQueryChange(s.buf[:0], s.id, c.Revision, c.Op, c.Row.Key, row)
		if err := s.send(s.buf); err != nil {
			return 0, err
		}
	}
	if cap(s.buf) > maxBatchBytes {
		s.buf = nil
	}
	return newest, nil
}

func (s *stream) tellReset() error {
	s.number = 0
	return s.send(protocol.AppendQueryReset(s.buf[:0], s.id))
}

// sendVersion sends all rows in batches, and that these are all.
func (s *stream) sendVersion(v *Version) error {
	s.progress.rows.Store(int64(len(v.Rows)))
	s.progress.sent.Store(0)
	s.progress.total.Store(int64(len(v.Rows)))
	for rows := v.Rows; len(rows) > 0; s.number++ {
		if err := s.admit(); err != nil {
			return err
		}
		count := 0
		buf := protocol.AppendQueryBatchStart(s.buf[:0], s.id, s.number)
		for count < len(rows) && count < s.batchSize && len(buf) < maxBatchBytes {
			if count > 0 {
				buf = append(buf, ',')
			}
			buf = append(buf, rows[count].Text...)
			count++
		}
		rows = rows[count:]
		buf = protocol.AppendQueryBatchEnd(buf, len(rows) > 0)
		s.buf = buf
		if err := s.send(buf); err != nil {
			return err
		}
		s.sent(count, len(buf))
	}
	if cap(s.buf) > 2*maxBatchBytes {
		s.buf = nil
	}
	return s.send(protocol.AppendQueryReady(s.buf[:0], s.id, v.Revision))
}

// Conflate makes one change of those to the same key: what leads from before the first to behind the last. The order is that of the
// last ones. It gives changes themselves where there is nothing to conflate.
func Conflate(changes []Change) []Change {
	first := make(map[string]string, len(changes)) // operation by key
	last := make(map[string]int, len(changes))
	for i, c := range changes {
		key := string(c.Row.Key)
		if _, there := first[key]; !there {
			first[key] = c.Op
		}
		last[key] = i
	}
	if len(last) == len(changes) {
		return changes
	}
	out := make([]Change, 0, len(last))
	for i, c := range changes {
		if last[string(c.Row.Key)] != i {
			continue
		}
		was, is := first[string(c.Row.Key)] != protocol.OpInsert, c.Op != protocol.OpDelete
		switch {
		case was && is:
			c.Op = protocol.OpUpdate
		case is:
			c.Op = protocol.OpInsert
		case was:
			c.Op = protocol.OpDelete
		default:
			continue // it came and went
		}
		c.Revision--
		out = append(out, c)
	}
	if n := len(out); n > 0 {
		out[n-1].Revision = changes[len(changes)-1].Revision
	}
	return slices.Clip(out)
}
