package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func TestMain(m *testing.M) { sitetest.Main(m) }

const channels = `
	rate_limit 1000000
	channel kept/** {
		history 100000
		queue 100000 64MiB
		presence
		allow subscribe anyone
		allow publish anyone
		allow history anyone
		allow presence anyone
	}
	channel secret/** {
		allow subscribe user:nobody
	}
	channel ** {
		allow subscribe anyone
		allow publish anyone
	}`

// quick are options for tests that lose connections.
var quick = client.Options{MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond}

func ws(options string) string { return "neuroquantum_ws /ws {\n" + options + "\n}\n" }

func dial(t testing.TB, url string, o client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(wait.Context(t), url, o)
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func subscribe(t testing.TB, c *client.Client, o *client.SubscribeOptions, channels ...string) *client.Subscription {
	t.Helper()
	sub, err := c.Subscribe(wait.Context(t), channels, o)
	if err != nil {
		t.Fatalf("subscribing to %v: %v", channels, err)
	}
	return sub
}

func publish(t testing.TB, c *client.Client, channel string, data any) client.Receipt {
	t.Helper()
	receipt, err := c.Publish(wait.Context(t), channel, data, nil)
	if err != nil {
		t.Fatalf("publishing to %s: %v", channel, err)
	}
	return receipt
}

// next takes an event, which must be of a kind.
func next[E client.Event](t testing.TB, sub *client.Subscription) E {
	t.Helper()
	event, err := sub.Next(wait.Context(t))
	if err != nil {
		t.Fatalf("the next event: %v", err)
	}
	e, ok := event.(E)
	if !ok {
		t.Fatalf("got %T %+v", event, event)
	}
	return e
}

// numbered takes a message, whose data must be a number.
func numbered(t testing.TB, sub *client.Subscription, want int) *client.Message {
	t.Helper()
	m := next[*client.Message](t, sub)
	if string(m.Data) != strconv.Itoa(want) {
		t.Fatalf("got %s in %s, want %d", m.Data, m.Channel, want)
	}
	return m
}

// codeOf is the code of a server's error.
func codeOf(err error) protocol.Code {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Code
	}
	return ""
}

func TestPublishAndSubscribe(t *testing.T) {
	c := dial(t, sitetest.Start(t, ws(channels)).URL(), client.Options{})
	all := subscribe(t, c, nil, "kept/**", "other")
	one := subscribe(t, c, nil, "kept/a")
	again := subscribe(t, c, nil, "kept/a", "kept/*")
	first := publish(t, c, "kept/a", 1)
	publish(t, c, "kept/b", 2)
	if r := publish(t, c, "other", 3); r != (client.Receipt{}) {
		t.Errorf("got %+v of a channel without history", r)
	}
	publish(t, c, "kept/a", 4)
	if m := numbered(t, all, 1); m.Offset != first.Position.Offset || m.Epoch != first.Position.Epoch || m.Channel != "kept/a" || m.Timestamp.IsZero() {
		t.Errorf("got %+v, published %+v", m, first)
	}
	for _, want := range []int{2, 3, 4} {
		numbered(t, all, want)
	}
	numbered(t, one, 1)
	last := numbered(t, one, 4)
	for _, want := range []int{1, 2, 4} {
		numbered(t, again, want)
	}
	if p := one.Position(); p.Offset != last.Offset || p.Epoch != last.Epoch {
		t.Errorf("got the position %+v behind %+v", p, last)
	}
	// What one leaves the others keep.
	one.Close()
	if _, err := one.Next(wait.Context(t)); !errors.Is(err, client.ErrClosed) {
		t.Errorf("got %v of a closed subscription", err)
	}
	publish(t, c, "kept/a", 5)
	numbered(t, again, 5)
	late := subscribe(t, c, &client.SubscribeOptions{History: 2}, "kept/a")
	numbered(t, late, 4)
	numbered(t, late, 5)
	since := first.Position
	later := subscribe(t, c, &client.SubscribeOptions{Since: &since}, "kept/*")
	if r := next[*client.Resumed](t, later); !r.Recovered || r.Position != since {
		t.Errorf("got %+v", r)
	}
	for _, want := range []int{2, 4, 5} {
		numbered(t, later, want)
	}
	publish(t, c, "kept/a", 6)
	for _, sub := range []*client.Subscription{all, again, late, later} {
		if sub == all {
			numbered(t, all, 5)
		}
		numbered(t, sub, 6)
	}
}

func TestRequests(t *testing.T) {
	c := dial(t, sitetest.Start(t, ws(channels)).URL(), client.Options{})
	ctx := wait.Context(t)
	for i := range 5 {
		publish(t, c, "kept/h", i)
	}
	h, err := c.History(ctx, "kept/h", &client.HistoryOptions{Limit: 2})
	if err != nil || len(h.Messages) != 2 || !h.More || string(h.Messages[1].Data) != "4" || h.Messages[0].Epoch == "" {
		t.Fatalf("got %+v, %v", h, err)
	}
	h, err = c.History(ctx, "kept/h", &client.HistoryOptions{Since: &client.Position{Epoch: h.Epoch, Offset: h.Messages[0].Offset}})
	if err != nil || len(h.Messages) != 1 || h.More {
		t.Fatalf("got %+v, %v", h, err)
	}
	for range 2 {
		r, err := c.Publish(ctx, "kept/h", "x", &client.PublishOptions{Key: "once"})
		if err != nil {
			t.Fatal(err)
		}
		if h, err = c.History(ctx, "kept/h", nil); err != nil || len(h.Messages) != 6 {
			t.Fatalf("got %d messages, %v, %+v", len(h.Messages), err, r)
		}
	}
	if r, err := c.Publish(ctx, "kept/h", "x", &client.PublishOptions{Key: "once"}); err != nil || !r.Duplicate {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	if _, err := c.History(ctx, "other", nil); codeOf(err) != protocol.Forbidden {
		t.Errorf("got %v", err)
	}
	if _, err := c.Subscribe(ctx, []string{"kept/a", "secret/a"}, nil); codeOf(err) != protocol.Forbidden {
		t.Errorf("got %v", err)
	}
	if _, err := c.Publish(ctx, "secret/a", 1, nil); codeOf(err) != protocol.Forbidden {
		t.Errorf("got %v", err)
	}
	if _, err := c.Publish(ctx, "kept/a", make([]byte, 100_000), nil); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Subscribe(ctx, []string{"a*"}, nil); err == nil {
		t.Error("a* is no pattern")
	}
}

// TestEndedContext asks with a context that has ended, as often as a choice between that and an answer would need to be the wrong one.
func TestEndedContext(t *testing.T) {
	c := dial(t, sitetest.Start(t, ws(channels)).URL(), client.Options{})
	ended, cancel := context.WithCancel(wait.Context(t))
	cancel()
	for name, ask := range map[string]func() error{
		"publish":   func() error { _, err := c.Publish(ended, "kept/a", 1, nil); return err },
		"history":   func() error { _, err := c.History(ended, "kept/a", nil); return err },
		"presence":  func() error { _, err := c.Presence(ended, "kept/a"); return err },
		"status":    func() error { _, err := c.QueryStatus(ended, "none"); return err },
		"ping":      func() error { _, err := c.Ping(ended); return err },
		"subscribe": func() error { _, err := c.Subscribe(ended, []string{"kept/a"}, nil); return err },
		"query":     func() error { _, err := c.Query(ended, "none", nil, nil); return err },
		"watch": func() error {
			_, err := c.Watch(ended, "none", nil, client.WatchOptions{Key: []string{"id"}})
			return err
		},
	} {
		for range 100 {
			if err := ask(); !errors.Is(err, context.Canceled) {
				t.Fatalf("%s: got %v", name, err)
			}
		}
	}
	if h, err := c.History(wait.Context(t), "kept/a", nil); err != nil || len(h.Messages) != 0 {
		t.Errorf("got %+v, %v: something was published", h, err)
	}
}

func TestPresence(t *testing.T) {
	url := sitetest.Start(t, ws(channels)).URL()
	c := dial(t, url, client.Options{})
	watching := subscribe(t, c, &client.SubscribeOptions{Presence: true}, "kept/p")
	subscribe(t, c, nil, "kept/p") // which must not end the events
	other := dial(t, url, client.Options{})
	sub := subscribe(t, other, nil, "kept/*")
	joined := next[*client.Joined](t, watching)
	if joined.Channel != "kept/p" || joined.Member.ConnectionID != other.State().ConnectionID || joined.Member.Since.IsZero() {
		t.Errorf("got %+v", joined)
	}
	p, err := c.Presence(wait.Context(t), "kept/p")
	if err != nil || p.Count != 2 || len(p.Members) != 2 {
		t.Errorf("got %+v, %v", p, err)
	}
	sub.Close()
	if left := next[*client.Left](t, watching); left.Member.ConnectionID != joined.Member.ConnectionID {
		t.Errorf("got %+v", left)
	}
}

// cutter cuts a proxy's connections at random moments, as often as there was one to cut, while work goes on.
func cutter(p *sitetest.Proxy, cuts int, progress *atomic.Int64, rng *rand.Rand) {
	for cuts > 0 {
		for until := progress.Load() + int64(rng.IntN(20)); progress.Load() < until; {
			time.Sleep(time.Duration(rng.IntN(1000)) * time.Microsecond)
		}
		if p.Cut() > 0 {
			cuts--
		} else {
			time.Sleep(time.Duration(rng.IntN(1000)) * time.Microsecond)
		}
	}
}

// TestCuts publishes numbered messages in several channels while the connections of publisher and subscribers are cut a hundred times.
func TestCuts(t *testing.T) {
	site := sitetest.Start(t, ws(channels))
	p := sitetest.NewProxy(t, site.Address)
	publisher, subscriber := dial(t, p.URL(), quick), dial(t, p.URL(), quick)
	names := []string{"kept/a", "kept/b/c", "kept/d"}
	sets := [][]string{{"kept/**"}, names, {"kept/*"}, {"kept/a", "kept/**"}, {"**"}}
	var subs []*client.Subscription
	for _, set := range sets {
		subs = append(subs, subscribe(t, subscriber, &client.SubscribeOptions{Buffer: 100000}, set...))
	}
	var progress atomic.Int64
	var over atomic.Bool
	var work, readers sync.WaitGroup
	ctx := wait.Context(t)
	published := make([]int, len(names))
	for i, name := range names {
		work.Go(func() {
			for !over.Load() {
				if _, err := publisher.Publish(ctx, name, published[i], nil); err != nil {
					t.Errorf("publishing: %v", err)
					return
				}
				published[i]++
				progress.Add(1)
			}
		})
	}
	for i, sub := range subs {
		readers.Go(func() {
			if err := follow(ctx, sub); err != nil {
				t.Errorf("%v: %v", sets[i], err)
			}
		})
	}
	cutter(p, 100, &progress, rand.New(rand.NewPCG(1, rand.Uint64())))
	over.Store(true)
	work.Wait()
	direct := dial(t, site.URL(), client.Options{})
	for i, name := range names {
		publish(t, direct, name, -published[i])
	}
	readers.Wait()
	t.Logf("published %v", published)
}

// follow reads numbered messages, each channel's from 0, up to the last of each, which is the number of those before, made negative.
func follow(ctx context.Context, sub *client.Subscription) error {
	due := make(map[string]int)
	var at uint64
	open := -1
	for event, err := range sub.Events(ctx) {
		if err != nil {
			return err
		}
		switch e := event.(type) {
		case *client.Resumed:
			if !e.Recovered && sub.Channels()[0] != "**" || e.EpochChanged {
				return fmt.Errorf("got %+v", e)
			}
		case *client.Message:
			n, err := strconv.Atoi(string(e.Data))
			if err != nil || e.Offset <= at {
				return fmt.Errorf("%s with the offset %d behind %d: %w", e.Data, e.Offset, at, err)
			}
			at = e.Offset
			last := n < 0
			if last {
				n = -n
			}
			if n != due[e.Channel] {
				return fmt.Errorf("%d in %s, where %d is due", n, e.Channel, due[e.Channel])
			}
			due[e.Channel]++
			if last {
				if open < 0 {
					open = 3
					if sub.Channels()[0] == "kept/*" {
						open = 2
					}
				}
				if open--; open == 0 {
					return nil
				}
			}
		default:
			return fmt.Errorf("got %T %+v", event, event)
		}
	}
	return errors.New("it ended")
}

// More subscriptions than fit into one request go on in their order, each.
func TestManySubscriptions(t *testing.T) {
	site := sitetest.Start(t, ws("max_subscriptions 1000\n"+channels))
	p := sitetest.NewProxy(t, site.Address)
	c, direct := dial(t, p.URL(), quick), dial(t, site.URL(), client.Options{})
	var subs []*client.Subscription
	for i := range 300 {
		subs = append(subs, subscribe(t, c, nil, fmt.Sprintf("kept/%d", i), "kept/all", fmt.Sprintf("lost/%d", i)))
	}
	for round := range 3 {
		p.Cut()
		publish(t, direct, "kept/all", 2*round)
		for i := range 300 {
			publish(t, direct, fmt.Sprintf("kept/%d", i), 2*round+1)
		}
		for i, sub := range subs {
			r := next[*client.Resumed](t, sub)
			if r.Recovered || len(r.Unrecovered) != 1 || r.Unrecovered[0] != fmt.Sprintf("lost/%d", i) {
				t.Fatalf("got %+v", r)
			}
			numbered(t, sub, 2*round)
			numbered(t, sub, 2*round+1)
		}
	}
}

func demoDB(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("../demo/demo.db")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
