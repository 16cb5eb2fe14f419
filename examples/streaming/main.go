// Command streaming runs queries whose rows come in batches: one to its end, decoded into structs, with progress, and one that it breaks off.
//
//	go run ./examples/streaming -sensor new-york/temp_max
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "streaming:", err)
		os.Exit(1)
	}
}

type reading struct {
	ID    int64     `json:"id"`
	Value float64   `json:"value"`
	Unit  string    `json:"unit"`
	At    time.Time `json:"at"`
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("streaming", flag.ContinueOnError)
	url := flags.String("url", "ws://localhost:8080/ws", "the WebSocket")
	sensor := flags.String("sensor", "seattle/wind", "whose readings to ask for")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := client.Dial(ctx, *url, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := average(ctx, c, *sensor, out); err != nil {
		return err
	}
	if err := breakOff(ctx, c, out); err != nil {
		return err
	}
	// What the server refuses has a code.
	_, err = c.Query(ctx, "no_such_query", nil, nil)
	var refusal *client.Error
	if !errors.As(err, &refusal) || refusal.Code != protocol.QueryNotFound {
		return fmt.Errorf("an unknown query gave %w", err)
	}
	fmt.Fprintln(out, "refused:", refusal)
	return nil
}

// average reads a result to its end.
func average(ctx context.Context, c *client.Client, sensor string, out io.Writer) error {
	rows, err := c.Query(ctx, "readings", map[string]string{"sensor": sensor}, &client.QueryOptions{
		BatchSize: 200,
		OnProgress: func(p client.Progress) {
			fmt.Fprintf(out, "  %d rows, %.0f rows/s, %s\n", p.Rows, p.Throughput, p.State)
		},
	})
	if err != nil {
		return err
	}
	defer rows.Close()
	total, kind := rows.Total()
	fmt.Fprintf(out, "%s: %d rows (%s), columns %v\n", sensor, total, kind, rows.Columns())
	sum, n := 0.0, 0
	var last reading
	for r, err := range client.Into[reading](rows.All()) {
		if err != nil {
			return err
		}
		sum, n, last = sum+r.Value, n+1, r
	}
	if n > 0 {
		fmt.Fprintf(out, "average %.2f %s up to %s\n", sum/float64(n), last.Unit, last.At.Format(time.DateOnly))
	}
	if result, ok := rows.Result(); ok {
		fmt.Fprintf(out, "complete: %d rows in %d batches\n", result.Rows, result.Batches)
	}
	return nil
}

// breakOff takes a few rows of a large result. The query ends in the database, too.
func breakOff(ctx context.Context, c *client.Client, out io.Writer) error {
	rows, err := c.Query(ctx, "all_readings", nil, &client.QueryOptions{BatchSize: 10, Window: 2})
	if err != nil {
		return err
	}
	n := 0
	for row, err := range rows.All() {
		if err != nil {
			return err
		}
		fmt.Fprintln(out, row)
		if n++; n == 3 {
			break
		}
	}
	status, err := rows.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "broken off behind %d rows; the server has sent %d\n", n, status.Rows)
	return nil
}
