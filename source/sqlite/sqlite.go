// Package sqlite is the guest module http.handlers.neuroquantum_ws.sources.sqlite: an SQLite database file as a source of
// queries. It only ever reads.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func init() {
	caddy.RegisterModule(new(Source))
}

const (
	defaultConnections = 8
	maxConnections     = 1000
	defaultBusyTimeout = 5 * time.Second
	defaultRawValue    = 64 << 10
	maxRawValue        = 1 << 20
)

// Source is an SQLite database file, opened read-only. It is safe for concurrent use once it is provisioned.
//
// Values become JSON by how they are stored: integers and floats as numbers, text as strings, blobs as base64, NULL as null.
// Columns declared BOOLEAN give true and false for 1 and 0, columns declared JSON their JSON where it is valid. A timestamp
// parameter is bound as text, RFC 3339 in UTC.
type Source struct {
	// Path is the database file, which must exist. Relative paths start at the server's working directory; placeholders such as
	// {env.DB} are replaced when the configuration is loaded.
	Path string `json:"path"`
	// MaxConnections is how many queries may run at once; others wait for their turn. Default: 8. At most 1000.
	MaxConnections int `json:"max_connections,omitempty"`
	// BusyTimeout is how long a query waits for another process that holds a lock on the database. Default: 5s.
	BusyTimeout caddy.Duration `json:"busy_timeout,omitempty"`

	// MaxRawValue is the longest value, row and statement in bytes of statements that clients write themselves. It bounds the time that
	// a single call of a function can take, which cannot be cancelled: at 1 MiB that may be seconds. Default: 64 KiB. At most 1 MiB.
	MaxRawValue int64 `json:"max_raw_value,omitempty"`

	pool    *pool
	changes stream.Trigger
}

// CaddyModule returns the Caddy module information.
func (*Source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.neuroquantum_ws.sources.sqlite",
		New: func() caddy.Module { return new(Source) },
	}
}

// Provision opens the database. It fails where the file is missing or is no database.
func (s *Source) Provision(caddy.Context) error {
	path, err := caddy.NewReplacer().ReplaceOrErr(s.Path, true, true)
	if err != nil {
		return fmt.Errorf("path of the SQLite database: %w", err)
	}
	if path == "" {
		return errors.New("the SQLite database has no path")
	}
	switch {
	case s.MaxConnections == 0:
		s.MaxConnections = defaultConnections
	case s.MaxConnections < 0 || s.MaxConnections > maxConnections:
		return fmt.Errorf("max_connections must be from 1 to %d", maxConnections)
	}
	switch {
	case s.MaxRawValue == 0:
		s.MaxRawValue = defaultRawValue
	case s.MaxRawValue < 0 || s.MaxRawValue > maxRawValue:
		return fmt.Errorf("max_raw_value must be from 1 to %d bytes", maxRawValue)
	}
	busyTimeout := time.Duration(s.BusyTimeout)
	if busyTimeout < 0 {
		return errors.New("busy_timeout must not be negative")
	}
	if busyTimeout == 0 {
		busyTimeout = defaultBusyTimeout
	}
	// SQLite would take a folder for a database until its first read.
	if info, err := os.Stat(path); err != nil {
		return fmt.Errorf("SQLite database: %w", err)
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("SQLite database %s is not a file", path)
	}
	s.pool = newPool(s.MaxConnections, s.MaxRawValue, func(raw bool) (*conn, error) {
		if raw {
			return open(path, busyTimeout, s.MaxRawValue)
		}
		return open(path, busyTimeout, 0)
	})
	s.changes = stream.Share(s.watchFile)
	c, err := s.pool.get(context.Background(), false)
	if err != nil {
		return fmt.Errorf("SQLite database %s: %w", path, err)
	}
	s.pool.put(c, true)
	return nil
}

// Cleanup closes the database. A query that still runs goes on to its end, and its connection is closed then.
func (s *Source) Cleanup() error {
	if s.pool != nil {
		s.pool.close()
	}
	return nil
}

// Prepare checks that text is one select of this database whose placeholders are exactly @names of params.
func (s *Source) Prepare(ctx context.Context, text stream.Text, params []stream.Param) (stream.Statement, error) {
	if s.pool == nil {
		return nil, errors.New("the SQLite source is not provisioned")
	}
	if text.URL != "" || text.Body != "" {
		return nil, errors.New("SQLite takes sql, and no url or body")
	}
	st, err := prepare(ctx, s.pool, false, text.SQL, params)
	if err != nil {
		return nil, fmt.Errorf("SQLite: %w", err)
	}
	return st, nil
}

var (
	_ caddy.Module       = (*Source)(nil)
	_ caddy.Provisioner  = (*Source)(nil)
	_ caddy.CleanerUpper = (*Source)(nil)
	_ stream.Source      = (*Source)(nil)
)
