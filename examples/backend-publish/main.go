// Command backend-publish publishes from a backend that keeps no WebSocket open: by the HTTP API, with net/http alone. A request that was
// perhaps lost is sent again with the same key, and is delivered once. publish.sh does the same with curl.
//
//	go run ./examples/backend-publish -channel chat/lobby -text hello
//
// In the demo the API is open to this machine. Elsewhere it stands behind a login: put its user and password into the address.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "backend-publish:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("backend-publish", flag.ContinueOnError)
	api := flags.String("api", "http://localhost:8080/rt", "the HTTP API")
	channel := flags.String("channel", "chat/lobby", "where to publish")
	text := flags.String("text", "from a backend", "what to say")
	if err := flags.Parse(args); err != nil {
		return err
	}
	at, err := publish(ctx, *api, publication{Channel: *channel, Data: map[string]string{"text": *text}, Key: rand.Text()})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "published in %s at offset %d\n", at.Channel, at.Offset)
	return nil
}

// publication is a message as the API takes it.
type publication struct {
	Channel string `json:"channel"`
	Data    any    `json:"data"`
	Key     string `json:"key"` // the same for each attempt
}

// place is where a message stands.
type place struct {
	Channel   string `json:"channel"`
	Offset    uint64 `json:"offset"`
	Duplicate bool   `json:"duplicate"` // an earlier attempt had published it
}

// attempts is how often a publish is tried, in about ten seconds.
const attempts = 5

// publish sends a message until the API has answered.
func publish(ctx context.Context, api string, p publication) (at place, err error) {
	body, err := json.Marshal(p)
	if err != nil {
		return at, err
	}
	wait := 500 * time.Millisecond
	for range attempts {
		var again time.Duration
		at, again, err = post(ctx, api+"/publish", body)
		if err == nil || again < 0 || ctx.Err() != nil {
			return at, err
		}
		select {
		case <-time.After(max(wait, again)):
			wait *= 2
		case <-ctx.Done():
			return at, context.Cause(ctx)
		}
	}
	return at, err
}

// post makes one attempt. Where another may go well again is not negative: how long to wait at least.
func post(ctx context.Context, url string, body []byte) (at place, again time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return at, -1, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return at, 0, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return at, 0, json.NewDecoder(response.Body).Decode(&at)
	}
	var problem struct{ Code, Detail string }
	_ = json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&problem) // what is no problem document has no code
	err = fmt.Errorf("HTTP %d %s: %s", response.StatusCode, problem.Code, problem.Detail)
	if response.StatusCode < 500 && response.StatusCode != http.StatusTooManyRequests {
		return at, -1, err
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return at, time.Duration(seconds) * time.Second, err
}
