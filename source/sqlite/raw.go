package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Statements that clients write themselves run on connections of their own, which are restricted for as long as they live: the
// authorizer stays on, also where SQLite compiles a statement again because the schema has changed, and what a statement may cost is
// bounded.

// rawLimits bound what compiling a statement and a single call of a function take, which nothing interrupts. The longest value and
// statement are Source.MaxRawValue.
var rawLimits = map[int32]int32{
	lib.SQLITE_LIMIT_EXPR_DEPTH:          200,
	lib.SQLITE_LIMIT_COMPOUND_SELECT:     100,
	lib.SQLITE_LIMIT_VDBE_OP:             100_000,
	lib.SQLITE_LIMIT_FUNCTION_ARG:        100,
	lib.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 256, // also of GLOB
	lib.SQLITE_LIMIT_COLUMN:              1000,
	lib.SQLITE_LIMIT_VARIABLE_NUMBER:     100,
	lib.SQLITE_LIMIT_TRIGGER_DEPTH:       0,
	lib.SQLITE_LIMIT_WORKER_THREADS:      0,
}

// CheckRaw implements stream.RawSource.
func (s *Source) CheckRaw() error { return nil }

// AllowRaw implements stream.RawSource.
func (s *Source) AllowRaw(context.Context) error {
	if !heap.measured {
		return errors.New("SQLite's memory cannot be bounded, as another module of this server began to use it first")
	}
	return nil
}

// PrepareRaw implements stream.RawSource.
func (s *Source) PrepareRaw(ctx context.Context, sql string, params []stream.Param) (stream.Statement, error) {
	if s.pool == nil {
		return nil, errors.New("the SQLite source is not provisioned")
	}
	st, err := prepare(ctx, s.pool, true, sql, params)
	if err != nil {
		return nil, fmt.Errorf("SQLite: %w", rawError(err, s.pool.maxValue))
	}
	return st, nil
}

// restrict readies a new connection for statements of clients.
func (c *conn) restrict(maxValue int64) error {
	for limit, value := range rawLimits {
		lib.Xsqlite3_limit(c.tls, c.db, limit, value)
	}
	lib.Xsqlite3_limit(c.tls, c.db, lib.SQLITE_LIMIT_LENGTH, int32(maxValue))
	lib.Xsqlite3_limit(c.tls, c.db, lib.SQLITE_LIMIT_SQL_LENGTH, int32(maxValue))
	if c.aggregates = libc.Xcalloc(c.tls, 1, 4); c.aggregates == 0 {
		return errors.New("out of memory")
	}
	if err := c.replaceFunctions(); err != nil {
		return err
	}
	// What does not fit is refused and does not fill the disk, of which SQLite keeps no account.
	if err := c.exec(context.Background(), "pragma temp_store = memory"); err != nil {
		return err
	}
	lib.Xsqlite3_progress_handler(c.tls, c.db, guardOps, callback(guard), 0)
	c.restricted = true
	c.authorize(readsTables)
	return nil
}

// callback is the address of a function as SQLite calls it.
func callback[F any](f F) uintptr {
	return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f}))
}

// closedFunctions are those that reach beyond the tables: load, log, read files where an SQLite has them, look into pages, or cost
// more than their length says.
var closedFunctions = []string{
	"load_extension", "sqlite_log", "fts3_tokenizer", "readfile", "writefile", "edit", "eval", "rtreecheck", "sqlite_offset",
	"json_patch", "jsonb_patch",
}

// aggregates are the functions that can be window functions, which SQLite compiles in a time that grows with the cube of their number and
// does not interrupt.
var aggregates = []string{
	"avg", "count", "cume_dist", "dense_rank", "first_value", "geopoly_group_bbox", "group_concat", "json_group_array", "json_group_object",
	"jsonb_group_array", "jsonb_group_object", "lag", "last_value", "lead", "max", "min", "nth_value", "ntile", "percent_rank", "rank",
	"row_number", "string_agg", "sum", "total",
}

// maxAggregates is how many calls of them a statement may have.
const maxAggregates = 100

// unauthorizedFunction is how SQLite's error of a function begins that the authorizer denies.
const unauthorizedFunction = "not authorized to use function: "

// closedTables show the file's pages, what has been deleted included.
var closedTables = []string{"sqlite_dbpage", "dbstat", "sqlite_dbdata", "sqlite_dbptr"}

// readsTables is the authorizer of statements that clients write: they may read tables, and nothing else.
func readsTables(tls *libc.TLS, arg uintptr, action int32, first, second, database, trigger uintptr) int32 {
	switch action {
	case lib.SQLITE_READ:
		if isOneOf(libc.GoString(first), closedTables) {
			return lib.SQLITE_DENY
		}
	case lib.SQLITE_FUNCTION:
		name := strings.ToLower(libc.GoString(second))
		if isOneOf(name, closedFunctions) || strings.HasPrefix(name, "geopoly_") {
			return lib.SQLITE_DENY
		}
		if calls := at[int32](arg); isOneOf(name, aggregates) {
			if *calls++; *calls > maxAggregates {
				return lib.SQLITE_DENY
			}
		}
	}
	return readsOnly(tls, arg, action, first, second, database, trigger)
}

func isOneOf(name string, names []string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// rawError says in plain words what SQLite refused to a client's own statement, where that is a matter of what is open here.
func rawError(err error, maxValue int64) error {
	var e *errorDB
	if !errors.As(err, &e) {
		return err
	}
	switch code := e.code & 0xff; {
	case strings.HasPrefix(e.message, unauthorizedFunction):
		name := strings.TrimPrefix(e.message, unauthorizedFunction)
		if isOneOf(name, aggregates) {
			return stream.BadText("the statement calls more than %d aggregate and window functions", maxAggregates)
		}
		return stream.BadText("the function %s is not open here: the statement may read tables, and no more", name)
	case code == lib.SQLITE_AUTH, strings.HasPrefix(e.message, "not authorized"):
		return stream.BadText("the statement does more than read tables")
	case code == lib.SQLITE_TOOBIG:
		return stream.BadText("a value, or the statement, is longer than %d bytes", maxValue)
	case code == lib.SQLITE_NOMEM, code == lib.SQLITE_INTERRUPT, code == lib.SQLITE_FULL:
		return stream.BadText("the statement needs too much memory")
	}
	return err
}

// Gist is the error without SQLite's words, which may quote the statement and its values.
func (e *errorDB) Gist() string {
	return fmt.Sprintf("SQLite error %d: %s", e.code, libc.GoString(lib.Xsqlite3_errstr(nil, e.code)))
}

var _ stream.RawSource = (*Source)(nil)
