// Command pubsub subscribes to two channels by patterns, publishes into one of them, and shows what arrives: live readings of the demo, and
// its own messages in the chat.
//
//	go run ./examples/pubsub -count 20
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pubsub:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("pubsub", flag.ContinueOnError)
	url := flags.String("url", "ws://localhost:8080/ws", "the WebSocket")
	count := flags.Int("count", 20, "how many messages to show")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := client.Dial(ctx, *url, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintln(out, "connected as", c.State().ConnectionID)

	// The two newest readings first, then each as it comes, in one order with the chat.
	sub, err := c.Subscribe(ctx, []string{"sensors/**", "chat/*"}, &client.SubscribeOptions{History: 2})
	if err != nil {
		return err
	}
	defer sub.Close()
	for n := range 3 {
		receipt, err := c.Publish(ctx, "chat/lobby", map[string]any{"text": fmt.Sprint("hello ", n+1)}, nil)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "published at offset", receipt.Position.Offset)
	}
	shown := 0
	for event, err := range sub.Events(ctx) {
		if err != nil {
			return err
		}
		switch e := event.(type) {
		case *client.Message:
			fmt.Fprintf(out, "%-24s %s\n", e.Channel, e.Data)
			shown++
		case *client.Gap:
			fmt.Fprintf(out, "%-24s %d messages are missing (%s)\n", e.Channel, e.Dropped, e.Reason)
		case *client.Resumed:
			fmt.Fprintln(out, "connected again; nothing is missing:", e.Recovered)
		}
		if shown >= *count {
			break
		}
	}
	return nil
}
