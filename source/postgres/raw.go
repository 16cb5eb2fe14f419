package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// CheckRaw implements stream.RawSource.
func (s *Source) CheckRaw() error {
	if s.Role != "" || len(s.Set) > 0 {
		return errors.New("a source with role or set cannot take SQL of clients, which could set both anew; " +
			"give a source of its own a login that may read only what they may see")
	}
	return nil
}

// AllowRaw implements stream.RawSource. It warns of a login that may do more than read tables.
func (s *Source) AllowRaw(ctx context.Context) error {
	if s.pool == nil {
		return errors.New("the PostgreSQL source is not provisioned")
	}
	if s.down.Load() {
		s.log.Warn("the rights of the login that clients' own SQL runs under could not be checked")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	rights, err := s.dangerousRights(ctx)
	switch {
	case err == nil && rights != "":
		s.log.Warn("clients' own SQL runs under a login that may do more than read tables", zap.String("rights", rights))
	case err != nil && unreachable(err):
		s.down.Store(true)
		fallthrough
	case err != nil:
		s.log.Warn("the rights of the login that clients' own SQL runs under could not be checked", zap.Error(err))
	}
	return nil
}

// rightsQuery names what lets a login do more than its grants on tables say.
const rightsQuery = `
select pg_catalog.concat_ws(', ',
	case when r.rolsuper then 'superuser' end,
	case when r.rolcreaterole then 'createrole' end,
	case when r.rolreplication then 'replication' end,
	case when r.rolbypassrls then 'bypassrls' end,
	(select pg_catalog.string_agg(m.rolname, ', ' order by m.rolname) from pg_catalog.pg_roles m
		where m.rolname in ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend',
			'pg_read_all_data', 'pg_write_all_data', 'pg_database_owner', 'pg_read_all_stats', 'pg_monitor')
			and not r.rolsuper and pg_catalog.pg_has_role(r.oid, m.oid, 'member')))
from pg_catalog.pg_roles r where r.rolname = current_user`

func (s *Source) dangerousRights(ctx context.Context) (string, error) {
	t, err := s.begin(ctx, stream.Run{})
	if err != nil {
		return "", err
	}
	result := t.conn.ExecParams(ctx, rightsQuery, nil, nil, nil, nil).Read()
	if err := failure(ctx, errors.Join(result.Err, t.end())); err != nil {
		return "", err
	}
	if len(result.Rows) == 0 {
		return "", errors.New("the login is unknown to itself")
	}
	return string(result.Rows[0][0]), nil
}

// PrepareRaw implements stream.RawSource. The database sees the statement in the transaction that it then runs in.
func (s *Source) PrepareRaw(_ context.Context, sql string, params []stream.Param) (stream.Statement, error) {
	if s.pool == nil {
		return nil, errors.New("the PostgreSQL source is not provisioned")
	}
	st, err := s.parse(sql, params)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	st.raw = true
	return st, nil
}

// Gist is the error without the database's words, which may quote the statement and its values; empty where the database said
// nothing of the statement.
func (e *errorDB) Gist() string {
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	if !errors.As(e.cause, &pg) || errors.As(e.cause, &connect) || strings.HasPrefix(pg.Code, "57P") {
		return ""
	}
	return "PostgreSQL, " + e.kind + " (SQLSTATE " + pg.Code + ")"
}

var _ stream.RawSource = (*Source)(nil)
