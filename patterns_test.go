package neuroquantumws_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// answers sends a subscribe and counts what each of its names is answered with: subscription_confirmed, or a code.
func answers(c *wstest.Client, names []string) map[string]int {
	c.T().Helper()
	c.Send(M{"type": "subscribe", "channels": names, "id": "s"})
	got := make(map[string]int)
	for range names {
		m := c.Next()
		if m.Type() == "error" {
			got[m.Text("code")]++
		} else {
			got[m.Type()]++
		}
	}
	return got
}

func numbered(n int, format string) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf(format, i))
	}
	return names
}

// TestCostlyPatterns: patterns with many wildcards, those that take too much work, and too many different ones of the same segments are
// refused, each by itself; names beside them are not.
func TestCostlyPatterns(t *testing.T) {
	stars := strings.Repeat("/*", 13)
	s := serve(t, "max_subscriptions 1000\nchannel **/a"+stars+" {\n"+anyone+"\n}\nchannel ** {\n"+anyone+"\n}")
	c := s.dial()
	for _, test := range []struct {
		title string
		names []string
		want  map[string]int
	}{
		{"wildcards", []string{"**/a/" + stars[1:], "a/**/**/**/**/**", "a/b", "*/*/*/*/*/*/*/*"},
			map[string]int{"INVALID_CHANNEL": 2, "subscription_confirmed": 2}},
		{"usual patterns", numbered(128, "tenant/%d/*/orders/**"), map[string]int{"subscription_confirmed": 128}},
		{"patterns of the same segments", numbered(8, "x/*/*"+strings.Repeat("/*", 1)+"/%d/**"), map[string]int{"subscription_confirmed": 8}},
	} {
		if got := answers(c, test.names); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: %v, want %v", test.title, got, test.want)
		}
	}
	var same []string
	for before := range 8 {
		for after := range 8 {
			if before+after > 2 && before+after <= 8 {
				same = append(same, strings.Repeat("*/", before)+"y"+strings.Repeat("/*", after))
			}
		}
	}
	if got := answers(c, same); got["subscription_confirmed"] != 16 || got["LIMIT_EXCEEDED"] != len(same)-16 {
		t.Errorf("%d patterns of one segment: %v", len(same), got)
	}
	// The pattern's first block takes many steps for each of these.
	hard := numbered(128, "**/a/*/**/a/*/**/a/*/**/a/b/%d")
	if got := answers(c, append(hard[:127:127], "a/b/c")); got["LIMIT_EXCEEDED"] == 0 || got["subscription_confirmed"] < 2 || len(got) != 2 {
		t.Errorf("patterns that take work: %v", got)
	}
	if got := answers(c, hard[:1]); got["subscription_confirmed"] != 1 {
		t.Errorf("the next message: %v", got)
	}
}

// TestRateCountsNames: a message with many names is handled whole, and those after it wait for what it cost.
func TestRateCountsNames(t *testing.T) {
	s := serve(t, "rate_limit 0.01 10\nchannel ** {\n"+anyone+"\n}")
	c := s.dial()
	if got := answers(c, numbered(128, "room/%d")); got["subscription_confirmed"] != 128 {
		t.Errorf("got %v", got)
	}
	if m := c.Refused("RATE_LIMITED", M{"type": "publish", "channel": "a", "data": 1}); m.Int("retry_after_ms") < 150_000 || m.Int("retry_after_ms") > 200_000 {
		t.Errorf("got %v", m)
	}
}

// TestManySubscriptionsAreRestored: a client that waits as it is told gets through, though what it asks for is far beyond the burst.
func TestManySubscriptionsAreRestored(t *testing.T) {
	s := serve(t, "rate_limit 200 10\nmax_subscriptions 2000\nchannel ** {\n"+anyone+"\n}")
	c := s.dial()
	check := wait.Check(t, "a client restores 1,000 subscriptions")
	for left := numbered(1000, "room/%d"); len(left) > 0; check() {
		part := left[:min(len(left), 128)]
		c.Send(M{"type": "subscribe", "channels": part, "id": "s"})
		if m := c.Next(); m.Type() == "error" {
			if m.Text("code") != "RATE_LIMITED" || m.Int("retry_after_ms") < 1 || m.Int("retry_after_ms") > 60 {
				t.Fatalf("got %v", m)
			}
			<-time.After(time.Duration(m.Int("retry_after_ms")) * time.Millisecond) // as clients do
			continue
		}
		for range part[1:] {
			c.Expect("subscription_confirmed")
		}
		left = left[len(part):]
	}
	if n := hubOf(t, "default").Stats().Subscriptions; n != 1000 {
		t.Errorf("%d subscriptions", n)
	}
}
