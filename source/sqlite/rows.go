package sqlite

import (
	"context"
	"errors"
	"strconv"
	"strings"

	lib "modernc.org/sqlite/lib"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Query starts the statement on a connection of its own; see stream.Statement.
func (s *statement) Query(ctx context.Context, run stream.Run) (stream.Rows, error) {
	c, err := s.pool.get(ctx, s.raw)
	if err != nil {
		return nil, err
	}
	r := &rows{ctx: ctx, conn: c, statement: s, kind: stream.KindUnknown, quoted: run.Int64Strings}
	if s.raw {
		heap.enter(c)
	}
	if err := r.start(run.Args, run.Total); err != nil {
		return nil, errors.Join(r.failure(err), r.Close())
	}
	return r, nil
}

// rows is a running query. A transaction holds its columns, its total and its rows to one state of the database.
type rows struct {
	ctx       context.Context
	conn      *conn
	statement *statement
	release   func() // ends the watch over ctx
	stmt      *stmt
	inTx      bool
	columns   []stream.Column
	encodings []encoding
	quoted    bool // integers become strings

	total int64
	kind  stream.TotalKind
	key   string // of the arguments, where the number of rows is to be remembered
	count int64
	err   error
}

// encoding is what a column's declared type makes of some of its values.
type encoding uint8

const (
	plain encoding = iota
	boolean
	jsonText
)

func (r *rows) start(args []stream.Value, total stream.TotalMode) error {
	if err := r.conn.exec(r.ctx, "begin"); err != nil {
		return err
	}
	r.inTx = true
	// The first look fixes the state of the database, and brings what the connection knows of the schema up to date, so that the
	// columns are right before the first row.
	if err := r.conn.exec(r.ctx, "select 1 from sqlite_schema limit 1"); err != nil {
		return err
	}
	if total == stream.TotalExact || total == stream.TotalEstimate {
		if err := r.findTotal(args, total); err != nil {
			return err
		}
	}
	r.release = r.conn.watch(r.ctx)
	st, _, err := r.conn.prepare(r.ctx, r.statement.text)
	if err != nil {
		return err
	}
	r.stmt = st
	if err := r.statement.bind(st, args); err != nil {
		return err
	}
	n := st.columnCount()
	r.columns, r.encodings = make([]stream.Column, n), make([]encoding, n)
	for i := range n {
		declared := strings.ToLower(st.declaredType(i))
		r.columns[i] = stream.Column{Name: st.columnName(i), Type: declared}
		switch declared {
		case "boolean", "bool":
			r.encodings[i] = boolean
		case "json":
			r.encodings[i] = jsonText
		}
	}
	return nil
}

func (r *rows) Columns() []stream.Column { return r.columns }

func (r *rows) Total() (int64, stream.TotalKind) { return r.total, r.kind }

func (r *rows) Err() error { return r.err }

func (r *rows) Next() bool {
	if r.stmt == nil || r.err != nil {
		return false
	}
	more, err := r.stmt.step(r.ctx)
	if err != nil {
		r.err = r.failure(err)
		return false
	}
	if more {
		r.count++
		return true
	}
	if r.key != "" {
		r.statement.known.put(r.key, r.count)
		r.key = ""
	}
	return false
}

// failure is err as a client may need to be told of it.
func (r *rows) failure(err error) error {
	if r.statement.raw && r.ctx.Err() == nil {
		return rawError(err, r.statement.pool.maxValue)
	}
	return err
}

func (r *rows) AppendValue(dst []byte, i int) []byte {
	st := r.stmt
	switch lib.Xsqlite3_column_type(st.conn.tls, st.handle, int32(i)) {
	case lib.SQLITE_INTEGER:
		n := st.columnInt64(i)
		if r.encodings[i] == boolean && n>>1 == 0 {
			return strconv.AppendBool(dst, n == 1)
		}
		if r.quoted {
			return append(strconv.AppendInt(append(dst, '"'), n, 10), '"')
		}
		return strconv.AppendInt(dst, n, 10)
	case lib.SQLITE_FLOAT:
		return stream.AppendFloat(dst, lib.Xsqlite3_column_double(st.conn.tls, st.handle, int32(i)), 64)
	case lib.SQLITE_TEXT:
		if r.encodings[i] == jsonText {
			return stream.AppendJSON(dst, st.columnText(i))
		}
		return stream.AppendText(dst, st.columnText(i))
	case lib.SQLITE_BLOB:
		return stream.AppendBinary(dst, st.columnBlob(i))
	default:
		return append(dst, "null"...)
	}
}

// Close stops the query and gives the connection back.
func (r *rows) Close() error {
	if r.conn == nil {
		return nil
	}
	c := r.conn
	r.conn = nil
	if r.stmt != nil {
		r.stmt.finalize()
		r.stmt = nil
	}
	if r.release != nil {
		r.release()
	}
	var err error
	if r.inTx {
		// The query's context may be done, but the transaction must end all the same; ending a read takes no lock.
		err = c.exec(context.WithoutCancel(r.ctx), "rollback")
	}
	if r.statement.raw {
		heap.leave(c)
	}
	r.statement.pool.put(c, err == nil)
	return err
}

var _ stream.Rows = (*rows)(nil)
