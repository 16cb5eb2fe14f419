package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// What a query of PostgreSQL is doing when it is cancelled.
const (
	computing = "computing" // no row yet
	streaming = "streaming" // rows come as fast as the client takes them
	paused    = "paused"    // the client has granted credit for one batch: the database waits for somebody to read
)

const underWay = 20 // batches that a client has when a query is taken to be streaming

func doing(what string) subject { return subject{name: what, server: "caddy", source: "postgres"} }

// cancel measures how long the database goes on after a query was cancelled, and after its client is gone.
func cancel(ctx context.Context, z *sizes, s subject, p *process) ([]value, error) {
	w, err := watch(ctx, p.data)
	if err != nil {
		return nil, err
	}
	defer w.conn.Close(context.WithoutCancel(ctx))
	var idle, told, gone []time.Duration
	for i := range z.cancels + 1 {
		one, err := w.cancelled(ctx, p, s.name, false)
		if err != nil {
			return nil, fmt.Errorf("cancelling: %w", err)
		}
		other, err := w.cancelled(ctx, p, s.name, true)
		if err != nil {
			return nil, fmt.Errorf("closing: %w", err)
		}
		if i > 0 { // the first ones have the server connect
			idle, told, gone = append(idle, one.idle), append(told, one.told), append(gone, other.idle)
		}
	}
	var values []value
	for _, of := range []struct {
		name  string
		times []time.Duration
	}{{"cancel_query to idle", idle}, {"cancel_query to query_cancelled", told}, {"client killed to idle", gone}} {
		values = append(values,
			value{of.name + ", p50", "ms", milliseconds(quantile(of.times, 0.5))},
			value{of.name + ", p99", "ms", milliseconds(quantile(of.times, 0.99))})
	}
	return values, nil
}

// stopped is how long it took until the database was idle, and until the client was told.
type stopped struct{ idle, told time.Duration }

// cancelled runs one query and stops it: by cancel_query, or by cutting the client's connection.
func (w *watcher) cancelled(ctx context.Context, p *process, what string, kill bool) (stopped, error) {
	c, err := dialStreams(ctx, p)
	if err != nil {
		return stopped{}, err
	}
	defer c.close()
	query, credits := "endless", noCredit
	switch what {
	case computing:
		query = "computing"
	case paused:
		credits = 1
	}
	if err := c.ask(query, "{}", batchRows, credits); err != nil {
		return stopped{}, err
	}
	e, err := c.await("started")
	if err != nil {
		return stopped{}, err
	}
	id := string(e.stream)
	r := follow(c)
	defer r.close()
	switch what {
	case computing:
		_, err = w.until(ctx, isComputing)
	case streaming:
		err = r.streams(ctx)
	case paused:
		_, err = w.until(ctx, isBlocked)
	}
	if err != nil {
		return stopped{}, err
	}
	start := time.Now()
	if kill {
		c.close()
	} else if err := c.cancel(id); err != nil {
		return stopped{}, err
	}
	at, err := w.until(ctx, isIdle)
	if err != nil || kill {
		return stopped{idle: at.Sub(start)}, err
	}
	<-r.done
	return stopped{idle: at.Sub(start), told: r.told.Sub(start)}, r.failed
}

// follower reads a stream to its query_cancelled.
type follower struct {
	client *client
	under  chan struct{} // closed when the stream is under way
	done   chan struct{} // closed at the end
	told   time.Time
	failed error
}

func follow(c *client) *follower {
	r := &follower{client: c, under: make(chan struct{}), done: make(chan struct{})}
	go r.run()
	return r
}

func (r *follower) run() {
	defer close(r.done)
	var t tally
	for {
		e, err := r.client.event()
		switch {
		case err != nil:
			r.failed = err
			return
		case e.kind == "cancelled":
			r.told = time.Now()
			return
		case e.kind == "batch":
			if t.batches++; t.batches == underWay {
				close(r.under)
			}
		}
	}
}

// streams waits until the stream is under way.
func (r *follower) streams(ctx context.Context) error {
	select {
	case <-r.under:
		return nil
	case <-r.done:
		return fmt.Errorf("the stream has ended: %w", r.failed)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *follower) close() {
	r.client.close()
	<-r.done
}

// watcher sees what the server's connections to PostgreSQL are doing, by asking again and again.
type watcher struct{ conn *pgconn.PgConn }

// Questions to the database, about the backends of a Caddy. One whose query has just begun has not come to its work yet.
const (
	isIdle      = "idle"
	isComputing = "computing"
	isBlocked   = "blocked"
	backends    = "exists (select from pg_stat_activity where application_name = 'neuroquantum_ws' and state %s)"
)

var questions = map[string]string{
	isIdle:      "select not " + fmt.Sprintf(backends, "<> 'idle'"),
	isComputing: "select " + fmt.Sprintf(backends, "= 'active' and clock_timestamp() - state_change > interval '10 ms'"),
	isBlocked:   "select " + fmt.Sprintf(backends, "= 'active' and wait_event = 'ClientWrite'"),
}

func watch(ctx context.Context, data *databases) (*watcher, error) {
	dsn, err := data.postgres(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	for name, sql := range questions {
		if _, err := conn.Prepare(ctx, name, sql, nil); err != nil {
			return nil, err
		}
	}
	return &watcher{conn}, nil
}

// until asks until the answer is yes, and says when it came.
func (w *watcher) until(ctx context.Context, question string) (time.Time, error) {
	tick := time.NewTicker(time.Millisecond) // what asks more often takes the processor from what it watches
	defer tick.Stop()
	for {
		answer := w.conn.ExecPrepared(ctx, question, nil, nil, nil).Read()
		at := time.Now()
		if answer.Err != nil {
			return at, answer.Err
		}
		if len(answer.Rows) == 1 && string(answer.Rows[0][0]) == "t" {
			return at, nil
		}
		<-tick.C
	}
}
