package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// snapshot says which transactions are seen, by the lower half of their ids, as the change feed has them: all before max but those in
// open.
type snapshot struct {
	max  uint32
	open []uint32 // in ascending order of their whole ids
	some bool     // false: it sees nothing
}

// parseSnapshot reads the text of a pg_snapshot: xmin:xmax:xid,xid…
func parseSnapshot(text string) (snapshot, error) {
	_, rest, _ := strings.Cut(text, ":")
	most, list, ok := strings.Cut(rest, ":")
	max, err := strconv.ParseUint(most, 10, 64)
	if !ok || err != nil {
		return snapshot{}, fmt.Errorf("the database gives the snapshot %q", text)
	}
	s := snapshot{max: uint32(max), some: true}
	for id := range strings.SplitSeq(list, ",") {
		if id == "" {
			continue
		}
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return snapshot{}, fmt.Errorf("the database gives the snapshot %q", text)
		}
		s.open = append(s.open, uint32(n))
	}
	return s, nil
}

// sees tells whether a transaction that has been committed is seen. Ids are compared modulo 2^32, as the database does.
func (s *snapshot) sees(xid uint32) bool {
	return s.some && int32(xid-s.max) < 0 && !slices.Contains(s.open, xid)
}

const (
	firstLook = 200 * time.Microsecond
	lastLook  = 50 * time.Millisecond
)

// eyes see what other transactions see. A commit is in the log, and so in the change feed, before any other transaction sees it: a query
// that ran at once would give what was before. With synchronous replication that may take as long as a standby does.
type eyes struct {
	query func(ctx context.Context, text string, args [][]byte) ([][][]byte, error)
	last  snapshot
}

// until waits until a transaction that has been committed is seen by all that begin from then on.
func (e *eyes) until(ctx context.Context, xid uint32) error {
	return e.wait(ctx, func() bool { return e.last.sees(xid) })
}

// untilAll waits until everything is seen that another snapshot sees.
func (e *eyes) untilAll(ctx context.Context, other snapshot) error {
	e.last = snapshot{}
	return e.wait(ctx, func() bool { return e.last.some && !slices.ContainsFunc(e.last.open, other.sees) })
}

func (e *eyes) wait(ctx context.Context, enough func() bool) error {
	for pause := firstLook; !enough(); pause = min(2*pause, lastLook) {
		rows, err := e.query(ctx, "select pg_catalog.pg_current_snapshot()::text", nil)
		if err != nil {
			return fmt.Errorf("asking for the snapshot: %w", err)
		}
		if e.last, err = parseSnapshot(string(rows[0][0])); err != nil {
			return err
		}
		if enough() {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
