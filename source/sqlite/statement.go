package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// statement is a query that has been checked. It compiles anew for each run, on the connection that runs it.
type statement struct {
	pool   *pool
	text   string
	order  []int         // for each placeholder, by its number from 0: the argument to bind
	budget time.Duration // how long an estimate may count
	known  *counts
}

// prepare checks text; see stream.Source.
func prepare(ctx context.Context, p *pool, text string, params []stream.Param) (*statement, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, errors.New("the statement holds a NUL character")
	}
	c, err := p.get(ctx)
	if err != nil {
		return nil, err
	}
	defer p.put(c, true)
	release := c.watch(ctx)
	defer release()
	c.authorize(true)
	defer c.authorize(false)

	st, rest, err := c.prepare(ctx, text)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return nil, errors.New("there is no statement")
	}
	defer st.finalize()
	if err := c.onlyComments(ctx, rest); err != nil {
		return nil, err
	}
	if lib.Xsqlite3_stmt_readonly(c.tls, st.handle) == 0 || lib.Xsqlite3_stmt_isexplain(c.tls, st.handle) != 0 ||
		st.columnCount() == 0 {
		return nil, errors.New("the statement is not a select")
	}
	order, err := matchParams(st.paramNames(), params)
	if err != nil {
		return nil, err
	}
	text = strings.TrimRight(strings.TrimSpace(text[:len(text)-len(rest)]), "; \t\r\n")
	return &statement{pool: p, text: text, order: order, budget: estimateBudget, known: newCounts()}, nil
}

// onlyComments checks that nothing follows the statement.
func (c *conn) onlyComments(ctx context.Context, rest string) error {
	for strings.TrimSpace(rest) != "" {
		st, tail, err := c.prepare(ctx, rest)
		if st != nil {
			st.finalize()
		}
		if st != nil || err != nil {
			return errors.New("there is more than one statement")
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
			if name == "" {
				name = "?"
			}
			return nil, fmt.Errorf("placeholder %s: parameters are written @name", name)
		}
		at := slices.IndexFunc(params, func(p stream.Param) bool { return p.Name == declared })
		if at < 0 {
			return nil, fmt.Errorf("parameter %s is not declared", name)
		}
		order[i], used[at] = at, true
	}
	if at := slices.Index(used, false); at >= 0 {
		return nil, fmt.Errorf("parameter @%s is declared but not used", params[at].Name)
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

// authorize switches on the check of what is compiled: it may read, and nothing else. query_only and the read-only file hold
// without it; it gives the error when the configuration is loaded, and also refuses what only looks like reading, such as pragmas.
func (c *conn) authorize(on bool) {
	var callback uintptr
	if on {
		callback = *(*uintptr)(unsafe.Pointer(&struct {
			f func(*libc.TLS, uintptr, int32, uintptr, uintptr, uintptr, uintptr) int32
		}{readsOnly}))
	}
	lib.Xsqlite3_set_authorizer(c.tls, c.db, callback, 0)
}

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
