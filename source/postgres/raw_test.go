package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// analystDSN is the connection string of a login that may read a table and nothing else.
func analystDSN(t testing.TB) string {
	t.Helper()
	execute(t, `do $$ begin
		if not exists (select from pg_roles where rolname = 'analyst') then
			create role analyst login;
			grant select on readings to analyst;
			create sequence numbers;
			grant all on sequence numbers to analyst;
			create table notes (id int);
			grant all on notes to analyst;
		end if; end $$`)
	return strings.Replace(server.DSN(), "user=postgres", "user=analyst", 1)
}

// runRaw runs a client's own statement to its end.
func runRaw(ctx context.Context, s *Source, sql string, params []stream.Param, args ...stream.Value) ([]string, error) {
	st, err := s.PrepareRaw(ctx, sql, params)
	if err != nil {
		return nil, err
	}
	r, err := st.Query(ctx, stream.Run{Args: args})
	if err != nil {
		return nil, err
	}
	return read(r)
}

func TestRawReads(t *testing.T) {
	for _, fetch := range []int{0, 2} {
		s := provision(t, &Source{DSN: analystDSN(t), FetchCursor: fetch})
		if err := errors.Join(s.CheckRaw(), s.AllowRaw(t.Context())); err != nil {
			t.Fatal(err)
		}
		for sql, want := range map[string]string{
			"select id from readings order by id; -- all":                                     "1 2 3 4 5",
			"with recursive c(i) as (select 1 union all select i + 1 from c) table c limit 2": "1 2",
			"(values (1), (2))":      "1 2",
			"table readings limit 0": "",
		} {
			if got, err := runRaw(t.Context(), s, sql, nil); err != nil || strings.Join(got, " ") != want {
				t.Errorf("%s: got %v, %v", sql, got, err)
			}
		}
		// Values have the types that the statement gives them, and are never part of it.
		params := []stream.Param{
			param("t", stream.TypeText), param("i", stream.TypeInteger), param("n", stream.TypeNumber), param("b", stream.TypeBoolean),
			param("at", stream.TypeText),
		}
		args := []stream.Value{
			text("'; drop table readings; --"), integer(5), {Type: stream.TypeNumber, Number: 0.625}, {Type: stream.TypeBoolean}, text("2026-01-31T22:35:00Z"),
		}
		got, err := runRaw(t.Context(), s, "select @t from readings where id = @i and value = @n and ok = @b and at = @at", params, args...)
		if err != nil || len(got) != 1 || got[0] != `"'; drop table readings; --"` {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

// What a client may not do, and what it is told.
func TestRawRefuses(t *testing.T) {
	s := provision(t, &Source{DSN: analystDSN(t)})
	id := []stream.Param{param("id", stream.TypeInteger)}
	for sql, want := range map[string]protocol.Code{
		"": protocol.QueryFailed, "select 1; select 2": protocol.QueryFailed, "select 1 /*": protocol.QueryFailed,
		"delete from notes": protocol.QueryFailed, "copy readings to stdout": protocol.QueryFailed, "do $$ begin end $$": protocol.QueryFailed,
		"begin": protocol.QueryFailed, "set role postgres": protocol.QueryFailed, "explain analyze select 1": protocol.QueryFailed,
		"listen x": protocol.QueryFailed, "prepare p as select 1": protocol.QueryFailed, "select from readings": protocol.QueryFailed,

		"select $1": protocol.InvalidParams, "select @other": protocol.InvalidParams,
		"select id from readings where ok = @id": protocol.InvalidParams, // an integer where a boolean must be
	} {
		params := []stream.Param(nil)
		args := []stream.Value(nil)
		if strings.Contains(sql, "@id") {
			params, args = id, []stream.Value{integer(1)}
		}
		_, err := runRaw(t.Context(), s, sql, params, args...)
		var bad *stream.TextError
		if !errors.As(err, &bad) || bad.Code != want {
			t.Errorf("%s: got %v", sql, err)
		}
	}
	if _, err := s.PrepareRaw(t.Context(), "select 1", id); err == nil {
		t.Error("an unused parameter passes")
	}
}

// What a select could do beside reading: the transaction is read-only, and the login may do no more than its grants say.
func TestRawOnlyReads(t *testing.T) {
	s := provision(t, &Source{DSN: analystDSN(t)})
	for sql, kind := range map[string]string{
		"select nothing from readings":        "syntax or names (SQLSTATE 42703)",
		"selec 1":                             "",
		"select id into copied from readings": "",
		"select * from hidden":                "permission denied (SQLSTATE 42501)",
		"select 'secret'::int":                "data (SQLSTATE 22P02)",
		"with w as (insert into notes values (1) returning id) select * from w":             "the statement would write (SQLSTATE 25006)",
		"with w as (delete from notes returning id) select * from w":                        "the statement would write (SQLSTATE 25006)",
		"select * from notes for update":                                                    "the statement would write (SQLSTATE 25006)",
		"select nextval('numbers')":                                                         "the statement would write (SQLSTATE 25006)",
		"select setval('numbers', 7)":                                                       "the statement would write (SQLSTATE 25006)",
		"select query_to_xml('delete from notes', true, true, '')":                          "error (SQLSTATE 0A000)",
		"select set_config('transaction_read_only', 'off', true)":                           "error (SQLSTATE 25001)",
		"select set_config('role', 'web', false)":                                           "permission denied (SQLSTATE 42501)",
		"select set_config('session_authorization', 'postgres', false)":                     "permission denied (SQLSTATE 42501)",
		"select pg_read_file('/etc/passwd')":                                                "permission denied (SQLSTATE 42501)",
		"select pg_ls_dir('/')":                                                             "permission denied (SQLSTATE 42501)",
		"select lo_import('/etc/passwd')":                                                   "permission denied (SQLSTATE 42501)",
		"select lo_export(1, '/tmp/x')":                                                     "permission denied (SQLSTATE 42501)",
		"select pg_reload_conf()":                                                           "permission denied (SQLSTATE 42501)",
		"select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres'": "permission denied (SQLSTATE 42501)",
		"select pg_create_logical_replication_slot('x', 'test_decoding')":                   "",
		"select dblink('', 'select 1')":                                                     "syntax or names (SQLSTATE 42883)",
	} {
		_, err := runRaw(t.Context(), s, sql, nil)
		var failed *errorDB
		if kind == "" {
			if err == nil {
				t.Errorf("%s passes", sql)
			}
			continue
		}
		if !errors.As(err, &failed) || failed.Gist() != "PostgreSQL, "+kind {
			t.Errorf("%s: got %v", sql, err)
		} else if strings.Contains(failed.Gist(), "secret") {
			t.Errorf("%s: the gist is %s", sql, failed.Gist())
		}
	}
	// What these write is taken back.
	for _, sql := range []string{"select lo_create(77)", "select lo_from_bytea(78, 'x')", "select pg_notify('c', 'x')"} {
		_, _ = runRaw(t.Context(), s, sql, nil)
	}
	if got := execute(t, "select count(*) from pg_largeobject_metadata"); got[0][0] != "0" {
		t.Errorf("%s large objects", got)
	}
	if got := execute(t, "select (select count(*) from notes), is_called from numbers"); got[0][0] != "0" || got[0][1] != "f" {
		t.Errorf("got %s", got)
	}
}

// Nothing of a client's session reaches the next query, though there is but one connection.
func TestRawLeavesNothing(t *testing.T) {
	s := provision(t, &Source{DSN: analystDSN(t), MaxConnections: 1})
	const look = `select current_setting('statement_timeout'), current_setting('search_path'), current_setting('datestyle'),
		current_setting('nq.leak', true), current_setting('bytea_output'), current_setting('timezone'),
		(select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
		(select count(*) from pg_prepared_statements), (select count(*) from pg_cursors where name <> ''), 'x'::bytea, now() - now()`
	named := mustPrepare(t, s, look)
	clean := drain(t, mustQuery(t, named, stream.Run{}))[0]
	for _, sql := range []string{
		"select set_config('statement_timeout', '1', false)",
		"select set_config('search_path', 'nowhere', false), set_config('datestyle', 'German', false), set_config('nq.leak', 'x', false)",
		"select set_config('bytea_output', 'escape', false), set_config('timezone', 'Asia/Kolkata', false)",
		"select set_config('client_encoding', 'LATIN1', false), set_config('standard_conforming_strings', 'off', false)",
		"select set_config('default_transaction_read_only', 'off', false), set_config('intervalstyle', 'iso_8601', false)",
		"select pg_advisory_lock(1)::text, pg_advisory_lock_shared(2)::text",
		"select set_config('lock_timeout', '1', false), 1 / 0",
	} {
		_, err := runRaw(t.Context(), s, sql, nil)
		if err != nil && !strings.Contains(sql, "/ 0") {
			t.Errorf("%s: %v", sql, err)
		}
		if got := drain(t, mustQuery(t, named, stream.Run{}))[0]; got != clean {
			t.Errorf("behind %s: got %s, want %s", sql, got, clean)
		}
	}
	// A cancelled one leaves nothing either, and stops at once.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := runRaw(ctx, s, "select pg_advisory_lock(3)::text from pg_sleep(600)", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if got := drain(t, mustQuery(t, named, stream.Run{}))[0]; got != clean {
		t.Errorf("got %s, want %s", got, clean)
	}
	if got := execute(t, "select count(*) from pg_locks where locktype = 'advisory'"); got[0][0] != "0" {
		t.Errorf("%s locks are held", got)
	}
}

func TestRawNeedsALoginOfItsOwn(t *testing.T) {
	for _, s := range []*Source{{Role: "web"}, {Set: []Setting{{"nq.user", "{user}"}}}} {
		if err := s.CheckRaw(); err == nil || !strings.Contains(err.Error(), "login") {
			t.Errorf("got %v", err)
		}
	}
	for dsn, want := range map[string]string{server.DSN(): "superuser", analystDSN(t): "", "host=/nowhere user=a": "could not be checked"} {
		core, logs := observer.New(zap.WarnLevel)
		s := provision(t, &Source{DSN: dsn})
		s.log = zap.New(core)
		if err := s.AllowRaw(t.Context()); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(logs.All()); (logs.Len() == 0) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: logged %s", dsn, got)
		}
	}
	if err := new(Source).AllowRaw(t.Context()); err == nil {
		t.Error("not provisioned, and opened")
	}
}
