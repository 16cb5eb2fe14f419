package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// driverServer is how fast PostgreSQL's driver alone is: it reads the rows of a query and makes nothing of them. Its client is told
// when as many rows have come as a first batch has, by query_started, and when all have.
type driverServer struct {
	listener net.Listener
	dsn      string
	wg       sync.WaitGroup
}

func startDriver(address, dsn string) (stop func() error, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &driverServer{listener: listener, dsn: dsn}
	ctx, cancel := context.WithCancel(context.Background())
	s.wg.Go(func() { s.accept(ctx) })
	return func() error {
		cancel()
		err := listener.Close()
		s.wg.Wait()
		return err
	}, nil
}

func (s *driverServer) accept(ctx context.Context) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			ended := context.AfterFunc(ctx, func() { conn.Close() })
			_ = s.serve(ctx, conn)
			conn.Close()
			ended()
		})
	}
}

func (s *driverServer) serve(ctx context.Context, conn net.Conn) error {
	f := &framer{conn: conn, buf: make([]byte, 512)}
	if err := upgrade(f); err != nil {
		return err
	}
	db, err := pgconn.Connect(ctx, s.dsn)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	for {
		r, err := nextRequest(f)
		if err != nil {
			return err
		}
		if r.Type != "stream_query" {
			return fmt.Errorf("a request %q", r.Type)
		}
		if err := read(ctx, f, db, r); err != nil {
			return err
		}
	}
}

// nextRequest takes the next request.
func nextRequest(f *framer) (*request, error) {
	for {
		op, payload, err := f.next()
		if err != nil {
			return nil, err
		}
		switch op {
		case opClose:
			return nil, net.ErrClosed
		case opText:
			r := new(request)
			return r, json.Unmarshal(payload, r)
		}
	}
}

// read runs a query, with values in the format that costs the least. Where the client grants credit, it stops after a batch until the
// client cancels.
func read(ctx context.Context, f *framer, db *pgconn.PgConn, r *request) error {
	rows := db.ExecParams(ctx, "select "+columns+" from readings limit $1", [][]byte{fmt.Append(nil, r.Params.N)}, nil, nil,
		[]int16{pgtype.BinaryFormatCode})
	var n int64
	for n < batchRows && rows.NextRow() {
		n++
	}
	if err := tell(f, protocol.AppendQueryStarted(nil, protocol.QueryStarted{StreamID: theStream, Query: r.Query})); err != nil {
		return err
	}
	if r.Credits != nil {
		if _, err := nextRequest(f); err != nil {
			return err
		}
		if err := db.CancelRequest(ctx); err != nil {
			return err
		}
		var failed *pgconn.PgError
		if _, err := rows.Close(); err != nil && !errors.As(err, &failed) {
			return err
		}
		return tell(f, protocol.AppendQueryCancelled(nil, theStream, "client", n, ""))
	}
	for rows.NextRow() {
		n++
	}
	if _, err := rows.Close(); err != nil {
		return err
	}
	return tell(f, protocol.AppendQueryCompleted(nil, protocol.QueryCompleted{StreamID: theStream, Rows: n}))
}

// theStream is the id of every stream of the servers to compare with, whose clients have one at a time.
const theStream = "6f1c1d5e-3a52-4f0e-9d1b-5d3c0b7a9e10"

func tell(f *framer, msg []byte) error {
	_, err := f.conn.Write(appendFrame(nil, opText, msg, false))
	return err
}
