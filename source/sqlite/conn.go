package sqlite

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// conn is one connection to a database file, used by one goroutine at a time; only interrupt may be called beside it.
//
// It stands on SQLite's C interface as modernc.org/sqlite/lib has it in Go, not on that module's database/sql driver: the driver
// stops a query only until its first row, boxes every value, and waits in the database's own busy handler, which nothing interrupts.
type conn struct {
	tls         *libc.TLS
	db          uintptr // *sqlite3
	busyTimeout time.Duration
	restricted  bool    // for statements that clients write
	aggregates  uintptr // *int32: how many aggregate functions the statement has that is being compiled; 0 where not restricted
}

// errorDB is an error of SQLite.
type errorDB struct {
	code    int32 // extended result code
	message string
}

func (e *errorDB) Error() string { return fmt.Sprintf("%s (SQLite error %d)", e.message, e.code) }

// open opens the database file for reading only and readies the connection for statements of others: nothing that a schema or a
// statement holds can write, attach or load. rawValue, unless it is
// 0, restricts it to what clients may do, with values of at most so many bytes.
func open(path string, busyTimeout time.Duration, rawValue int64) (*conn, error) {
	c := &conn{tls: libc.NewTLS(), busyTimeout: busyTimeout}
	err := c.open(path)
	if err == nil && rawValue > 0 {
		err = c.restrict(rawValue)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	return c, nil
}

func (c *conn) open(path string) error {
	name, err := libc.CString(path)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, name)
	out := c.tls.Alloc(int(pointerSize))
	defer c.tls.Free(int(pointerSize))
	*at[uintptr](out) = 0
	// NOMUTEX: the pool keeps a connection to one goroutine, so that SQLite need not lock for every value.
	const flags = lib.SQLITE_OPEN_READONLY | lib.SQLITE_OPEN_NOMUTEX | lib.SQLITE_OPEN_EXRESCODE
	rc := lib.Xsqlite3_open_v2(c.tls, name, out, flags, 0)
	c.db = *at[uintptr](out)
	if rc != lib.SQLITE_OK {
		return c.error(rc)
	}
	for option, on := range map[int32]int32{
		lib.SQLITE_DBCONFIG_DEFENSIVE:      1,
		lib.SQLITE_DBCONFIG_TRUSTED_SCHEMA: 0,
		lib.SQLITE_DBCONFIG_DQS_DML:        0, // "name" is a name, and a mistyped one an error instead of a text
		lib.SQLITE_DBCONFIG_DQS_DDL:        0,
	} {
		if err := c.configure(option, on); err != nil {
			return err
		}
	}
	lib.Xsqlite3_limit(c.tls, c.db, lib.SQLITE_LIMIT_ATTACHED, 0)
	if err := c.exec(context.Background(), "pragma query_only = 1"); err != nil {
		return err
	}
	// The first look at the file: it may be no database at all.
	return c.exec(context.Background(), "select 1 from sqlite_schema limit 1")
}

func (c *conn) configure(option, on int32) error {
	const size = 2 * 8
	args := c.tls.Alloc(size)
	defer c.tls.Free(size)
	if rc := lib.Xsqlite3_db_config(c.tls, c.db, option, libc.VaList(args, on, uintptr(0))); rc != lib.SQLITE_OK {
		return c.error(rc)
	}
	return nil
}

// close gives the connection's memory back; no statement may be left.
func (c *conn) close() {
	if c.db != 0 {
		lib.Xsqlite3_close_v2(c.tls, c.db)
		c.db = 0
	}
	libc.Xfree(c.tls, c.aggregates)
	c.tls.Close()
}

func (c *conn) error(rc int32) error {
	e := &errorDB{code: rc}
	if c.db != 0 && lib.Xsqlite3_extended_errcode(c.tls, c.db) == rc {
		e.message = libc.GoString(lib.Xsqlite3_errmsg(c.tls, c.db))
	} else {
		e.message = libc.GoString(lib.Xsqlite3_errstr(c.tls, rc))
	}
	return e
}

// watch makes the end of ctx interrupt what runs on the connection, until release is called; release waits until no interrupt can
// come any more.
func (c *conn) watch(ctx context.Context) (release func()) {
	released, gone := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(gone)
		// A libc.TLS belongs to one goroutine, and c's is busy.
		tls := libc.NewTLS()
		defer tls.Close()
		again := time.NewTicker(time.Millisecond)
		defer again.Stop()
		for {
			// An interrupt is forgotten when a first statement begins just then, so one may not be enough.
			lib.Xsqlite3_interrupt(tls, c.db)
			select {
			case <-again.C:
			case <-released:
				return
			}
		}
	})
	return func() {
		close(released)
		if !stop() {
			<-gone
		}
	}
}

// retryBusy calls f again while another connection holds the lock that it needs, for at most the busy timeout and until ctx is done.
func (c *conn) retryBusy(ctx context.Context, f func() int32) int32 {
	var began time.Time
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		rc := f()
		if rc&0xff != lib.SQLITE_BUSY {
			return rc
		}
		if began.IsZero() {
			began = time.Now()
		}
		if time.Since(began) >= c.busyTimeout {
			return rc
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return rc
		}
	}
}

// exec runs a statement of this package's own to its end.
func (c *conn) exec(ctx context.Context, text string) error {
	if c.restricted {
		c.authorize(nil)
		defer c.authorize(readsTables)
	}
	st, _, err := c.prepare(ctx, text)
	if err != nil {
		return err
	}
	defer st.finalize()
	for {
		row, err := st.step(ctx)
		if err != nil || !row {
			return err
		}
	}
}

// prepare compiles the first statement of text; rest is what stands behind it. The statement is nil where text holds nothing but
// white space and comments.
func (c *conn) prepare(ctx context.Context, text string) (st *stmt, rest string, err error) {
	sql, err := libc.CString(text)
	if err != nil {
		return nil, "", err
	}
	defer libc.Xfree(c.tls, sql)
	const size = int(2 * pointerSize)
	out := c.tls.Alloc(size)
	defer c.tls.Free(size)
	handle, tail := at[uintptr](out), at[uintptr](out+pointerSize)
	*handle, *tail = 0, 0
	if c.aggregates != 0 {
		*at[int32](c.aggregates) = 0
	}
	rc := c.retryBusy(ctx, func() int32 {
		return lib.Xsqlite3_prepare_v2(c.tls, c.db, sql, -1, out, out+pointerSize)
	})
	if rc != lib.SQLITE_OK {
		return nil, "", c.failure(ctx, rc)
	}
	rest = text[*tail-sql:]
	if *handle == 0 {
		return nil, rest, nil
	}
	return &stmt{conn: c, handle: *handle}, rest, nil
}

// failure is the error of a call: ctx's own where that has ended.
func (c *conn) failure(ctx context.Context, rc int32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.error(rc)
}

const pointerSize = unsafe.Sizeof(uintptr(0))

// at views memory of SQLite's as Go sees it. The address never belongs to Go's own heap, so that nothing can move it.
func at[T any](address uintptr) *T {
	return *(**T)(unsafe.Pointer(&address))
}

// stmt is a prepared statement of a conn.
type stmt struct {
	conn    *conn
	handle  uintptr // *sqlite3_stmt
	stepped bool
}

func (st *stmt) finalize() {
	if st.handle != 0 {
		lib.Xsqlite3_finalize(st.conn.tls, st.handle)
		st.handle = 0
	}
}

// step moves to the next row; false at the end.
func (st *stmt) step(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	rc := lib.Xsqlite3_step(st.conn.tls, st.handle)
	if rc&0xff == lib.SQLITE_BUSY && !st.stepped {
		rc = st.conn.retryBusy(ctx, func() int32 {
			lib.Xsqlite3_reset(st.conn.tls, st.handle)
			return lib.Xsqlite3_step(st.conn.tls, st.handle)
		})
	}
	st.stepped = true
	switch rc {
	case lib.SQLITE_ROW:
		return true, nil
	case lib.SQLITE_DONE:
		return false, nil
	default:
		return false, st.conn.failure(ctx, rc)
	}
}

func (st *stmt) bindInt64(i int, n int64) error {
	return st.bound(lib.Xsqlite3_bind_int64(st.conn.tls, st.handle, int32(i), n))
}

func (st *stmt) bindFloat(i int, f float64) error {
	return st.bound(lib.Xsqlite3_bind_double(st.conn.tls, st.handle, int32(i), f))
}

func (st *stmt) bindText(i int, text string) error {
	p, err := libc.CString(text)
	if err != nil {
		return err
	}
	defer libc.Xfree(st.conn.tls, p)
	const transient = ^uintptr(0) // SQLITE_TRANSIENT: SQLite makes a copy of its own
	return st.bound(lib.Xsqlite3_bind_text(st.conn.tls, st.handle, int32(i), p, int32(len(text)), transient))
}

func (st *stmt) bound(rc int32) error {
	if rc != lib.SQLITE_OK {
		return st.conn.error(rc)
	}
	return nil
}

// paramNames gives the placeholders' names with their first character, empty for an anonymous one.
func (st *stmt) paramNames() []string {
	names := make([]string, lib.Xsqlite3_bind_parameter_count(st.conn.tls, st.handle))
	for i := range names {
		names[i] = libc.GoString(lib.Xsqlite3_bind_parameter_name(st.conn.tls, st.handle, int32(i+1)))
	}
	return names
}

func (st *stmt) columnCount() int {
	return int(lib.Xsqlite3_column_count(st.conn.tls, st.handle))
}

func (st *stmt) columnName(i int) string {
	return libc.GoString(lib.Xsqlite3_column_name(st.conn.tls, st.handle, int32(i)))
}

func (st *stmt) declaredType(i int) string {
	return libc.GoString(lib.Xsqlite3_column_decltype(st.conn.tls, st.handle, int32(i)))
}

func (st *stmt) columnInt64(i int) int64 {
	return lib.Xsqlite3_column_int64(st.conn.tls, st.handle, int32(i))
}

// columnText views a column as UTF-8, valid until the next step.
func (st *stmt) columnText(i int) []byte {
	p := lib.Xsqlite3_column_text(st.conn.tls, st.handle, int32(i))
	return st.bytes(p, i)
}

// columnBlob views a column as bytes, valid until the next step.
func (st *stmt) columnBlob(i int) []byte {
	p := lib.Xsqlite3_column_blob(st.conn.tls, st.handle, int32(i))
	return st.bytes(p, i)
}

func (st *stmt) bytes(p uintptr, i int) []byte {
	n := lib.Xsqlite3_column_bytes(st.conn.tls, st.handle, int32(i))
	if p == 0 || n <= 0 {
		return nil
	}
	return unsafe.Slice(at[byte](p), n)
}
