package neuroquantumws_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

const kept = `
	rate_limit 1000000
	queue 100000 64MiB
	max_subscriptions 1000
	channel short/** {
		history 3
		allow subscribe anyone
		allow publish anyone
		allow history anyone
	}
	channel brief/** {
		history 100 20ms
		allow subscribe anyone
		allow publish anyone
		allow history anyone
	}
	channel plain/** {
		allow subscribe anyone
		allow publish anyone
		allow history anyone
	}
	channel blind/** {
		history 10
		allow subscribe anyone
		allow publish anyone
	}
	channel ** {
		history 10000
		allow subscribe anyone
		allow publish anyone
		allow history anyone
	}`

// data gives the data of messages, for comparing.
func data(messages []any) string {
	var all []any
	for _, m := range messages {
		all = append(all, m.(map[string]any)["data"])
	}
	return fmt.Sprint(all)
}

func TestHistory(t *testing.T) {
	s := serve(t, kept)
	c := s.dial()
	var offsets []int
	var epoch string
	for i := range 10 {
		p := c.Publish("h/a", i)
		c.Publish("h/b", -i)
		offsets, epoch = append(offsets, p.Int("offset")), p.Text("epoch")
	}
	if !slices.IsSorted(offsets) || epoch == "" || epoch != c.Welcome.Text("epoch") {
		t.Errorf("offsets %v, epoch %s", offsets, epoch)
	}
	since := func(i int) M { return M{"epoch": epoch, "offset": offsets[i]} }
	for _, test := range []struct {
		request M
		want    string
		more    bool
	}{
		{M{"channel": "h/a"}, "[0 1 2 3 4 5 6 7 8 9]", false},
		{M{"channel": "h/a", "limit": 3}, "[7 8 9]", true},
		{M{"channel": "h/a", "limit": 100}, "[0 1 2 3 4 5 6 7 8 9]", false},
		{M{"channel": "h/a", "since": since(4)}, "[5 6 7 8 9]", false},
		{M{"channel": "h/a", "since": since(4), "limit": 2}, "[5 6]", true},
		{M{"channel": "h/a", "since": since(4), "limit": 5}, "[5 6 7 8 9]", false},
		{M{"channel": "h/a", "since": since(9)}, "[]", false},
		{M{"channel": "h/a", "since": M{"epoch": epoch, "offset": 0}, "limit": 1}, "[0]", true},
		{M{"channel": "h/none"}, "[]", false},
	} {
		test.request["type"] = "history"
		m := c.AskFor("history", test.request)
		if data(m.List("messages")) != test.want || m.Bool("has_more") != test.more || m.Text("epoch") != epoch ||
			m.Text("channel") != test.request["channel"] || m["messages"] == nil {
			t.Errorf("%v: got %v, want %s", test.request, m, test.want)
		}
		for _, message := range m.List("messages") {
			if one := M(message.(map[string]any)); one.Type() != "channel_message" || one.Text("channel") != "h/a" || one.Int("offset") < 1 {
				t.Errorf("in the history: %v", one)
			}
			timestamp(t, message.(map[string]any))
		}
	}
	c.Refused("HISTORY_UNAVAILABLE", M{"type": "history", "channel": "plain/a"})
	c.Refused("HISTORY_UNAVAILABLE", M{"type": "subscribe", "channel": "plain/a", "history": 1})
	c.Refused("FORBIDDEN", M{"type": "history", "channel": "blind/a"})
	if p := c.Publish("plain/a", 1); p.Has("offset") || p.Has("epoch") {
		t.Errorf("without history: %v", p)
	}
}

// replay takes messages up to one with the data "end", which is published for that.
func replay(c *wstest.Client, s *site, channel string) []string {
	c.T().Helper()
	s.dial().Publish(channel, "end")
	var all []string
	for _, m := range c.Collect(func(m M) bool { return m["data"] == "end" }) {
		if m["data"] != "end" {
			all = append(all, fmt.Sprint(m.Type(), " ", m.Text("channel"), " ", m["data"]))
		}
	}
	return all
}

func TestSubscribeWithHistory(t *testing.T) {
	s := serve(t, kept)
	p := s.dial()
	for i := range 4 {
		p.Publish("h/a", i)
		p.Publish("h/b", i)
	}
	for _, test := range []struct {
		request M
		want    string
	}{
		{M{"channel": "h/a", "history": 2}, "[channel_message h/a 2 channel_message h/a 3]"},
		{M{"channel": "h/a", "history": 0}, "[]"},
		{M{"channel": "h/a"}, "[]"},
		{M{"channel": "h/*", "history": 3}, "[channel_message h/b 2 channel_message h/a 3 channel_message h/b 3]"},
		{M{"channels": []string{"h/a", "h/b"}, "history": 1}, "[channel_message h/a 3 channel_message h/b 3]"},
		{M{"channels": []string{"h/a", "h/*"}, "history": 1}, "[channel_message h/a 3 channel_message h/b 3]"},
	} {
		t.Run(fmt.Sprint(test.request), func(t *testing.T) {
			s := s.in(t)
			c := s.dial()
			test.request["type"] = "subscribe"
			c.Send(test.request)
			confirmed := c.Expect("subscription_confirmed")
			if confirmed.Int("offset") < 8 || confirmed.Text("epoch") != p.Welcome.Text("epoch") {
				t.Errorf("got %v", confirmed)
			}
			if _, several := test.request["channels"]; several {
				c.Expect("subscription_confirmed")
			}
			c.Subscribe("end")
			if got := fmt.Sprint(replay(c, s, "end")); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	c := s.dial()
	c.Refused("INVALID_MESSAGE", M{"type": "subscribe", "channel": "h/a", "history": 1, "since": M{"epoch": "x", "offset": 1}})
}

// While others publish, clients come with `since` and `history`: each gets what is due without gap, duplicate or disorder.
func TestRecoveryWhileOthersPublish(t *testing.T) {
	const publishers, messages = 3, 250
	s := serve(t, kept)
	epoch := s.dial().Welcome.Text("epoch")
	var wg sync.WaitGroup
	halfway := make(chan struct{}, publishers)
	for p := range publishers {
		publisher := s.dial()
		wg.Go(func() {
			for n := range messages {
				if _, err := publisher.TryAsk(M{"type": "publish", "channel": fmt.Sprint("live/", p), "data": n}); err != nil {
					t.Error(err)
					return
				}
				if n == messages/10 {
					halfway <- struct{}{}
				}
			}
		})
	}
	for range publishers {
		<-halfway
	}
	all := []string{"live/0", "live/1", "live/2"}
	requests := map[string]M{
		"one":                 {"channels": all[:1], "since": M{"epoch": epoch, "offset": 0}},
		"many":                {"channels": all, "since": M{"epoch": epoch, "offset": 0}},
		"a pattern":           {"channels": []string{"live/*"}, "since": M{"epoch": epoch, "offset": 0}},
		"overlapping":         {"channels": []string{"live/*", "live/1", "**"}, "since": M{"epoch": epoch, "offset": 0}},
		"from the middle":     {"channels": all, "since": M{"epoch": epoch, "offset": 40}},
		"the newest":          {"channels": all, "history": 5},
		"the newest of a few": {"channels": []string{"live/*"}, "history": 5},
	}
	readers := make(map[string]*wstest.Client)
	for name, request := range requests {
		c := s.dial()
		request["type"] = "subscribe"
		c.Send(request)
		readers[name] = c
	}
	wg.Wait()
	end := s.dial()
	for _, channel := range all {
		end.Publish(channel, "end")
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) { inOrder(t, readers[name], request, messages) })
	}
}

// inOrder takes what a client got for its request, up to the end of each channel.
func inOrder(t *testing.T, c *wstest.Client, request M, messages int) {
	channels := request["channels"].([]string)
	for range channels {
		m := c.Expect("subscription_confirmed")
		if _, since := request["since"]; since && (!m.Bool("recovered") || m.Int("replayed") < 1) {
			t.Errorf("got %v", m)
		}
	}
	ends := len(channels)
	if ends == 1 && channels[0] == "live/*" || ends == 3 {
		ends = 3
	}
	next := map[string]int{}
	last := 0
	for ends > 0 {
		m := c.Expect("channel_message")
		if m.Int("offset") <= last {
			t.Fatalf("after the offset %d came %v", last, m)
		}
		last = m.Int("offset")
		channel := m.Text("channel")
		if m["data"] == "end" {
			if next[channel] != messages {
				t.Errorf("%s ended at %d", channel, next[channel])
			}
			ends--
			continue
		}
		n := m.Int("data")
		if want, begun := next[channel]; begun && n != want {
			t.Fatalf("%s: got %d, want %d", channel, n, want)
		} else if since, ok := request["since"].(M); !begun && ok && since["offset"] == 0 && n != 0 {
			t.Fatalf("%s begins with %d", channel, n)
		}
		next[channel] = n + 1
	}
}

func TestRecoveredIsFalseWhereSomethingIsMissing(t *testing.T) {
	s := serve(t, kept)
	p := s.dial()
	first := p.Publish("short/a", 0)
	epoch := first.Text("epoch")
	for i := 1; i < 10; i++ {
		p.Publish("short/a", i)
	}
	seven := p.Publish("short/b", 0).Int("offset")
	for _, test := range []struct {
		name      string
		since     M
		recovered bool
		want      string
	}{
		{"nothing missed", M{"epoch": epoch, "offset": seven}, true, "[]"},
		{"all is kept", M{"epoch": epoch, "offset": first.Int("offset") + 6}, true,
			"[channel_message short/a 7 channel_message short/a 8 channel_message short/a 9]"},
		{"trimmed", M{"epoch": epoch, "offset": first.Int("offset")}, false,
			"[gap short/a <nil> channel_message short/a 7 channel_message short/a 8 channel_message short/a 9]"},
		{"another epoch", M{"epoch": "another", "offset": 1}, false, "[]"},
		{"ahead of the hub", M{"epoch": epoch, "offset": 1 << 40}, false, "[]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := s.in(t)
			c := s.dial()
			c.Send(M{"type": "subscribe", "channel": "short/a", "since": test.since})
			m := c.Expect("subscription_confirmed")
			if m["recovered"] != test.recovered || m.Text("epoch") != epoch {
				t.Errorf("got %v", m)
			}
			c.Subscribe("end")
			var got []string
			s.dial().Publish("end", "end")
			for _, m := range c.Collect(func(m M) bool { return m["data"] == "end" }) {
				if m.Type() == "gap" && (m.Text("reason") != "history_trimmed" || !m.Has("dropped") || m["dropped"] != nil || m.Bool("recoverable")) {
					t.Errorf("got %v", m)
				}
				if m["data"] != "end" {
					got = append(got, fmt.Sprint(m.Type(), " ", m.Text("channel"), " ", m["data"]))
				}
			}
			if fmt.Sprint(got) != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestIdempotencyKeys(t *testing.T) {
	s := serve(t, kept)
	reader, a, b := s.dial(), s.dial(), s.dial()
	reader.Subscribe("**")
	publish := func(c *wstest.Client, channel, key string, data any) M {
		return c.AskFor("published", M{"type": "publish", "channel": channel, "key": key, "data": data})
	}
	first := publish(a, "k/a", "order-17", "first")
	for _, c := range []*wstest.Client{a, b} {
		again := publish(c, "k/a", "order-17", "again")
		if !again.Bool("duplicate") || again["offset"] != first["offset"] || again["epoch"] != first["epoch"] || first.Has("duplicate") {
			t.Errorf("first %v, then %v", first, again)
		}
	}
	publish(b, "k/b", "order-17", "in another channel")
	publish(b, "k/a", "order-18", "another key")
	publish(b, "plain/a", "order-17", "without history")
	if again := publish(a, "plain/a", "order-17", "again"); !again.Bool("duplicate") || again.Has("offset") {
		t.Errorf("without history: %v", again)
	}
	publish(a, "k/end", "x", "end")
	var got []any
	for _, m := range reader.Collect(func(m M) bool { return m["data"] == "end" }) {
		got = append(got, m["data"])
	}
	if want := "[first in another channel another key without history end]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	// Of many that come at once with one key one is delivered.
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for range 8 {
		c := s.dial()
		wg.Go(func() {
			m, err := c.TryAsk(M{"type": "publish", "channel": "k/a", "key": "race", "data": 1})
			mu.Lock()
			defer mu.Unlock()
			if err != nil || m.Type() != "published" {
				t.Error(m, err)
			} else if !m.Bool("duplicate") {
				fresh++
			}
		})
	}
	wg.Wait()
	if fresh != 1 {
		t.Errorf("%d were taken as new", fresh)
	}
	for _, key := range []any{"", string(make([]byte, 129)), 5} {
		a.Refused("INVALID_MESSAGE", M{"type": "publish", "channel": "k/a", "key": key, "data": 1})
	}
}

// A channel that nobody uses any more and that keeps nothing does not exist.
func TestChannelsAreFreed(t *testing.T) {
	s := serve(t, kept)
	h := hubOf(t, "default")
	c, leaver := s.dial(), s.dial()
	for i := range 50 {
		for _, kind := range []string{"plain", "brief"} {
			channel := fmt.Sprint(kind, "/", i)
			c.Subscribe(channel)
			leaver.Subscribe(channel, channel+"/*")
			c.Publish(channel, i)
		}
	}
	if n := h.Stats().Channels; n < 100 {
		t.Errorf("%d channels while they are in use", n)
	}
	for i := range 50 {
		c.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": fmt.Sprint("plain/", i)})
		c.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": fmt.Sprint("brief/", i)})
	}
	leave(t, leaver)
	until(c, "the channels are freed", func() bool { return h.Stats().Channels == 0 })
	if n := h.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}
