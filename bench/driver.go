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
	config, err := pgconn.ParseConfig(s.dsn)
	if err != nil {
		return err
	}
	config.RuntimeParams["application_name"] = backendName
	db, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	ctx, cancel := context.WithCancel(ctx)
	requests := make(chan *request)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer conn.Close()
	wg.Go(func() {
		defer cancel()
		_ = receive(ctx, f, requests)
	})
	for {
		select {
		case r := <-requests:
			if r.Type != "stream_query" {
				return fmt.Errorf("a request %q", r.Type)
			}
			if err := read(ctx, f, db, r, requests); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// receive takes requests until the client is gone.
func receive(ctx context.Context, f *framer, requests chan<- *request) error {
	for {
		op, payload, err := f.next()
		if err != nil || op == opClose {
			return err
		}
		if op != opText {
			continue
		}
		r := new(request)
		if err := json.Unmarshal(payload, r); err != nil {
			return err
		}
		select {
		case requests <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errNotCancelled = errors.New("the query was not cancelled")

// read runs a query, with values in the format that costs the least, until its end or until the next request, which cancels it. Where
// the client grants credit, it reads no more than a batch. The client hears of it when the batch is there, or, where there is a lot to
// compute before, at once.
func read(ctx context.Context, f *framer, db *pgconn.PgConn, r *request, requests <-chan *request) error {
	sql, args, early := "select "+columns+" from readings limit $1", [][]byte{fmt.Append(nil, r.Params.N)}, 0
	if r.Query == computing {
		sql, args = computingSQL, nil
	} else {
		early = batchRows
	}
	rows := db.ExecParams(ctx, sql, args, nil, nil, []int16{pgtype.BinaryFormatCode})
	stopped, finished := make(chan error, 1), make(chan struct{})
	go func() {
		select {
		case <-requests:
			stopped <- db.CancelRequest(ctx)
		case <-finished:
			stopped <- errNotCancelled
		case <-ctx.Done():
			stopped <- ctx.Err()
		}
	}()
	n := 0
	for n < early && rows.NextRow() {
		n++
	}
	told := tell(f, protocol.AppendQueryStarted(nil, protocol.QueryStarted{StreamID: theStream, Query: r.Query}))
	var outcome error
	if r.Credits != nil {
		outcome = <-stopped
	} else {
		for rows.NextRow() {
			n++
		}
	}
	_, err := rows.Close()
	close(finished)
	if r.Credits == nil {
		outcome = <-stopped
	}
	var failed *pgconn.PgError
	switch {
	case told != nil:
		return told
	case outcome == nil && (err == nil || errors.As(err, &failed)):
		return tell(f, protocol.AppendQueryCancelled(nil, theStream, "client", int64(n), ""))
	case errors.Is(outcome, errNotCancelled) && err == nil:
		return tell(f, protocol.AppendQueryCompleted(nil, protocol.QueryCompleted{StreamID: theStream, Rows: int64(n)}))
	default:
		return errors.Join(outcome, err)
	}
}

// theStream is the id of every stream of the servers to compare with, whose clients have one at a time.
const theStream = "6f1c1d5e-3a52-4f0e-9d1b-5d3c0b7a9e10"

func tell(f *framer, msg []byte) error {
	_, err := f.conn.Write(appendFrame(nil, opText, msg, false))
	return err
}
