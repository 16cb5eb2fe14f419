// Command flowcontrol is slow on purpose, in three ways, and shows what comes of each: a subscription that is not read gets a gap, a
// query whose batches are not done with pauses, and a connection that is hardly read has its streams throttled. Nobody else notices, and the
// server keeps little.
//
//	go run ./examples/flowcontrol
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "flowcontrol:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("flowcontrol", flag.ContinueOnError)
	url := flags.String("url", "ws://localhost:8080/ws", "the WebSocket")
	pause := flags.Duration("pause", 300*time.Millisecond, "how slow to be")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := client.Dial(ctx, *url, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := gaps(ctx, c, out); err != nil {
		return err
	}
	if err := credit(ctx, c, *pause, out); err != nil {
		return err
	}
	return throttle(ctx, *url, *pause, out)
}

// gaps publishes more than a subscription's buffer holds before it reads. A channel's own queue at the server does the same to a client
// whose socket is not read: then the reason is the channel's policy, such as drop_oldest.
func gaps(ctx context.Context, c *client.Client, out io.Writer) error {
	fmt.Fprintln(out, "-- a subscription that is not read: 100 messages, a buffer of 10")
	sub, err := c.Subscribe(ctx, []string{"chat/flood"}, &client.SubscribeOptions{Buffer: 10})
	if err != nil {
		return err
	}
	defer sub.Close()
	for n := range 100 {
		if _, err := c.Publish(ctx, "chat/flood", n, nil); err != nil {
			return err
		}
	}
	for {
		event, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		switch e := event.(type) {
		case *client.Gap:
			fmt.Fprintf(out, "gap: %d messages, reason %s, before offset %d, recoverable %v\n", e.Dropped, e.Reason, e.Before, e.Recoverable)
			if err := recoverGap(ctx, c, "chat/flood", e, out); err != nil {
				return err
			}
		case *client.Message:
			fmt.Fprintf(out, "message %s\n", e.Data)
			if string(e.Data) == "99" {
				return nil
			}
		}
	}
}

// recoverGap asks for what a gap says is missing, as far as the channel keeps it.
func recoverGap(ctx context.Context, c *client.Client, channel string, gap *client.Gap, out io.Writer) error {
	history, err := c.History(ctx, channel, &client.HistoryOptions{Limit: 1000})
	if err != nil {
		return err
	}
	n := 0
	for _, m := range history.Messages {
		if m.Offset > gap.After && m.Offset < gap.Before {
			n++
		}
	}
	fmt.Fprintf(out, "%d of them are still in the history\n", n)
	return nil
}

// credit takes few batches, and slowly: the query waits in the database.
func credit(ctx context.Context, c *client.Client, pause time.Duration, out io.Writer) error {
	fmt.Fprintln(out, "-- a query whose batches are done with slowly: a window of 2")
	rows, err := c.Query(ctx, "all_readings", nil, &client.QueryOptions{
		BatchSize: 50, Window: 2,
		OnProgress: func(p client.Progress) {
			fmt.Fprintf(out, "progress: %d rows taken from the database, %s, stalled for %v\n", p.Rows, p.State, p.Stalled)
		},
	})
	if err != nil {
		return err
	}
	defer rows.Close()
	taken := 0
	for batch, err := range rows.Batches() {
		if err != nil {
			return err
		}
		if taken++; taken == 6 {
			fmt.Fprintf(out, "batch %d taken, and no more\n", batch.Number)
			return nil
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
