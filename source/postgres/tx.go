package postgres

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// tx is a read-only transaction on a connection of its own.
type tx struct {
	source *Source
	conn   *conn
	raw    bool // a client's own statement runs in it
}

// begin opens the transaction that a query runs in, and sets the role and the settings in it before anything else.
func (s *Source) begin(ctx context.Context, run stream.Run) (*tx, error) {
	c, err := s.pool.get(ctx, time.Duration(s.AcquireTimeout))
	for err == nil {
		if err = s.open(ctx, c, run); err == nil {
			return &tx{source: s, conn: c}, nil
		}
		// The server may have closed a connection while nobody used it; a new one then says more.
		if !c.reused || !c.IsClosed() || ctx.Err() != nil {
			s.pool.put(c)
			break
		}
		c, err = s.pool.renew(ctx, c)
	}
	return nil, failure(ctx, err)
}

// open sends the transaction's begin and its settings as one.
func (s *Source) open(ctx context.Context, c *conn, run stream.Run) error {
	begin := "begin transaction isolation level read committed, read only"
	if run.Total == stream.TotalExact {
		// One state of the database for the number of rows and the rows.
		begin = "begin transaction isolation level repeatable read, read only"
	}
	text := strings.Builder{}
	text.WriteString("select pg_catalog.set_config('bytea_output','hex',true),pg_catalog.set_config('extra_float_digits','1',true)")
	values := make([][]byte, 0, 2*len(s.settings))
	for _, set := range s.settings {
		n := len(values)
		text.WriteString(",pg_catalog.set_config($" + strconv.Itoa(n+1) + ",$" + strconv.Itoa(n+2) + ",true)")
		values = append(values, []byte(set.name), []byte(strings.Join(set.parts, run.User)))
	}
	batch := new(pgconn.Batch)
	batch.ExecParams(begin, nil, nil, nil, nil)
	batch.ExecParams(text.String(), values, nil, nil, nil)
	return c.ExecBatch(ctx, batch).Close()
}

// end ends the transaction, which takes back whatever the query set, and gives the connection back. That of a client's own statement
// is closed: locks, settings and whatever else a session holds beyond a transaction must not reach the next query.
func (t *tx) end() error {
	c := t.conn
	var err error
	if !c.IsClosed() && !c.IsBusy() && c.TxStatus() != 'I' {
		// The query's context may be done, but the transaction must end all the same.
		ctx, cancel := context.WithTimeout(context.Background(), closePatience)
		defer cancel()
		_, err = c.Exec(ctx, "rollback").ReadAll()
	}
	if t.raw {
		t.source.pool.discard(c)
		return err
	}
	t.source.pool.put(c)
	return err
}
