package client_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
)

// TestManyPublishesAtOnce: what the site's rate refuses is sent again, at that rate.
func TestManyPublishesAtOnce(t *testing.T) {
	for name, rate := range map[string]string{"a burst": "1000 100", "no burst": "1000 1"} {
		t.Run(name, func(t *testing.T) {
			const n = 900
			site := sitetest.Start(t, ws("rate_limit "+rate+"\nchannel ** {\nhistory 1000\nallow publish anyone\nallow history anyone\n}"))
			c := dial(t, site.URL(), client.Options{})
			begin := c.State().ConnectionID
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() {
					if _, err := c.Publish(wait.Context(t), "a", i, nil); err != nil {
						t.Errorf("%d: %v", i, err)
					}
				})
			}
			all.Wait()
			if now := c.State(); now.ConnectionID != begin {
				t.Errorf("the connection was lost: %v", now)
			}
			if h, err := c.History(wait.Context(t), "a", &client.HistoryOptions{Limit: 1000}); err != nil || len(h.Messages) != n {
				t.Errorf("%d messages were published, %v", len(h.Messages), err)
			}
		})
	}
}

// TestRefusedAtTheCall: what the server could not read, or would read as something else, is refused where it is asked for.
func TestRefusedAtTheCall(t *testing.T) {
	c := dial(t, sitetest.Start(t, ws(channels)).URL(), client.Options{})
	ctx := wait.Context(t)
	for name, ask := range map[string]func() error{
		"a lone surrogate": func() error { _, err := c.Publish(ctx, "a", json.RawMessage(`"\ud800"`), nil); return err },
		"a reversed pair":  func() error { _, err := c.Publish(ctx, "a", json.RawMessage(`"\udc00\ud800"`), nil); return err },
		"bytes":            func() error { _, err := c.Publish(ctx, "a", json.RawMessage("\"\xff\""), nil); return err },
		"no JSON":          func() error { _, err := c.Publish(ctx, "a", json.RawMessage("{"), nil); return err },
		"a query's params": func() error { _, err := c.Query(ctx, "q", json.RawMessage(`{"a":"\ud800x"}`), nil); return err },
		"a watch's params": func() error {
			_, err := c.Watch(ctx, "q", json.RawMessage(`{"a":"\ud800"}`), client.WatchOptions{Key: []string{"a"}})
			return err
		},
		"a query's name":    func() error { _, err := c.Query(ctx, "\xff", nil, nil); return err },
		"a channel":         func() error { _, err := c.Publish(ctx, "\xff", 1, nil); return err },
		"a history":         func() error { _, err := c.History(ctx, "\xff", nil); return err },
		"a key":             func() error { _, err := c.Publish(ctx, "a", 1, &client.PublishOptions{Key: "\xff"}); return err },
		"a negative limit":  func() error { _, err := c.History(ctx, "a", &client.HistoryOptions{Limit: -1}); return err },
		"a channel to hear": func() error { _, err := c.Subscribe(ctx, []string{"\xff"}, nil); return err },
	} {
		if err := ask(); err == nil || !strings.HasPrefix(err.Error(), "client: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, data := range []string{`"\ud83d\ude80"`, `"\\ud800"`, `"\u0041\\"`} {
		if _, err := c.Publish(ctx, "a", json.RawMessage(data), nil); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// TestRefusedForTheMoment: a channel that is refused with a time is asked for again, by itself.
func TestRefusedForTheMoment(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		l := f.welcome()
		done := make(chan error, 1)
		go func() {
			_, err := c.Subscribe(context.Background(), []string{"a", "b"}, &client.SubscribeOptions{History: 5})
			done <- err
		}()
		m := l.expect("subscribe")
		for _, channel := range []string{"a", "b"} {
			l.answer(m, `"type":"error","code":"HISTORY_UNAVAILABLE","message":"not now","channel":%q,"retry_after_ms":1000`, channel)
		}
		l.confirm(`,"epoch":"e","offset":100`)
		l.answer(l.expect("ping"), `"type":"pong"`)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
