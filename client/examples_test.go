package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

var ctx context.Context

func fetchToken(context.Context) (string, error) { return "", nil }

func Example() {
	c, err := client.Dial(ctx, "wss://api.example.com/ws", client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	sub, err := c.Subscribe(ctx, []string{"orders/**"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	for event, err := range sub.Events(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		switch e := event.(type) {
		case *client.Message:
			fmt.Printf("%s %s\n", e.Channel, e.Data)
		case *client.Gap:
			fmt.Printf("%d messages of %s are missing\n", e.Dropped, e.Channel)
		case *client.Resumed:
			if !e.Recovered {
				fmt.Println("something may be missing in", e.Unrecovered)
			}
		}
	}
}

// A token that is renewed in good time, and states that are logged.
func ExampleOptions() {
	c, err := client.New("wss://api.example.com/ws", client.Options{
		TokenFunc: fetchToken,
		OnState: func(s client.State) {
			switch s.Status {
			case client.Connected:
				log.Printf("connected as %q", s.User)
			case client.Waiting:
				log.Printf("%v; again in %v", s.Err, s.RetryIn)
			case client.Closed:
				log.Printf("ended: %v", s.Err)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

// Goes on where an earlier run of the program stopped.
func ExampleSubscribeOptions() {
	var c *client.Client
	var saved *client.Position // of Subscription.Position, nil in the first run
	sub, err := c.Subscribe(ctx, []string{"orders/**"}, &client.SubscribeOptions{Since: saved})
	if err != nil {
		log.Fatal(err)
	}
	event, err := sub.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if r, ok := event.(*client.Resumed); ok && !r.Recovered {
		fmt.Println("too long ago: load everything anew")
	}
}

func ExampleClient_Publish() {
	var c *client.Client
	receipt, err := c.Publish(ctx, "orders/eu", map[string]any{"id": 17, "status": "paid"}, &client.PublishOptions{Key: "order-17-paid"})
	var refusal *client.Error
	switch {
	case errors.As(err, &refusal) && refusal.Code == protocol.RateLimited:
		time.Sleep(refusal.RetryAfter) // and again
	case errors.Is(err, client.ErrUncertain):
		fmt.Println("nobody can say whether it was published")
	case err != nil:
		log.Fatal(err)
	case receipt.Duplicate:
		fmt.Println("it was published before, at offset", receipt.Position.Offset)
	}
}

type order struct {
	ID    int64   `json:"id"`
	Total float64 `json:"total"`
}

func ExampleClient_Query() {
	var c *client.Client
	rows, err := c.Query(ctx, "orders", map[string]any{"after": 1000}, &client.QueryOptions{BatchSize: 500})
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	for o, err := range client.Into[order](rows.All()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(o.ID, o.Total)
	}
}

func ExampleClient_Watch() {
	var c *client.Client
	live, err := c.Watch(ctx, "open_orders", nil, client.WatchOptions{Key: []string{"id"}})
	if err != nil {
		log.Fatal(err)
	}
	defer live.Close()
	fmt.Println(live.Len(), "orders are open")
	for change, err := range live.Changes(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		switch change.Op {
		case client.Insert, client.Update:
			fmt.Printf("%s is now %s\n", change.Key, change.Row)
		case client.Delete:
			fmt.Printf("%s is gone\n", change.Key)
		}
	}
}
