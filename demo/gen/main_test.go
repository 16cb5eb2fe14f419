package main

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	shippedCSV = "../weather.csv"
	shippedDB  = "../demo.db"
)

type row struct {
	id int64
	reading
}

// readDatabase returns the rows of the database at path in the order of their ids, and the statements that made it.
func readDatabase(t *testing.T, path string) (rows []row, ddl []string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path, "ro"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()

	each := func(query string, scan func(*sql.Rows) error) {
		t.Helper()
		res, err := db.Query(query)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		defer res.Close()
		for res.Next() {
			if err := scan(res); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		if err := res.Err(); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	each(`select id, sensor, value, at, unit from readings order by id`, func(res *sql.Rows) error {
		var r row
		defer func() { rows = append(rows, r) }()
		return res.Scan(&r.id, &r.sensor, &r.value, &r.at, &r.unit)
	})
	each(`select sql from sqlite_schema order by name`, func(res *sql.Rows) error {
		var s string
		defer func() { ddl = append(ddl, s) }()
		return res.Scan(&s)
	})
	each(`pragma integrity_check`, func(res *sql.Rows) error {
		var s string
		if err := res.Scan(&s); err != nil {
			return err
		}
		if s != "ok" {
			t.Errorf("%s: integrity_check: %s", path, s)
		}
		return nil
	})
	return rows, ddl
}

func TestShippedDatabaseIsWhatTheCSVGives(t *testing.T) {
	fresh := filepath.Join(t.TempDir(), "demo.db")
	n, err := generate(t.Context(), shippedCSV, fresh)
	if err != nil {
		t.Fatal(err)
	}
	const want = 2 * 1461 * 4 // cities, days of 2012 to 2015, measures
	if n != want {
		t.Errorf("generated %d readings, want %d", n, want)
	}

	wantRows, wantDDL := readDatabase(t, fresh)
	gotRows, gotDDL := readDatabase(t, shippedDB)
	if !slices.Equal(gotDDL, wantDDL) {
		t.Errorf("the shipped schema is\n%q, want\n%q", gotDDL, wantDDL)
	}
	if len(gotRows) != len(wantRows) {
		t.Fatalf("the shipped database has %d rows, want %d: run `go run ./demo/gen`", len(gotRows), len(wantRows))
	}
	for i, want := range wantRows {
		if gotRows[i] != want {
			t.Fatalf("row %d is %+v, want %+v: run `go run ./demo/gen`", i, gotRows[i], want)
		}
	}
	if first := (row{1, reading{"new-york/precipitation", 1.8, "2012-01-01T00:00:00Z", "mm"}}); wantRows[0] != first {
		t.Errorf("the first row is %+v, want %+v", wantRows[0], first)
	}
	if last := (row{want, reading{"seattle/wind", 3.5, "2015-12-31T00:00:00Z", "m/s"}}); wantRows[len(wantRows)-1] != last {
		t.Errorf("the last row is %+v, want %+v", wantRows[len(wantRows)-1], last)
	}
}

// The site opens the file read-only and git carries it.
func TestShippedDatabaseCanBeOpenedReadOnlyAndIsSmall(t *testing.T) {
	file, err := os.ReadFile(shippedDB)
	if err != nil {
		t.Fatal(err)
	}
	const limit = 1_500_000
	if len(file) > limit {
		t.Errorf("%d bytes, want at most %d", len(file), limit)
	}
	// Bytes 18 and 19 of the header are the file format's write and read versions: 1 rollback journal, 2 WAL.
	if len(file) < 100 || file[18] != 1 || file[19] != 1 {
		t.Error("the file wants a write-ahead log")
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal", ".partial"} {
		if _, err := os.Stat(shippedDB + suffix); err == nil {
			t.Errorf("%s%s was left behind", filepath.Base(shippedDB), suffix)
		}
	}
}

func TestReadWeatherRefuses(t *testing.T) {
	const header = "location,date,precipitation,temp_max,temp_min,wind,weather\n"
	for name, tc := range map[string]struct{ csv, want string }{
		"nothing":         {"", "the header"},
		"a column less":   {"location,date,precipitation,temp_max,temp_min\n", `no column "wind"`},
		"no date":         {header + "Seattle,soon,0,1,2,3,sun\n", "line 2"},
		"no number":       {header + "Seattle,2012-01-01,0,warm,2,3,sun\n", "line 2, temp_max"},
		"no location":     {header + ",2012-01-01,0,1,2,3,sun\n", "no location"},
		"the same twice":  {header + "Seattle,2012-01-01,0,1,2,3,sun\nSeattle,2012-01-01,0,1,2,3,sun\n", "told twice"},
		"a truncated row": {header + "Seattle,2012-01-01\n", "wrong number of fields"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readWeather(strings.NewReader(tc.csv))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestGenerateLeavesTheOldDatabaseWhenItFails(t *testing.T) {
	dir := t.TempDir()
	bad, out := filepath.Join(dir, "bad.csv"), filepath.Join(dir, "demo.db")
	for path, text := range map[string]string{bad: "location,date\n", out: "old"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := generate(t.Context(), bad, out); err == nil {
		t.Fatal("no error for a CSV without measures")
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "old" {
		t.Errorf("the old database is now %q (%v)", got, err)
	}
}
