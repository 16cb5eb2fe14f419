// Command export writes the result of a query to a file: CSV, or NDJSON (a JSON object on each line). It shows how far it is, and goes on
// where the connection is lost. The file is there only once it is whole.
//
//	go run ./examples/export -query all_readings -out readings.csv
//	go run ./examples/export -query readings -params '{"sensor":"seattle/wind"}' -out wind.ndjson
package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "export:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("export", flag.ContinueOnError)
	url := flags.String("url", "ws://localhost:8080/ws", "the WebSocket")
	query := flags.String("query", "all_readings", "the query's name")
	params := flags.String("params", "", "its parameters, a JSON object")
	out := flags.String("out", "export.csv", "the file: .csv or .ndjson")
	batch := flags.Int("batch", 500, "rows in a batch")
	if err := flags.Parse(args); err != nil {
		return err
	}
	asCSV := strings.EqualFold(filepath.Ext(*out), ".csv")
	if !asCSV && !strings.EqualFold(filepath.Ext(*out), ".ndjson") {
		return errors.New("the file's name must end in .csv or .ndjson")
	}
	c, err := client.Dial(ctx, *url, client.Options{OnState: func(s client.State) {
		if s.Status == client.Waiting {
			fmt.Fprintf(log, "%v; again in %v\n", s.Err, s.RetryIn.Round(time.Millisecond))
		}
	}})
	if err != nil {
		return err
	}
	defer c.Close()
	options := &client.QueryOptions{BatchSize: *batch, Arrays: asCSV, OnProgress: func(p client.Progress) { report(log, p) }}
	var given any
	if *params != "" {
		given = json.RawMessage(*params)
	}
	rows, err := c.Query(ctx, *query, given, options)
	if err != nil {
		return err
	}
	defer rows.Close()
	write := writeNDJSON
	if asCSV {
		write = writeCSV
	}
	if err := whole(*out, func(w io.Writer) error { return write(w, rows) }); err != nil {
		return err
	}
	if result, ok := rows.Result(); ok {
		fmt.Fprintf(log, "%d rows in %s\n", result.Rows, *out)
	}
	return nil
}

func report(log io.Writer, p client.Progress) {
	done := ""
	if p.Percentage != nil {
		done = fmt.Sprintf(" (%.1f %%)", *p.Percentage)
	}
	left := ""
	if p.ETA != nil {
		left = fmt.Sprintf(", %v left", p.ETA.Round(time.Second))
	}
	fmt.Fprintf(log, "%d rows%s, %.0f rows/s%s, %s\n", p.Rows, done, p.Throughput, left, p.State)
}

// whole writes a file beside the one that is meant and puts it into its place once it is complete.
func whole(name string, write func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}()
	buffered := bufio.NewWriterSize(file, 1<<16)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}

func writeNDJSON(w io.Writer, rows *client.Rows) error {
	for row, err := range rows.All() {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, row); err != nil {
			return err
		}
	}
	return nil
}

func writeCSV(w io.Writer, rows *client.Rows) error {
	out := csv.NewWriter(w)
	var record []string
	for _, column := range rows.Columns() {
		record = append(record, column.Name)
	}
	if err := out.Write(record); err != nil {
		return err
	}
	for values, err := range client.Into[[]json.RawMessage](rows.All()) {
		if err != nil {
			return err
		}
		for i, value := range values {
			record[i] = cell(value)
		}
		if err := out.Write(record); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// cell is a value as CSV has it: text as it is, NULL empty, all else as JSON, so that numbers keep their digits.
func cell(value json.RawMessage) string {
	var text *string
	if json.Unmarshal(value, &text) != nil {
		return string(value)
	}
	if text == nil {
		return ""
	}
	return *text
}
