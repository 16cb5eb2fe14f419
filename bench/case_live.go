package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/pgtest"
)

const (
	changeRate   = 10 * rate // changes of a database a second
	tickRows     = 20        // that are changed by turns, and are the whole result that is watched
	tickWriters  = 4         // connections to the database
	liveSettings = `
		source main postgres {
			dsn "%s"
			publication ticks
		}
		query folder {
			source main
			sql "select setting from pg_settings where name = 'unix_socket_directories'"
			allow anyone
		}
		query ticks {
			source main
			sql "select id, n from ticks order by id"
			allow anyone
			watch {
				key id
				on table ticks
				debounce 1ms
			}
		}
		feed ticks {
			source main
			table ticks id n
			publish ticks
		}
`
)

// startLive starts a PostgreSQL and a Caddy with this module before it.
func startLive(address string) (stop func() error, err error) {
	database, err := pgtest.Start()
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp("", "neuroquantum-ws-bench")
	if err == nil {
		_, err = database.Exec(context.Background(), fmt.Sprintf(`create table ticks (id int primary key, n bigint);
			insert into ticks select i, 0 from generate_series(0, %d) i; create publication ticks for table ticks`, tickRows-1))
	}
	if err == nil {
		err = loadCaddy(home, address, "http", fmt.Sprintf(liveSettings, database.DSN()))
	}
	stop = func() error {
		err := stopCaddy(home)
		database.Stop()
		return err
	}
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// changes measures from a change's statement, which commits it, until a client that watches, or one that is subscribed, has it. A change
// that another of the same row has overtaken is there with that.
func changes(ctx context.Context, z *sizes, s subject, p *process) ([]value, error) {
	c, err := dial(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer c.close()
	dsn, err := databaseOf(c)
	if err != nil {
		return nil, err
	}
	if s.special {
		err = c.subscribe("ticks")
	} else if err = c.send([]byte(`{"type":"watch","query":"ticks"}`)); err == nil {
		_, err = c.until("query_ready")
	}
	if err != nil {
		return nil, err
	}
	t := &ticks{sent: make([]time.Time, tickWriters+z.paced*changeRate/rate)}
	if err := t.warm(ctx, dsn, c); err != nil {
		return nil, err
	}
	var writers sync.WaitGroup
	failed := make([]error, tickWriters)
	began := time.Now()
	for w := range tickWriters {
		writers.Go(func() { failed[w] = t.write(ctx, dsn, w, began) })
	}
	err = t.take(c)
	writers.Wait()
	if err = errors.Join(append(failed, err)...); err != nil {
		return nil, err
	}
	return []value{
		{"commit to client p50", "ms", milliseconds(quantile(t.took, 0.5))},
		{"commit to client p99", "ms", milliseconds(quantile(t.took, 0.99))},
		{"commit to client max", "ms", milliseconds(quantile(t.took, 1))},
		{"commit itself p50", "ms", milliseconds(quantile(t.commits, 0.5))},
		{"commit itself p99", "ms", milliseconds(quantile(t.commits, 0.99))},
	}, nil
}

// until takes messages up to one of a type.
func (c *client) until(typ string) ([]byte, error) {
	for {
		msg, err := c.message()
		if err != nil || isType(msg, typ) {
			return msg, err
		}
		if isType(msg, "error") {
			return nil, fmt.Errorf("waiting for %s: got %s", typ, msg)
		}
	}
}

// databaseOf asks the server where its database is.
func databaseOf(c *client) (dsn string, err error) {
	if err := c.send([]byte(`{"type":"stream_query","query":"folder"}`)); err != nil {
		return "", err
	}
	msg, err := c.until("query_batch")
	if err != nil {
		return "", err
	}
	var batch struct {
		Rows []struct{ Setting string }
	}
	if err := json.Unmarshal(msg, &batch); err != nil || len(batch.Rows) != 1 {
		return "", fmt.Errorf("the server says %s: %w", msg, err)
	}
	_, err = c.until("query_completed")
	return "host=" + batch.Rows[0].Setting + " user=postgres dbname=postgres", err
}

// ticks are changes on their way. Number n is of row n modulo tickRows.
type ticks struct {
	took []time.Duration

	mu      sync.Mutex
	sent    []time.Time // by number; those that have arrived are zero
	commits []time.Duration
}

// warm writes until one change has arrived: the change feed takes a moment to begin.
func (t *ticks) warm(ctx context.Context, dsn string, c *client) error {
	arrived := make(chan error, 1)
	go func() {
		for {
			msg, err := c.message()
			if err != nil || bytes.Contains(msg, []byte(`"n":-`)) {
				arrived <- err
				return
			}
		}
	}()
	db, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := -1; ; n-- {
		if _, err := db.Exec(ctx, fmt.Sprintf("update ticks set n = %d where id = 0", n)).ReadAll(); err != nil {
			return err
		}
		select {
		case err := <-arrived:
			return err
		case <-tick.C:
		}
	}
}

// write makes every change of one writer's at its time.
func (t *ticks) write(ctx context.Context, dsn string, number int, began time.Time) error {
	db, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	for n := number; n < len(t.sent); n += tickWriters {
		select {
		case <-time.After(time.Until(began.Add(time.Duration(n) * time.Second / changeRate))):
		case <-ctx.Done():
			return ctx.Err()
		}
		sent := time.Now()
		t.mu.Lock()
		t.sent[n] = sent
		t.mu.Unlock()
		if _, err := db.Exec(ctx, fmt.Sprintf("update ticks set n = %d where id = %d", n, n%tickRows)).ReadAll(); err != nil {
			return err
		}
		t.mu.Lock()
		t.commits = append(t.commits, time.Since(sent))
		t.mu.Unlock()
	}
	return nil
}

// take takes messages until all changes have arrived.
func (t *ticks) take(c *client) error {
	for len(t.took) < len(t.sent) {
		msg, err := c.message()
		if err != nil {
			return fmt.Errorf("%d of %d changes have arrived: %w", len(t.took), len(t.sent), err)
		}
		now := time.Now()
		_, rest, found := bytes.Cut(msg, []byte(`"n":`))
		end := bytes.IndexAny(rest, "},")
		if !found || end < 0 {
			return fmt.Errorf("got %s", msg)
		}
		n, err := strconv.Atoi(string(rest[:end]))
		if err != nil {
			return fmt.Errorf("got %s", msg)
		}
		t.mu.Lock()
		for ; n >= 0 && n < len(t.sent); n -= tickRows {
			if t.sent[n].IsZero() {
				break
			}
			t.took = append(t.took, now.Sub(t.sent[n]))
			t.sent[n] = time.Time{}
		}
		t.mu.Unlock()
	}
	return nil
}
