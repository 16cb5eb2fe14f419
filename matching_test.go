package neuroquantumws_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

var (
	matchNames = []string{
		"a", "b", "a/b", "a/c", "a/b/c", "a/x/c", "a/b/c/d", "b/c", "x/a/b", "a.b", "a.c", "a.b.c", "b.a", "a.b/c", "a/b.c", "ab/c",
		"sensors/kitchen/temp", "sensors/hall/temp", "sensors", "sensor.temp", "ünïcode/ключ", "a/1/2/3/4/5/6/7/8/9/10/11/12/13/14/z",
		"-/_/~", "a/B", "{a}/b", "a,b", "0",
	}
	matchPatterns = []string{
		"a", "a/b", "a.b", "*", "**", "*/*", "*.*", "a/*", "a.*", "*/b", "a/**", "a.**", "**/c", "**.c", "a/**/c", "a/*/c", "a/**/z",
		"**/**", "**/*", "*/**", "**/b/**", "*/*/*", "a/b/c", "sensors/*/temp", "sensors/**", "*/ключ", "**/a/**/b", "a/**/**/c",
		"**.**", "*.b", "a/*/**", "a/b.c", "*/b.c",
	}
)

// separatorOf, matches and behind are the protocol's sentences on matching, written down once more.
func separatorOf(name string) string {
	for _, s := range []string{"/", "."} {
		if strings.Contains(name, s) {
			return s
		}
	}
	return ""
}

func matches(pattern, name string) bool {
	p, n := separatorOf(pattern), separatorOf(name)
	if p != "" && n != "" && p != n {
		return false
	}
	split := func(text, separator string) []string {
		if separator == "" {
			return []string{text}
		}
		return strings.Split(text, separator)
	}
	return matchSegments(split(pattern, p), split(name, n))
}

func matchSegments(pattern, name []string) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == "**":
		return matchSegments(pattern[1:], name) || len(name) > 0 && matchSegments(pattern, name[1:])
	case len(name) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == name[0]) && matchSegments(pattern[1:], name[1:])
}

func TestPatternsMatchEndToEnd(t *testing.T) {
	const end = "$"
	s := serve(t, "rate_limit 100000\nchannel ** {\nhistory 100\nallow subscribe anyone\nallow publish anyone\n}")
	var clients []*wstest.Client
	for _, pattern := range matchPatterns {
		c := s.dial()
		c.Subscribe(pattern, "the-end")
		clients = append(clients, c)
	}
	publisher := s.dial()
	for _, name := range matchNames {
		publisher.Publish(name, name)
	}
	publisher.Publish("the-end", end)
	matched := 0
	for i, pattern := range matchPatterns {
		var want, got []string
		for _, name := range matchNames {
			if matches(pattern, name) {
				want = append(want, name)
			}
		}
		matched += len(want)
		for _, m := range clients[i].Collect(func(m M) bool { return m["data"] == end }) {
			if m.Type() != "channel_message" || m["data"] != end && m["data"] != m.Text("channel") {
				t.Errorf("%s: got %v", pattern, m)
			}
			if m["data"] != end {
				got = append(got, m.Text("channel"))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s got %q, want %q", pattern, got, want)
		}
	}
	if matched < 150 {
		t.Errorf("the table matches only %d times", matched)
	}
}

func TestBadNames(t *testing.T) {
	s := serve(t, "")
	c := s.dial()
	for _, name := range []string{
		"", " ", "a b", "a\tb", "a\nb", "a\u0000b", "a\u0085b", "a\u00a0b", "a\u2003b", "a\u3000b", "/a", "a/", "a//b", "a..b", ".a", "a.", "/", ".",
		"temp*", "**/b.*", "*temp", "a/b*", "a/***", "***", "a/*b*", strings.Repeat("a", 256), strings.Repeat("é", 128),
		strings.Repeat("a/", 16) + "a",
	} {
		for _, request := range []M{
			{"type": "subscribe", "channel": name}, {"type": "unsubscribe", "channel": name},
			{"type": "publish", "channel": name, "data": 1}, {"type": "history", "channel": name},
		} {
			if m := c.Ask(request); m.Text("code") != "INVALID_CHANNEL" {
				t.Errorf("%v: %v", request, m)
			}
		}
		// A hundred bad messages close the connection, so each name gets its own.
		c.Close()
		c = s.dial()
	}
	for _, name := range []string{strings.Repeat("a", 255), strings.Repeat("a/", 15) + "a", strings.Repeat("é", 127)} {
		c.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": name})
	}
	for _, name := range []string{"*", "a/*", "**"} {
		c.Refused("INVALID_CHANNEL", M{"type": "publish", "channel": name, "data": 1})
		c.Refused("INVALID_CHANNEL", M{"type": "history", "channel": name})
	}
	for _, name := range []string{"$", "$sys", "$sys/x", "$a.b"} {
		c.Refused("FORBIDDEN", M{"type": "publish", "channel": name, "data": 1})
	}
	c.Publish("a/$b", 1)
}

// What is wrong with one of several names does not hinder the others.
func TestSubscribeToSeveral(t *testing.T) {
	s := serve(t, "max_subscriptions 3\nchannel open/** {\nallow subscribe anyone\nallow publish anyone\n}")
	c := s.dial()
	c.Send(M{"type": "subscribe", "channels": []string{"open/a", "bad*", "closed", "open/a", "open/b", "open/**", "open/c", "*"}, "id": 7})
	got := map[string]string{}
	for range 7 {
		m := c.Next()
		if m.Int("id") != 7 {
			t.Errorf("without the id: %v", m)
		}
		got[m.Text("channel")] += m.Type() + m.Text("code")
	}
	want := map[string]string{
		"open/a": "subscription_confirmed", "open/b": "subscription_confirmed", "open/**": "subscription_confirmed",
		"bad*": "errorINVALID_CHANNEL", "closed": "errorFORBIDDEN", "*": "errorFORBIDDEN", "open/c": "errorLIMIT_EXCEEDED",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	names := make([]string, 129)
	for i := range names {
		names[i] = fmt.Sprint("open/", i)
	}
	c.Refused("LIMIT_EXCEEDED", M{"type": "subscribe", "channels": names})
	c.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": "open/b"})
	c.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": "open/c"})
	if c.Backlog() > 0 {
		t.Errorf("got %v", c.Next())
	}
}

func TestOneDeliveryHoweverManySubscriptionsMatch(t *testing.T) {
	s := serve(t, "")
	c := s.dial()
	for _, pattern := range []string{"a/b", "a/*", "*/b", "**", "a/**", "**/b", "a/b"} {
		c.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": pattern})
	}
	publisher := s.dial()
	for i := range 20 {
		publisher.Publish("a/b", i)
		c.Publish("a/b", fmt.Sprint("own ", i)) // a publisher that is subscribed gets its own
	}
	for i := range 20 {
		for _, want := range []any{float64(i), fmt.Sprint("own ", i)} {
			if m := c.Expect("channel_message"); m["data"] != want || m.Text("channel") != "a/b" {
				t.Fatalf("got %v, want %v", m, want)
			}
		}
	}
	// The last of the subscriptions that match counts.
	for _, pattern := range []string{"a/b", "a/*", "*/b", "a/**", "**/b"} {
		c.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": pattern})
	}
	publisher.Publish("a/b", "still")
	if m := c.Expect("channel_message"); m["data"] != "still" {
		t.Errorf("got %v", m)
	}
	c.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": "**"})
	publisher.Publish("a/b", "no more")
	c.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channels": []string{"never/was"}})
	if c.Backlog() > 0 {
		t.Errorf("got %v", c.Next())
	}
}

// What several publish at once arrives in the order of each publisher, and in the same order everywhere.
func TestOrderWithSeveralPublishers(t *testing.T) {
	const publishers, messages, readers = 4, 150, 5
	s := serve(t, "rate_limit 100000\nqueue 100000 64MiB")
	var clients []*wstest.Client
	for i := range readers {
		c := s.dial()
		c.Subscribe([]string{"busy/x", "busy/*", "**"}[i%3])
		clients = append(clients, c)
	}
	var wg sync.WaitGroup
	for p := range publishers {
		publisher := s.dial()
		wg.Go(func() {
			for n := range messages {
				if err := publisher.Write(M{"type": "publish", "channel": "busy/x", "data": []int{p, n}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var first []string
	for i, c := range clients {
		next := make([]int, publishers)
		var all []string
		for range publishers * messages {
			m := c.Expect("channel_message")
			data := m.List("data")
			p, n := int(data[0].(float64)), int(data[1].(float64))
			if next[p] != n {
				t.Fatalf("reader %d got %d of publisher %d, want %d", i, n, p, next[p])
			}
			next[p]++
			all = append(all, fmt.Sprint(p, n))
		}
		if i == 0 {
			first = all
		} else if !slices.Equal(all, first) {
			t.Errorf("reader %d has another order than the first", i)
		}
	}
}
