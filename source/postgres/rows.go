package postgres

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// errClosed stops a query whose rows nobody wants any more.
var errClosed = errors.New("the rows were closed")

// rows is a running query. Its rows are read from the connection one by one, so that a reader who stops also stops the database.
type rows struct {
	ctx       context.Context // ends with the query's, or with the first row too late, or by Close
	cancel    context.CancelCauseFunc
	late      *time.Timer // ends ctx where no row comes
	statement *statement
	tx        *tx
	prepared  *pgconn.StatementDescription
	args      [][]byte
	formats   []int16
	reader    *pgconn.ResultReader // nil before the first row and after the last
	columns   []stream.Column
	types     []typeInfo
	textEncoder
	values  [][]byte
	day     int64  // the latest day that a time was of, since 1970
	dayText []byte // what it looks like

	total   int64
	kind    stream.TotalKind
	cursor  bool // is declared
	fetched int  // rows of the fetch at hand
	done    bool
	err     error
}

// Query readies the statement on a connection of its own; see stream.Statement. The database begins with the rows at the first Next,
// so that the columns can be told before.
func (s *statement) Query(ctx context.Context, run stream.Run) (stream.Rows, error) {
	t, err := s.source.begin(ctx, run)
	if errors.Is(err, errBusy) {
		return nil, protocol.Errorf(protocol.LimitExceeded, "too many queries are running on the database; try again later")
	}
	if err != nil {
		return nil, err
	}
	t.raw = s.raw
	r := &rows{statement: s, tx: t, kind: stream.KindUnknown, textEncoder: textEncoder{quoted: run.Int64Strings}}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	patience := time.Duration(s.source.FirstRowTimeout)
	r.late = time.AfterFunc(patience, func() {
		r.cancel(protocol.Errorf(protocol.QueryTimeout, "the database gave no row within %s", patience))
	})
	if err := r.ready(run); err != nil {
		err = r.failure(err)
		r.done = true
		_ = r.Close() // the connection is closed where that fails
		return nil, err
	}
	return r, nil
}

// ready does all that comes before the rows.
func (r *rows) ready(run stream.Run) error {
	s, c := r.statement, r.tx.conn
	oids, err := s.types(r.ctx, c)
	if err != nil {
		return err
	}
	if r.args, err = s.bind(run.Args); err != nil {
		return err
	}
	if err := r.findTotal(oids, run); err != nil {
		return err
	}
	for looked := false; ; looked = true {
		if r.prepared, err = c.Prepare(r.ctx, "", s.text, oids); err != nil {
			return err
		}
		results := make([]uint32, len(r.prepared.Fields))
		for i, f := range r.prepared.Fields {
			results[i] = f.DataTypeOID
		}
		if r.types = s.source.types.find(results); r.types != nil {
			break
		}
		if looked {
			return errors.New("the types of the columns change") // they cannot, in one transaction
		}
		if err := s.source.types.look(r.ctx, c, results); err != nil {
			return err
		}
	}
	r.columns, r.formats = make([]stream.Column, len(r.types)), make([]int16, len(r.types))
	for i, f := range r.prepared.Fields {
		r.columns[i] = stream.Column{Name: f.Name, Type: r.types[i].name}
		r.formats[i] = formatOf(f.DataTypeOID)
	}
	return nil
}

// start lets the database begin, or fetches more through the cursor.
func (r *rows) start() error {
	c, n := r.tx.conn, r.statement.source.FetchCursor
	if n == 0 {
		r.reader = c.ExecStatement(r.ctx, r.prepared, r.args, nil, r.formats)
		return nil
	}
	if !r.cursor {
		declare := "declare nq no scroll cursor for\n" + r.statement.text
		if err := c.ExecParams(r.ctx, declare, r.args, r.prepared.ParamOIDs, nil, nil).Read().Err; err != nil {
			return err
		}
		r.cursor = true
	}
	r.fetched = 0
	r.reader = c.ExecParams(r.ctx, "fetch forward "+strconv.Itoa(n)+" from nq", nil, nil, nil, r.formats)
	return nil
}

func (r *rows) Columns() []stream.Column { return r.columns }

func (r *rows) Total() (int64, stream.TotalKind) { return r.total, r.kind }

func (r *rows) Err() error { return r.err }

func (r *rows) Next() bool {
	for !r.done {
		if r.reader == nil {
			if !r.cursor {
				r.late.Reset(time.Duration(r.statement.source.FirstRowTimeout))
			}
			if err := r.start(); err != nil {
				r.finish(err)
				return false
			}
		}
		if r.reader.NextRow() {
			if r.late != nil {
				r.late.Stop()
				r.late = nil
			}
			r.values = r.reader.Values()
			r.fetched++
			return true
		}
		_, err := r.reader.Close()
		r.reader = nil
		if n := r.statement.source.FetchCursor; err != nil || n == 0 || r.fetched < n {
			r.finish(err)
		}
	}
	return false
}

// finish ends the rows, with an error where they are not all.
func (r *rows) finish(err error) {
	r.done, r.values = true, nil
	if r.late != nil {
		r.late.Stop()
	}
	r.err = r.failure(err)
}

// failure makes an error of the driver one of the query. What the client gave for a parameter, and the database does not take for a
// value of its type, is the client's to know.
func (r *rows) failure(err error) error {
	if i := parameterOf(err); i >= 0 && i < len(r.statement.order) && r.ctx.Err() == nil {
		name := r.statement.params[r.statement.order[i]].Name
		return protocol.Errorf(protocol.InvalidParams, "parameter %q is no value of the type that it is used as", name)
	}
	return failure(r.ctx, err)
}

func (r *rows) AppendValue(dst []byte, i int) []byte {
	raw := r.values[i]
	if raw == nil {
		return append(dst, "null"...)
	}
	t := &r.types[i]
	if t.array {
		return r.appendArray(dst, raw, t)
	}
	if r.formats[i] == pgtype.BinaryFormatCode {
		return r.appendBinary(dst, raw, t.value)
	}
	return r.appendText(dst, raw, t.value)
}

// Close stops the query where it still runs and gives the connection back.
func (r *rows) Close() error {
	if r.tx == nil {
		return nil
	}
	t := r.tx
	r.tx = nil
	if !r.done {
		r.done = true
		r.cancel(errClosed)
	}
	if r.late != nil {
		r.late.Stop()
	}
	if r.reader != nil {
		// What the cancelled query had already sent is read and dropped; its error is that it was cancelled.
		_, _ = r.reader.Close()
		r.reader = nil
	}
	r.cancel(errClosed)
	return t.end()
}

var _ stream.Rows = (*rows)(nil)
