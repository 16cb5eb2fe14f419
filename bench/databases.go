package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	_ "modernc.org/sqlite"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/pgtest"
)

// databases are what stands behind the servers of query streams. Each is made for the run, when a subject first needs it, and holds
// the same rows.
type databases struct {
	rows int64

	folder string // of the SQLite file
	server *pgtest.Server
	api    *process
}

// The options of a Caddy whose clients run the query `rows`, from a source `data`. No time limit ends what is measured while it
// stands still, and as many queries may run as the memory case has.
const (
	streamOptions = `
		write_timeout 10m
		stream {
			max_duration 30m
			stall_timeout 10m
		}`
	rowsQuery = `
		query rows {
			source data
			%s
			allow anyone
		}`
	sqlOfRows    = "sql `select " + columns + " from readings limit @n`\n\t\t\tparam n integer"
	memoryParams = "sql rows\n\t\t\tparam n integer\n\t\t\tparam width integer {\n\t\t\t\tdefault 0\n\t\t\t}"
	sqliteSource = `
		source data sqlite %q {
			max_connections 1000
		}`
	postgresSource = `
		source data postgres {
			dsn %q
		}`
	httpSource = `
		source data http {
			url http://%s/%s
			dialect %[2]s
		}`
)

// The queries of PostgreSQL that are there to be cancelled; none comes to its end.
const postgresQueries = `
		query computing {
			source data
			sql ` + "`select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b`" + `
			allow anyone
		}
		query endless {
			source data
			sql ` + "`select " + columns + " from generate_series(1, 100000), readings`" + `
			allow anyone
		}`

// options gives the options of a Caddy whose streams read from a source, and sees to it that the source is there.
func (d *databases) options(ctx context.Context, source string) (string, error) {
	query := func(lines string) string { return streamOptions + fmt.Sprintf(rowsQuery, lines) }
	switch source {
	case "":
		return "", nil
	case "memory":
		return query(memoryParams) + "\n\t\tsource data bench_memory", nil
	case "sqlite":
		file, err := d.sqlite(ctx)
		return query(sqlOfRows) + fmt.Sprintf(sqliteSource, file), err
	case "postgres":
		dsn, err := d.postgres(ctx)
		return query(sqlOfRows) + fmt.Sprintf(postgresSource, dsn) + postgresQueries, err
	case "ndjson":
		address, err := d.http(ctx)
		return query("url /ndjson") + fmt.Sprintf(httpSource, address, source), err
	case "neuroquantum":
		address, err := d.http(ctx)
		return query("sql `select * from readings`") + fmt.Sprintf(httpSource, address, source), err
	}
	return "", fmt.Errorf("there is no source %q", source)
}

// sqlite gives the database file.
func (d *databases) sqlite(ctx context.Context) (file string, err error) {
	if d.folder != "" {
		return filepath.Join(d.folder, "readings.db"), nil
	}
	folder, err := os.MkdirTemp("", "neuroquantum-ws-bench")
	if err != nil {
		return "", err
	}
	d.folder = folder
	file = filepath.Join(folder, "readings.db")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return "", err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(sqliteTable, d.rows))
	if err = errors.Join(err, db.Close()); err != nil {
		return "", fmt.Errorf("making the SQLite database: %w", err)
	}
	return file, nil
}

// postgres gives the connection string of the server.
func (d *databases) postgres(ctx context.Context) (dsn string, err error) {
	if d.server == nil {
		if d.server, err = pgtest.Start(); err != nil {
			return "", err
		}
		for _, script := range []string{fmt.Sprintf(postgresTable, d.rows), "vacuum analyze readings", "checkpoint"} {
			if _, err := d.server.Exec(ctx, script); err != nil {
				return "", fmt.Errorf("making the PostgreSQL database: %w", err)
			}
		}
	}
	return d.server.DSN(), nil
}

// http gives the address of the stand-in for an HTTP API.
func (d *databases) http(ctx context.Context) (address string, err error) {
	if d.api == nil {
		if d.api, err = startProcess(ctx, launch{kind: "api", args: []string{strconv.FormatInt(d.rows, 10)}}); err != nil {
			return "", err
		}
	}
	return d.api.address, nil
}

// close ends and removes all of it.
func (d *databases) close() error {
	var err error
	if d.api != nil {
		err = d.api.stop()
	}
	if d.server != nil {
		d.server.Stop()
	}
	if d.folder != "" {
		err = errors.Join(err, os.RemoveAll(d.folder))
	}
	return err
}
