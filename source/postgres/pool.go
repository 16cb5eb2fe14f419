package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

const (
	connectTimeout = 10 * time.Second
	// cancelPatience is how long a cancelled query may take to end before its connection is cut instead.
	cancelPatience = 2 * time.Second
	// cancelAgain is when a query that has not ended is cancelled again: the database ignores what comes before it has begun.
	cancelAgain = 50 * time.Millisecond
	// closePatience bounds what ends a transaction or a connection.
	closePatience = 5 * time.Second
	// idleTime is how long a connection is kept that nobody uses.
	idleTime = 5 * time.Minute
	// maxMessage is the longest message of the database that is read: a row of the longest kind that a stream sends, in hex digits.
	maxMessage = 40 << 20
)

// parseDSN reads a connection string and adds what the source stands on: how values look as text, and that a cancelled context
// cancels the query and not the connection.
func parseDSN(dsn string) (*pgconn.Config, error) {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		// The library masks passwords only where it can tell them.
		return nil, errors.New("dsn: it is no connection string of PostgreSQL")
	}
	// Those that PgBouncer passes on; the others are set in each transaction.
	for name, value := range map[string]string{
		"client_encoding": "UTF8", "DateStyle": "ISO, YMD", "TimeZone": "UTC", "standard_conforming_strings": "on",
	} {
		config.RuntimeParams[name] = value
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "neuroquantum_ws"
	}
	if config.ConnectTimeout == 0 || config.ConnectTimeout > connectTimeout {
		config.ConnectTimeout = connectTimeout
	}
	config.MaxProtocolMessageBodyLen = maxMessage
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &canceller{conn: c}
	}
	return config, nil
}

// conn is a connection, used by one goroutine at a time.
type conn struct {
	*pgconn.PgConn
	reused bool      // it may have broken unseen since it was last used
	since  time.Time // when it became idle
}

func (c *conn) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	// The error is that of a connection that was broken already.
	_ = c.Close(ctx)
	select {
	case <-c.CleanupDone():
	case <-ctx.Done():
	}
}

// canceller cancels what runs on a connection when its context ends. The library's own sends one request, which is lost where it
// overtakes the query, and then waits 100 ms in case it is late. Here the rollback that follows keeps a late one from the next query:
// once a request has returned, its signal goes before whatever is asked after it.
type canceller struct {
	conn *pgconn.PgConn
	stop chan struct{}
	done chan struct{}
}

// HandleCancel implements ctxwatch.Handler.
func (h *canceller) HandleCancel(context.Context) {
	h.stop, h.done = make(chan struct{}), make(chan struct{})
	deadline := time.Now().Add(cancelPatience)
	// It fails only on a connection that is closed already.
	_ = h.conn.Conn().SetDeadline(deadline)
	go h.run(deadline, h.stop, h.done)
}

func (h *canceller) run(deadline time.Time, stop, done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	for ctx.Err() == nil {
		// Where no request gets through, the deadline cuts the connection.
		_ = h.conn.CancelRequest(ctx)
		select {
		case <-stop:
			return
		case <-time.After(cancelAgain):
		}
	}
}

// HandleUnwatchAfterCancel implements ctxwatch.Handler.
func (h *canceller) HandleUnwatchAfterCancel() {
	close(h.stop)
	<-h.done
	_ = h.conn.Conn().SetDeadline(time.Time{})
}

var _ ctxwatch.Handler = (*canceller)(nil)

// errBusy is get's error where no connection became free in time.
var errBusy = errors.New("no connection became free in time")

// pool lends connections, at most so many at once.
type pool struct {
	config *pgconn.Config
	free   chan struct{} // holds a token for each connection that is lent

	mu     sync.Mutex
	idle   []*conn // the one that was used last stands last
	sweep  *time.Timer
	closed bool
}

func newPool(limit int, config *pgconn.Config) *pool {
	return &pool{config: config, free: make(chan struct{}, limit)}
}

// get waits for a connection until ctx is done, at most for patience. A closed pool still lends, for queries that began under a
// configuration which has been replaced meanwhile.
func (p *pool) get(ctx context.Context, patience time.Duration) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case p.free <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, errBusy
	}
	c, err := p.open(ctx)
	if err != nil {
		<-p.free
	}
	return c, err
}

// open gives an idle connection or makes one; the caller holds a token.
func (p *pool) open(ctx context.Context) (*conn, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		c.reused = true
		return c, nil
	}
	p.mu.Unlock()
	return p.dial(ctx)
}

func (p *pool) dial(ctx context.Context) (*conn, error) {
	c, err := pgconn.ConnectConfig(ctx, p.config)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return &conn{PgConn: c}, nil
}

// renew replaces a lent connection that turned out to be broken, keeping its token; on an error the token is given back.
func (p *pool) renew(ctx context.Context, c *conn) (*conn, error) {
	c.close()
	c, err := p.dial(ctx)
	if err != nil {
		<-p.free
	}
	return c, err
}

// put takes a connection back; one that is broken or in the middle of something is closed.
func (p *pool) put(c *conn) {
	healthy := !c.IsClosed() && !c.IsBusy() && c.TxStatus() == 'I'
	c.since = time.Now()
	p.mu.Lock()
	keep := healthy && !p.closed
	if keep {
		p.idle = append(p.idle, c)
		if p.sweep == nil {
			p.sweep = time.AfterFunc(idleTime, p.closeIdle)
		}
	}
	p.mu.Unlock()
	if !keep {
		c.close()
	}
	<-p.free
}

// discard closes a lent connection.
func (p *pool) discard(c *conn) {
	c.close()
	<-p.free
}

// closeIdle closes connections that nobody has used for long.
func (p *pool) closeIdle() {
	p.mu.Lock()
	var old []*conn
	for len(p.idle) > 0 && time.Since(p.idle[0].since) >= idleTime {
		old = append(old, p.idle[0])
		p.idle = p.idle[1:]
	}
	p.sweep = nil
	if len(p.idle) > 0 {
		p.sweep = time.AfterFunc(idleTime-time.Since(p.idle[0].since), p.closeIdle)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// close closes the connections that nobody uses now, and makes those that are lent close when they come back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	if p.sweep != nil {
		p.sweep.Stop()
	}
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}
