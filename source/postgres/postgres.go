// Package postgres is the guest module http.handlers.neuroquantum_ws.sources.postgres: a PostgreSQL database as a source of queries.
// It only ever reads.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func init() {
	caddy.RegisterModule(new(Source))
}

const (
	defaultConnections     = 16
	maxConnections         = 1000
	maxFetch               = 1_000_000
	maxName                = 63 // bytes of an identifier
	defaultAcquireTimeout  = 10 * time.Second
	defaultFirstRowTimeout = time.Minute
	// loadTimeout is how long loading a configuration waits for a database that may be down.
	loadTimeout = 5 * time.Second
)

// Source is a PostgreSQL database. Each query runs in a read-only transaction of its own, under the role and the settings given
// here, which stand before anything else is asked. It is safe for concurrent use once it is provisioned.
//
// The database need not be up when the configuration is loaded: the queries are then checked when they first run.
type Source struct {
	// DSN is the connection string, postgres://… or key=value; placeholders such as {env.NQ_DSN} are replaced when the
	// configuration is loaded.
	DSN string `json:"dsn"`
	// MaxConnections is how many queries may run at once; others wait for their turn. Default: 16. At most 1000.
	MaxConnections int `json:"max_connections,omitempty"`
	// Role is the role that queries run under, of which the login must be a member. Default: the login's own.
	Role string `json:"role,omitempty"`
	// Set are settings of the database that stand while a query runs, for row-level security. Default: none.
	Set []Setting `json:"set,omitempty"`
	// Publication is that of the database whose tables' changes are told: `on table` and feeds of tables need it. The login needs the
	// attribute REPLICATION then. Default: none.
	Publication string `json:"publication,omitempty"`
	// FetchCursor makes queries run through a cursor that is read so many rows at a time. Default: 0, no cursor: rows come as the
	// client takes them, and the database plans for all of them, in parallel where that pays.
	FetchCursor int `json:"fetch_cursor,omitempty"`
	// AcquireTimeout is how long a query waits for a connection. Default: 10s.
	AcquireTimeout caddy.Duration `json:"acquire_timeout,omitempty"`
	// FirstRowTimeout is how long the database may take to give the first row. Default: 1m.
	FirstRowTimeout caddy.Duration `json:"first_row_timeout,omitempty"`

	log      *zap.Logger
	pool     *pool
	settings []setting
	types    *types
	reader   *reader       // of the change feed; nil without a publication
	feed     string        // its key
	budget   time.Duration // for an exact number of rows
	down     *atomic.Bool  // a Prepare did not reach the database: the others need not wait for it as well
}

// Setting is a setting of the database, such as nq.user, which a policy reads by current_setting('nq.user').
type Setting struct {
	// Name of the setting; those of one's own hold a dot.
	Name string `json:"name"`
	// Value may hold {user}, the name of the user that the query runs for (empty for an anonymous client), and placeholders such
	// as {env.SITE}, which are replaced when the configuration is loaded.
	Value string `json:"value"`
}

// setting is a Setting whose value has been taken apart at {user}.
type setting struct {
	name  string
	parts []string
}

// reserved are settings that the source itself stands on.
var reserved = []string{
	"role", "session_authorization", "client_encoding", "datestyle", "bytea_output", "extra_float_digits", "standard_conforming_strings",
	"transaction_read_only", "transaction_isolation", "transaction_deferrable", "backslash_quote",
}

func checkSettings(settings []Setting) error {
	for i, s := range settings {
		name := strings.ToLower(s.Name)
		if name == "" {
			return errors.New("set: a setting has no name")
		}
		if slices.Contains(reserved, name) {
			return fmt.Errorf("set: %s is not for configuration", s.Name)
		}
		if slices.ContainsFunc(settings[:i], func(o Setting) bool { return strings.EqualFold(o.Name, name) }) {
			return fmt.Errorf("set: %s is given twice", s.Name)
		}
	}
	return nil
}

// CaddyModule returns the Caddy module information.
func (*Source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.neuroquantum_ws.sources.postgres",
		New: func() caddy.Module { return new(Source) },
	}
}

// Provision checks the options. It does not wait for the database: that is Prepare's part.
func (s *Source) Provision(ctx caddy.Context) error {
	s.log = zap.NewNop()
	if ctx.Context != nil {
		s.log = ctx.Logger()
	}
	s.types = newTypes()
	s.budget = countBudget
	s.down = new(atomic.Bool)
	switch {
	case s.MaxConnections < 0 || s.MaxConnections > maxConnections:
		return fmt.Errorf("max_connections must be from 1 to %d", maxConnections)
	case s.FetchCursor < 0 || s.FetchCursor > maxFetch:
		return fmt.Errorf("fetch cursor must be from 1 to %d", maxFetch)
	case len(s.Publication) > maxName:
		return fmt.Errorf("publication must have 1 to %d bytes", maxName)
	case s.AcquireTimeout < 0 || s.FirstRowTimeout < 0:
		return errors.New("acquire_timeout and first_row_timeout must not be negative")
	}
	if s.MaxConnections == 0 {
		s.MaxConnections = defaultConnections
	}
	if s.AcquireTimeout == 0 {
		s.AcquireTimeout = caddy.Duration(defaultAcquireTimeout)
	}
	if s.FirstRowTimeout == 0 {
		s.FirstRowTimeout = caddy.Duration(defaultFirstRowTimeout)
	}
	if err := s.compileSettings(); err != nil {
		return err
	}
	dsn, err := caddy.NewReplacer().ReplaceOrErr(s.DSN, true, true)
	if err != nil {
		return fmt.Errorf("dsn: %w", err)
	}
	if dsn == "" {
		return errors.New("the PostgreSQL source has no dsn")
	}
	config, err := parseDSN(dsn)
	if err != nil {
		return err
	}
	s.pool = newPool(s.MaxConnections, config)
	if s.Publication != "" {
		key := s.Publication + " " + dsn
		if s.reader, err = openReader(key, config, s.Publication); err != nil {
			return err
		}
		s.feed = key
	}
	return nil
}

// compileSettings makes the list of what is set first in each transaction; the role goes before the others.
func (s *Source) compileSettings() error {
	if err := checkSettings(s.Set); err != nil {
		return err
	}
	s.settings = nil
	replacer := caddy.NewReplacer()
	if s.Role != "" {
		role, err := replacer.ReplaceOrErr(s.Role, true, true)
		if err != nil {
			return fmt.Errorf("role: %w", err)
		}
		s.settings = append(s.settings, setting{"role", []string{role}})
	}
	for _, set := range s.Set {
		parts := strings.Split(set.Value, "{user}")
		for i, part := range parts {
			text, err := replacer.ReplaceOrErr(part, true, true)
			if err != nil {
				return fmt.Errorf("set %s: %w", set.Name, err)
			}
			parts[i] = text
		}
		s.settings = append(s.settings, setting{set.Name, parts})
	}
	return nil
}

// Cleanup closes the connections. A query that still runs goes on to its end, and its connection is closed then.
func (s *Source) Cleanup() error {
	if s.pool != nil {
		s.pool.close()
	}
	if s.reader != nil {
		return closeReader(s.feed)
	}
	return nil
}

// Prepare checks that text is one select of this database whose placeholders are exactly @names of params. Where the database cannot
// be reached the check waits for the first run.
func (s *Source) Prepare(ctx context.Context, text stream.Text, params []stream.Param) (stream.Statement, error) {
	if s.pool == nil {
		return nil, errors.New("the PostgreSQL source is not provisioned")
	}
	if text.URL != "" || text.Body != "" {
		return nil, errors.New("PostgreSQL takes sql, and no url or body")
	}
	st, err := s.parse(text.SQL, params)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	if s.down.Load() {
		return st, nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	switch err := st.checkNow(ctx); {
	case err == nil:
	case unreachable(err):
		s.down.Store(true)
		s.log.Warn("the database cannot be reached; queries are checked when they first run", zap.Error(err))
	default:
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	return st, nil
}

var (
	_ caddy.Module       = (*Source)(nil)
	_ caddy.Provisioner  = (*Source)(nil)
	_ caddy.CleanerUpper = (*Source)(nil)
	_ stream.Source      = (*Source)(nil)
)
