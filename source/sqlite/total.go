package sqlite

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// estimateBudget is how long counting may take where an estimate is enough.
const estimateBudget = 50 * time.Millisecond

// findTotal counts the rows to come. Where only an estimate is asked for and counting takes too long, the number of an earlier run
// with the same arguments must do.
func (r *rows) findTotal(args []stream.Value, mode stream.TotalMode) error {
	ctx := r.ctx
	if mode == stream.TotalEstimate {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.statement.budget)
		defer cancel()
		r.key = keyOf(args)
	}
	n, err := r.countRows(ctx, args)
	switch {
	case err == nil:
		r.total, r.kind = n, stream.KindExact
	case mode == stream.TotalEstimate && r.ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		if n, ok := r.statement.known.get(r.key); ok {
			r.total, r.kind = n, stream.KindEstimate
		}
	default:
		return err
	}
	return nil
}

func (r *rows) countRows(ctx context.Context, args []stream.Value) (int64, error) {
	release := r.conn.watch(ctx)
	defer release()
	// The line breaks end a comment at the end of the text.
	st, _, err := r.conn.prepare(ctx, "select count(*) from (\n"+r.statement.text+"\n)")
	if err != nil {
		return 0, err
	}
	defer st.finalize()
	if err := r.statement.bind(st, args); err != nil {
		return 0, err
	}
	if _, err := st.step(ctx); err != nil {
		return 0, err
	}
	return st.columnInt64(0), nil
}

// maxCounts is how many arguments' row counts a statement remembers.
const maxCounts = 256

// counts remembers how many rows complete runs of a statement had, by their arguments.
type counts struct {
	mu   sync.Mutex
	rows map[string]int64
}

func newCounts() *counts { return &counts{rows: make(map[string]int64)} }

func (c *counts) get(key string) (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.rows[key]
	return n, ok
}

// put remembers a count; where there are too many it forgets any one of the others.
func (c *counts) put(key string, rows int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.rows[key]; !ok && len(c.rows) >= maxCounts {
		for other := range c.rows {
			delete(c.rows, other)
			break
		}
	}
	c.rows[key] = rows
}

// keyOf writes the arguments with their lengths, so that no two lists have one key. It is never empty.
func keyOf(args []stream.Value) string {
	var b strings.Builder
	for _, v := range args {
		text := v.String()
		b.WriteString(strconv.Itoa(len(text)))
		b.WriteByte(':')
		b.WriteString(text)
	}
	b.WriteByte('.')
	return b.String()
}
