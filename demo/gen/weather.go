package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A reading is what one sensor told of one day.
type reading struct {
	sensor string // city/measure, such as seattle/temp_max
	value  float64
	at     string // the day's start, RFC 3339, UTC
	unit   string
}

// measures are the CSV's columns that become sensors. The package that ships the CSV calls the wind km/h; NOAA gives it in
// tenths of m/s and the script that made the CSV only divides by ten.
var measures = []struct{ column, unit string }{
	{"precipitation", "mm"},
	{"temp_max", "°C"},
	{"temp_min", "°C"},
	{"wind", "m/s"},
}

// readWeather turns one line for each city and day into one reading for each measure, ordered by day and then by sensor, so
// that a replay by id moves through time.
func readWeather(in io.Reader) ([]reading, error) {
	lines := csv.NewReader(in)
	header, err := lines.Read()
	if err != nil {
		return nil, fmt.Errorf("the header: %w", err)
	}
	at := make(map[string]int, len(header))
	for i, name := range header {
		at[name] = i
	}
	for _, name := range []string{"location", "date"} {
		if _, ok := at[name]; !ok {
			return nil, fmt.Errorf("no column %q", name)
		}
	}
	for _, m := range measures {
		if _, ok := at[m.column]; !ok {
			return nil, fmt.Errorf("no column %q", m.column)
		}
	}

	var readings []reading
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := lines.FieldPos(0)
		day, err := time.Parse(time.DateOnly, fields[at["date"]])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		city := strings.ReplaceAll(strings.ToLower(fields[at["location"]]), " ", "-")
		if city == "" {
			return nil, fmt.Errorf("line %d: no location", line)
		}
		for _, m := range measures {
			value, err := strconv.ParseFloat(fields[at[m.column]], 64)
			if err != nil {
				return nil, fmt.Errorf("line %d, %s: %w", line, m.column, err)
			}
			readings = append(readings, reading{city + "/" + m.column, value, day.UTC().Format(time.RFC3339), m.unit})
		}
	}

	slices.SortFunc(readings, func(a, b reading) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.sensor, b.sensor))
	})
	for i := 1; i < len(readings); i++ {
		if a, b := readings[i-1], readings[i]; a.at == b.at && a.sensor == b.sensor {
			return nil, fmt.Errorf("%s is told twice for %s", b.sensor, b.at)
		}
	}
	return readings, nil
}
