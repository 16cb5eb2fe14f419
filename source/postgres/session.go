package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
	"go.uber.org/zap"
)

const (
	// beatInterval is the longest time between two reports of how far the log has been read, each of which the server answers.
	beatInterval = 10 * time.Second
	// silence is how long the server may say nothing before the connection is given up.
	silence = 3 * beatInterval
	// slotPatience is how long making a slot may take before the log says what it waits for, and slotPolling how often watched queries
	// run meanwhile.
	slotPatience = 10 * time.Second
	slotPolling  = time.Second
)

// session reads the change feed over one connection, with a slot that lives as long as that. A second connection asks the database what
// it needs to know meanwhile.
type session struct {
	*reader
	down time.Time // since when nothing has been read; zero where nothing was before
	up   bool      // it began to read

	log    *pgconn.PgConn // the change feed
	ask    *conn
	eyes   eyes
	beat   time.Duration
	tables map[uint32]*relation

	// The transaction that is being read.
	sent    uint64 // when the message was, by the server's clock in microseconds
	xid     uint32
	seen    bool // others see it
	touched map[*listener]struct{}
	row     walRow

	position atomic.Uint64 // what has been read up to, as told to the server
	sending  sync.Mutex    // to the server
}

// run reads until ctx ends or something is wrong.
func (s *session) run(ctx context.Context) error {
	ask, err := pgconn.ConnectConfig(ctx, s.config)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	s.ask = &conn{PgConn: ask}
	s.eyes.query = s.query
	defer func() { s.ask.close() }()
	facts, err := lookPublication(ctx, s.ask, s.publication)
	if err != nil {
		return err
	}
	s.beat = beatInterval
	if facts.timeout > 0 {
		s.beat = min(s.beat, max(facts.timeout/3, 100*time.Millisecond))
	}
	config := s.config.Copy()
	config.RuntimeParams["replication"] = "database"
	config.RuntimeParams["bytea_output"], config.RuntimeParams["extra_float_digits"] = "hex", "1"
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}
	}
	if s.log, err = pgconn.ConnectConfig(ctx, config); err != nil {
		return fmt.Errorf("connecting for replication: %w", err)
	}
	defer (&conn{PgConn: s.log}).close()
	if err := s.start(ctx); err != nil {
		return err
	}
	s.tellUp()
	return s.read(ctx)
}

// query asks the database beside the change feed. The connection for it is often idle for long: one that is found to be gone is replaced.
func (s *session) query(ctx context.Context, text string, args [][]byte) ([][][]byte, error) {
	result := s.ask.ExecParams(ctx, text, args, nil, nil, nil).Read()
	if result.Err != nil && s.ask.IsClosed() && ctx.Err() == nil {
		fresh, err := pgconn.ConnectConfig(ctx, s.config)
		if err != nil {
			return nil, fmt.Errorf("connecting: %w", err)
		}
		s.ask.close()
		s.ask = &conn{PgConn: fresh}
		result = s.ask.ExecParams(ctx, text, args, nil, nil, nil).Read()
	}
	return result.Rows, result.Err
}

// start makes a slot and begins to read behind it. What others do not see yet of what was committed before is waited for, as it will not
// be told: whoever looks after start has returned sees it.
func (s *session) start(ctx context.Context) error {
	slot, err := s.makeSlot(ctx)
	if err != nil {
		return err
	}
	at, err := pglogrepl.ParseLSN(slot.ConsistentPoint)
	if err != nil {
		return fmt.Errorf("making a replication slot: %w", err)
	}
	before, err := s.exported(ctx, slot.SnapshotName)
	if err != nil {
		return fmt.Errorf("taking the snapshot of the slot: %w", err)
	}
	if err := s.eyes.untilAll(ctx, before); err != nil {
		return err
	}
	names := strings.ReplaceAll(quoteIdentifier(s.publication), "'", "''")
	err = pglogrepl.StartReplication(ctx, s.log, slot.SlotName, at, pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: []string{"proto_version '1'", "publication_names '" + names + "'"},
	})
	if err != nil {
		return fmt.Errorf("starting replication: %w", err)
	}
	s.position.Store(uint64(at))
	return nil
}

// makeSlot waits for all transactions that write when it begins, which may take long; watched queries run at intervals meanwhile.
func (s *session) makeSlot(ctx context.Context) (pglogrepl.CreateReplicationSlotResult, error) {
	type made struct {
		slot pglogrepl.CreateReplicationSlotResult
		err  error
	}
	done := make(chan made, 1)
	go func() {
		var m made
		m.slot, m.err = pglogrepl.CreateReplicationSlot(ctx, s.log, slotName(), "pgoutput", pglogrepl.CreateReplicationSlotOptions{
			Temporary: true, Mode: pglogrepl.LogicalReplication, SnapshotAction: "EXPORT_SNAPSHOT",
		})
		done <- m
	}()
	tick := time.NewTicker(slotPolling)
	defer tick.Stop()
	warn := time.NewTimer(slotPatience)
	defer warn.Stop()
	for {
		select {
		case m := <-done: // it ends with ctx
			if m.err == nil {
				return m.slot, nil
			}
			if ctx.Err() != nil { // the server would go on waiting
				cancel, stop := context.WithTimeout(context.Background(), closePatience)
				defer stop()
				_ = s.log.CancelRequest(cancel) // there is nothing to be done where it fails
			}
			return m.slot, fmt.Errorf("making a replication slot: %w", m.err)
		case <-tick.C:
			s.tellAll()
		case <-warn.C:
			s.reader.log.Load().Warn("the change feed waits for transactions that were open before it (see xact_start in pg_stat_activity)",
				zap.String("publication", s.publication))
		}
	}
}

// exported gives the snapshot that was exported with the slot: it sees exactly what the slot will not tell.
func (s *session) exported(ctx context.Context, name string) (snapshot, error) {
	results, err := s.ask.Exec(ctx, "begin transaction isolation level repeatable read, read only; set transaction snapshot '"+
		strings.ReplaceAll(name, "'", "''")+"'; select pg_catalog.pg_current_snapshot()::text; commit").ReadAll()
	if err != nil {
		return snapshot{}, err
	}
	return parseSnapshot(string(results[2].Rows[0][0]))
}

// tellUp tells what there is to tell once reading begins.
func (s *session) tellUp() {
	s.up = true
	s.counts.up.Store(true)
	s.counts.delay.Store(0)
	s.tables, s.touched = make(map[uint32]*relation), make(map[*listener]struct{})
	s.tellAll()
	log := s.reader.log.Load().With(zap.String("publication", s.publication))
	if s.down.IsZero() {
		log.Info("the change feed is up")
		return
	}
	if feeds := s.feeds(); len(feeds) > 0 {
		log.Error("the change feed is up again; what was committed in between has not been published",
			zap.Time("since", s.down), zap.Strings("tables", feeds))
		return
	}
	log.Info("the change feed is up again")
}

// read handles what the server sends. It does not read while a change is being published: so the server waits, too.
func (s *session) read(ctx context.Context) error {
	socket := s.log.Conn()
	ctx, cancel := context.WithCancel(ctx)
	wake := context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Unix(1, 0)) }) // it fails on a closed socket only
	defer wake()
	var beats sync.WaitGroup
	defer beats.Wait()
	defer cancel()
	beats.Go(func() { s.keepAlive(ctx) })
	for {
		// It fails on a closed socket only, which the next line says as well.
		_ = socket.SetReadDeadline(time.Now().Add(silence))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		msg, err := s.log.ReceiveMessage(context.Background())
		if err != nil {
			if ctx.Err() == nil && pgconn.Timeout(err) {
				return fmt.Errorf("the server has said nothing for %v", silence)
			}
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.CopyData:
			err = s.handle(ctx, msg.Data)
		case *pgproto3.ErrorResponse:
			err = pgconn.ErrorResponseToPgError(msg)
		case *pgproto3.CopyDone:
			err = errors.New("the server has ended the change feed")
		}
		if err != nil {
			return err
		}
	}
}

// keepAlive tells the server at intervals how far it has been read, also while a change waits for being published: else the server
// would take this for dead.
func (s *session) keepAlive(ctx context.Context) {
	tick := time.NewTicker(s.beat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if s.report(true) != nil {
				return // reading says why
			}
		case <-ctx.Done():
			return
		}
	}
}

// report tells the server how far the log has been read. Unlike all else of the connection it may be called at any time: it writes to the
// socket at once.
func (s *session) report(answer bool) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	at := pglogrepl.LSN(s.position.Load())
	return pglogrepl.SendStandbyStatusUpdate(context.Background(), s.log, pglogrepl.StandbyStatusUpdate{WALWritePosition: at, ReplyRequested: answer})
}

// handle takes one message of replication.
func (s *session) handle(ctx context.Context, data []byte) error {
	if len(data) == 0 {
		return errMalformed
	}
	switch data[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		alive, err := pglogrepl.ParsePrimaryKeepaliveMessage(data[1:])
		if err != nil {
			return err
		}
		if s.xid == 0 { // nothing is missing before it
			s.counts.delay.Store(0)
			s.position.Store(max(s.position.Load(), uint64(alive.ServerWALEnd)))
		}
		if alive.ReplyRequested {
			return s.report(false)
		}
		return nil
	case pglogrepl.XLogDataByteID:
		const header = 24 // positions and the server's time
		if len(data) < 1+header+1 {
			return errMalformed
		}
		s.sent = binary.BigEndian.Uint64(data[1+16:])
		return s.decode(ctx, data[1+header:])
	}
	return nil
}

// decode takes one message of the plugin's.
func (s *session) decode(ctx context.Context, msg []byte) error {
	switch r := (walReader{rest: msg[1:]}); msg[0] {
	case walBegin:
		r.take(8) // where it ends
		committed := r.uint64()
		s.xid, s.seen = r.uint32(), false
		s.counts.delay.Store(max(0, int64(s.sent-committed)))
		return r.end()
	case walCommit:
		r.take(9) // flags, and where the commit stands
		end := r.uint64()
		s.position.Store(max(s.position.Load(), end))
		s.xid = 0
		return s.committed()
	case walRelation:
		t, err := readWALTable(msg)
		if err != nil {
			return err
		}
		return s.learn(ctx, t)
	case walInsert, walUpdate, walDelete:
		relation, err := s.find(r.uint32())
		if err != nil {
			return err
		}
		return s.changed(ctx, relation, msg)
	case walTruncate:
		ids, err := readTruncate(msg)
		if err != nil {
			return err
		}
		for _, id := range ids {
			relation, err := s.find(id)
			if err != nil {
				return err
			}
			if err := s.changed(ctx, relation, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// committed tells those whose tables the transaction has written to.
func (s *session) committed() error {
	s.counts.transactions.Add(1)
	if len(s.touched) > 0 {
		s.tell(s.touched)
		clear(s.touched)
	}
	return nil
}

// changed takes a change of a row of a table: its message, or nil where all rows went. The first of a transaction that anybody wants
// waits until others see the transaction.
func (s *session) changed(ctx context.Context, r *relation, msg []byte) error {
	s.match(r)
	if len(r.triggers) == 0 && len(r.feeds) == 0 {
		return nil
	}
	if !s.seen {
		if err := s.eyes.until(ctx, s.xid); err != nil {
			return err
		}
		s.seen = true
	}
	s.counts.changes.Add(1)
	for _, l := range r.triggers {
		s.touched[l] = struct{}{}
	}
	if len(r.feeds) == 0 {
		return nil
	}
	if msg == nil {
		for _, l := range r.feeds {
			l.give(&change{table: r.walTable, key: r.key})
		}
		return nil
	}
	if err := s.row.read(msg); err != nil {
		return err
	}
	for _, l := range r.feeds {
		l.give(&change{table: r.walTable, key: r.key, types: r.types, row: &s.row})
	}
	return nil
}
