package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// statement is a query that has been checked. It compiles anew for each run, on the connection that runs it.
type statement struct {
	pool   *pool
	raw    bool // a client wrote it
	text   string
	order  []int         // for each placeholder, by its number from 0: the argument to bind
	budget time.Duration // how long an estimate may count
	known  *counts
}

// prepare checks text; see stream.Source. What is wrong with it is a *stream.TextError or an error of the database's.
func prepare(ctx context.Context, p *pool, raw bool, text string, params []stream.Param) (*statement, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, stream.BadText("the statement holds a NUL character")
	}
	c, err := p.get(ctx, raw)
	if err != nil {
		return nil, err
	}
	defer p.put(c, true)
	release := c.watch(ctx)
	defer release()
	if raw {
		heap.enter(c)
		defer heap.leave(c)
	} else {
		c.authorize(readsOnly)
		defer c.authorize(nil)
	}
	st, rest, err := c.prepare(ctx, text)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return nil, stream.BadText("there is no statement")
	}
	defer st.finalize()
	if err := c.onlyComments(ctx, rest); err != nil {
		return nil, err
	}
	if lib.Xsqlite3_stmt_readonly(c.tls, st.handle) == 0 || lib.Xsqlite3_stmt_isexplain(c.tls, st.handle) != 0 ||
		st.columnCount() == 0 {
		return nil, stream.BadText("the statement is not a select")
	}
	order, err := matchParams(st.paramNames(), params)
	if err != nil {
		return nil, err
	}
	text = strings.TrimRight(strings.TrimSpace(text[:len(text)-len(rest)]), "; \t\r\n")
	return &statement{pool: p, raw: raw, text: text, order: order, budget: estimateBudget, known: newCounts()}, nil
}

// onlyComments checks that nothing follows the statement.
func (c *conn) onlyComments(ctx context.Context, rest string) error {
	for strings.TrimSpace(rest) != "" {
		st, tail, err := c.prepare(ctx, rest)
		if st != nil {
			st.finalize()
		}
		if st != nil || err != nil {
			return stream.BadText("there is more than one statement")
		}
		if tail == rest {
			return nil
		}
		rest = tail
	}
	return nil
}

// matchParams finds the argument for each placeholder: all must be @names of params, and all params must be used.
func matchParams(names []string, params []stream.Param) ([]int, error) {
	order := make([]int, len(names))
	used := make([]bool, len(params))
	for i, name := range names {
		declared, ok := strings.CutPrefix(name, "@")
		if !ok {
			return nil, stream.BadParam("parameters are written @name, and not ? or with another sign")
		}
		at := slices.IndexFunc(params, func(p stream.Param) bool { return p.Name == declared })
		if at < 0 {
			return nil, stream.BadParam("there is no parameter %s", name)
		}
		order[i], used[at] = at, true
	}
	if at := slices.Index(used, false); at >= 0 {
		return nil, stream.BadParam("parameter @%s is not used by the statement", params[at].Name)
	}
	return order, nil
}

// bind gives the arguments to a statement compiled from s.text or from a wrapper around it.
func (s *statement) bind(st *stmt, args []stream.Value) error {
	for i, from := range s.order {
		if from >= len(args) {
			return fmt.Errorf("%d arguments are too few", len(args))
		}
		if err := bindValue(st, i+1, args[from]); err != nil {
			return err
		}
	}
	return nil
}

func bindValue(st *stmt, i int, v stream.Value) error {
	switch v.Type {
	case stream.TypeInteger:
		return st.bindInt64(i, v.Integer)
	case stream.TypeNumber:
		return st.bindFloat(i, v.Number)
	case stream.TypeBoolean:
		if v.Boolean {
			return st.bindInt64(i, 1)
		}
		return st.bindInt64(i, 0)
	case stream.TypeTimestamp:
		return st.bindText(i, v.Timestamp.Format(time.RFC3339Nano))
	case stream.TypeText, stream.TypeUUID:
		return st.bindText(i, v.Text)
	default:
		return fmt.Errorf("argument %d has no type", i)
	}
}

// authorizer decides on what a statement does, while it is compiled: SQLITE_OK or SQLITE_DENY.
type authorizer func(tls *libc.TLS, _ uintptr, action int32, first, second, _, _ uintptr) int32

// authorize switches the check of what is compiled on, or off with nil.
func (c *conn) authorize(check authorizer) {
	var address uintptr
	if check != nil {
		address = callback(check)
	}
	lib.Xsqlite3_set_authorizer(c.tls, c.db, address, c.aggregates)
}

// readsOnly lets a statement read, and nothing else. query_only and the read-only file hold without it; it gives the error when the
// configuration is loaded, and also refuses what only looks like reading, such as pragmas.
func readsOnly(_ *libc.TLS, _ uintptr, action int32, _, second, _, _ uintptr) int32 {
	switch action {
	case lib.SQLITE_SELECT, lib.SQLITE_READ, lib.SQLITE_RECURSIVE:
		return lib.SQLITE_OK
	case lib.SQLITE_FUNCTION:
		if libc.GoString(second) == "load_extension" {
			return lib.SQLITE_DENY
		}
		return lib.SQLITE_OK
	default:
		return lib.SQLITE_DENY
	}
}
