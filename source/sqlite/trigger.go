package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// lookInterval is how often the database file is looked at for changes. A look costs a few microseconds.
const lookInterval = 10 * time.Millisecond

// OnTable implements stream.TableTeller. SQLite tells that the file has been changed, by whatever connection of whatever process, but
// not in which table: any change calls.
func (s *Source) OnTable(ctx context.Context, table string) (stream.Trigger, error) {
	if s.pool == nil {
		return nil, errors.New("the SQLite source is not provisioned")
	}
	param := []stream.Param{{Name: "name", Type: stream.TypeText}}
	statement, err := prepare(ctx, s.pool, false, "select 1 from sqlite_schema where type in ('table', 'view') and name = @name collate nocase", param)
	if err != nil {
		return nil, fmt.Errorf("SQLite: %w", err)
	}
	rows, err := statement.Query(ctx, stream.Run{Args: []stream.Value{{Type: stream.TypeText, Text: table}}})
	if err != nil {
		return nil, fmt.Errorf("SQLite: %w", err)
	}
	there := rows.Next()
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("SQLite: %w", err)
	}
	if !there {
		return nil, fmt.Errorf("SQLite: there is no table %q", table)
	}
	return s.changes, nil
}

// watchFile calls changed whenever the database has been changed, until ctx ends. It has a connection of its own, beside the pool's.
func (s *Source) watchFile(ctx context.Context, changed func()) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	var c *conn
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	version, known := int64(0), false
	for {
		var err error
		if c == nil {
			c, err = s.pool.dial(false)
		}
		var now int64
		if err == nil {
			now, err = c.dataVersion(ctx)
		}
		switch {
		case err != nil && c != nil:
			c.close()
			c, known = nil, false // what the next connection counts has nothing to do with it
		case err != nil:
			c = nil
		case !known || now != version:
			// Also at the beginning: what changed before it may have been after a first run.
			version, known = now, true
			changed()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// dataVersion is a number that changes when another connection has changed the database.
func (c *conn) dataVersion(ctx context.Context) (int64, error) {
	st, _, err := c.prepare(ctx, "pragma data_version")
	if err != nil {
		return 0, err
	}
	defer st.finalize()
	if _, err := st.step(ctx); err != nil {
		return 0, err
	}
	return st.columnInt64(0), nil
}

// Impersonal tells that the rows are the same for every user; see stream.Impersonal.
func (*statement) Impersonal() bool { return true }

var _ stream.TableTeller = (*Source)(nil)
