// Command gen makes demo.db, the demo site's database, from weather.csv.
//
//	go run ./demo/gen
//
// The same CSV always gives the same rows under the same ids; the test beside this file holds the shipped database to that.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite"
)

const schema = `
create table readings (
	id     integer primary key,
	sensor text not null, -- city/measure
	value  real not null,
	at     text not null, -- RFC 3339, UTC
	unit   text not null
);
-- Holds the id too, so that the rows of one sensor come out in order without sorting.
create index readings_sensor on readings (sensor);`

func main() {
	log.SetFlags(0)
	log.SetPrefix("gen: ")
	csvPath := flag.String("csv", filepath.Join("demo", "weather.csv"), "observations to read")
	dbPath := flag.String("out", filepath.Join("demo", "demo.db"), "database to write; an existing one is replaced")
	flag.Parse()

	n, err := generate(context.Background(), *csvPath, *dbPath)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %d readings\n", *dbPath, n)
}

// generate makes the database at dbPath from the CSV file at csvPath and returns how many readings it holds. The database is
// built beside dbPath and moved there when it is complete.
func generate(ctx context.Context, csvPath, dbPath string) (n int, err error) {
	in, err := os.Open(csvPath)
	if err != nil {
		return 0, fmt.Errorf("opening the observations: %w", err)
	}
	defer in.Close()
	readings, err := readWeather(in)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", csvPath, err)
	}

	partial := dbPath + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("removing what an earlier run left: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(partial)
		}
	}()
	if err := writeDatabase(ctx, partial, readings); err != nil {
		return 0, fmt.Errorf("writing %s: %w", partial, err)
	}
	if err := os.Rename(partial, dbPath); err != nil {
		return 0, fmt.Errorf("moving the database into place: %w", err)
	}
	return len(readings), nil
}

// writeDatabase makes a new database at path with one row for each reading, in their order, with ids from 1.
func writeDatabase(ctx context.Context, path string, readings []reading) (err error) {
	db, err := sql.Open("sqlite", dsn(path, "rwc"))
	if err != nil {
		return err
	}
	defer closing(db, &err)
	db.SetMaxOpenConns(1) // pragmas hold for one connection

	// A rollback journal, not WAL: the site opens the file read-only, where WAL would need two more files beside it.
	if _, err := db.ExecContext(ctx, `pragma page_size = 4096; pragma journal_mode = delete;`+schema); err != nil {
		return fmt.Errorf("creating the tables: %w", err)
	}
	if err := insert(ctx, db, readings); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `vacuum`); err != nil {
		return fmt.Errorf("vacuuming: %w", err)
	}
	return nil
}

func insert(ctx context.Context, db *sql.DB, readings []reading) (err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	stmt, err := tx.PrepareContext(ctx, `insert into readings (id, sensor, value, at, unit) values (?, ?, ?, ?, ?)`)
	if err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	defer closing(stmt, &err)
	for i, r := range readings {
		if _, err := stmt.ExecContext(ctx, i+1, r.sensor, r.value, r.at, r.unit); err != nil {
			return fmt.Errorf("inserting %s at %s: %w", r.sensor, r.at, err)
		}
	}
	return tx.Commit()
}

// dsn is modernc.org/sqlite's name for the file at path, opened in mode ro, rw or rwc.
func dsn(path, mode string) string {
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "mode=" + mode}).String()
}

// closing closes c and reports its error unless there is one already.
func closing(c io.Closer, err *error) {
	if cerr := c.Close(); cerr != nil && *err == nil {
		*err = cerr
	}
}
