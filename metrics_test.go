package neuroquantumws_test

import (
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/metrics"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

const metricsPrefix = "caddy_neuroquantum_ws_"

// metrics reads what Caddy's own handler tells of the module: the values by name, without the prefix, and labels but for the hub's.
func (s *site) metrics(hub string) map[string]float64 {
	s.t.Helper()
	a := request(s.t, http.MethodGet, "http://"+s.address+"/metrics", "", nil).want(200)
	values := make(map[string]float64)
	for line := range strings.Lines(a.text) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), metricsPrefix)
		if !ok || !strings.Contains(name, `hub="`+hub+`"`) {
			continue
		}
		at := strings.LastIndexByte(name, ' ')
		value, err := strconv.ParseFloat(name[at+1:], 64)
		if err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
		name = strings.NewReplacer(`hub="`+hub+`",`, "", `,hub="`+hub+`"`, "", `{hub="`+hub+`"}`, "").Replace(name[:at])
		if _, twice := values[name]; twice {
			s.t.Errorf("%s stands twice", name)
		}
		values[name] = value
	}
	return values
}

// expect compares metrics with what must have happened.
func expect(t testing.TB, when string, got map[string]float64, want map[string]float64) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, ok := got[name]; !ok || value != want[name] {
			t.Errorf("%s: %s is %v (%t), want %v", when, name, value, ok, want[name])
		}
	}
}

func TestMetricsAreWhatWasDone(t *testing.T) {
	const options = "max_connections 4\nmax_subscriptions 2\norigins https://app.example\nrate_limit 1000 1000\nhealth off\n" +
		"channel kept/** {\nhistory 3\npresence\n" + anyone + "\n}\nchannel small/** {\nqueue 2 1MiB drop_newest\n" + anyone + "\n}\n"
	directives := func(try int) string {
		return fmt.Sprintf("header X-Try %d\nmetrics /metrics\n", try) + apiSite + ws(options+apiQuery(t)) +
			"neuroquantum_ws /other {\nhub b\n}\nroute /write {\nneuroquantum_ws_notify default {\nchannel kept/written\ndata 1\n}\nrespond ok\n}\n"
	}
	s := serveSite(t, directives(0))
	api := s.api("/rt")
	expect(t, "at the start", s.metrics("default"), map[string]float64{
		"connections_active": 0, "connections_total": 0, "messages_published_total": 0, "ready": 1, "channels_total": 0, "connections_limit": 4,
	})
	expect(t, "the other hub", s.metrics("b"), map[string]float64{"connections_active": 0, "ready": 1})

	want := make(map[string]float64)
	var clients []*wstest.Client
	for round := 1; round <= 3; round++ {
		c := s.dial()
		clients = append(clients, c)
		c.Subscribe("kept/a", "small/x")
		c.Refused("LIMIT_EXCEEDED", M{"type": "subscribe", "channel": "kept/more"})
		c.Refused("FORBIDDEN", M{"type": "publish", "channel": "nobody/s", "data": 1})
		c.Write("nonsense")
		c.Expect("error")
		m := c.Publish("kept/a", 1)
		c.AskFor("published", M{"type": "publish", "channel": "kept/a", "data": 1, "key": fmt.Sprint("k", round)})
		c.AskFor("published", M{"type": "publish", "channel": "kept/a", "data": 1, "key": fmt.Sprint("k", round)})
		api.post("/publish", `{"channel":"kept/b","data":1}`).want(200)
		s.post("/write", "", nil)
		c.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": "kept/a", "since": M{"epoch": c.Welcome.Text("epoch"), "offset": m.Int("offset")}})
		c.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": "kept/a", "since": M{"epoch": "another", "offset": 0}})
		started := c.AskFor("query_started", M{"type": "stream_query", "query": "all", "batch_size": 10, "credits": 2})
		c.Until("query_batch")
		c.Until("query_batch")
		c.AskFor("query_cancelled", M{"type": "cancel_query", "stream_id": started.Text("stream_id")})
		if r, _ := s.get(http.Header{}); r.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("got %s", r.Status)
		}
		if _, r, err := wstest.TryDial(t, s.url(), wstest.Options{Header: http.Header{"Origin": {"https://evil.example"}}}); err == nil || r.StatusCode != http.StatusForbidden {
			t.Errorf("got %v", r)
		}
		leaving := s.dial()
		leaving.Close()
		until(c, "it is gone", func() bool { return hubOf(t, "default").Stats().Connections == round })
		cut := s.dial()
		cut.Cut()
		until(c, "both are gone", func() bool { return hubOf(t, "default").Stats().Connections == round })
		until(c, "the event is published", func() bool { return s.metrics("default")[`notify_events_total{outcome="published"}`] == float64(round) })

		n := float64(round)
		maps.Copy(want, map[string]float64{
			"connections_active": n, "connections_total": 3 * n, `connections_closed_total{code="1000"}`: n, `connections_closed_total{code="1006"}`: n,
			`connections_refused_total{reason="bad_request"}`: n, `connections_refused_total{reason="origin_not_allowed"}`: n,
			`connections_refused_total{reason="hub_full"}`: 0,
			`messages_received_total{type="subscribe"}`:    5 * n, `messages_received_total{type="publish"}`: 4 * n, `messages_received_total{type="other"}`: n,
			`messages_received_total{type="stream_query"}`: n, `messages_received_total{type="cancel_query"}`: n,
			`errors_total{code="LIMIT_EXCEEDED"}`: n, `errors_total{code="FORBIDDEN"}`: n, `errors_total{code="INVALID_MESSAGE"}`: n,
			"messages_published_total": 5 * n, "messages_duplicate_total": n,
			`recoveries_total{recovered="true"}`: n, `recoveries_total{recovered="false"}`: n,
			`notify_events_total{outcome="published"}`: n, "channels_total": 2, "subscriptions": 2 * n, "presence_members": n, "history_channels": 3,
			`streams_started_total{query="all",source="demo"}`: n, `streams_ended_total{outcome="cancelled",query="all",source="demo"}`: n,
			`streaming_rows_sent_total{query="all",source="demo"}`: 20 * n, `streaming_batches_sent_total{query="all",source="demo"}`: 2 * n,
			`active_streams{query="all",source="demo",state="streaming"}`: 0, `active_streams{query="all",source="demo",state="paused"}`: 0,
			`streaming_first_row_seconds_count{source="demo"}`: n, `streaming_cancel_seconds_count{source="demo"}`: n, "ready": 1,
		})
		// Each client so far got both messages of kept/a from each round since it came, and its own replay.
		due, replayed := 0.0, 0.0
		for i := range round {
			due += float64(2 * (i + 1))
			replayed++
		}
		want["messages_offered_total"] = due + replayed
		want[`messages_sent_total{kind="channel"}`] = due + replayed
		got := s.metrics("default")
		expect(t, fmt.Sprint("round ", round), got, want)
		if got["message_latency_seconds_count"] < 1 || got["history_bytes"] < 100 || got["bytes_received_total"] < 100 || got["bytes_sent_total"] < 100 {
			t.Errorf("got %v", got)
		}
		s.reload(directives(round))
		// Requests for metrics are none of the hub's: the totals stand, but for the pings of clients that wait.
		expect(t, fmt.Sprint("after reload ", round), s.metrics("default"), want)
	}
	for len(clients) < 4 {
		clients = append(clients, s.dial())
	}
	if _, r, err := wstest.TryDial(t, s.url(), wstest.Options{}); err == nil || r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %v", r)
	}
	api.delete("/connections/" + clients[0].Welcome.Text("connection_id")).want(204)
	clients[0].Closed()
	until(clients[1], "it is gone", func() bool { return hubOf(t, "default").Stats().Connections == 3 })
	for _, c := range clients[1:3] {
		c.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": "small/x"})
	}
	expect(t, "in the end", s.metrics("default"), map[string]float64{
		"channels_total": 1, "subscriptions": 2,
		`connections_refused_total{reason="hub_full"}`: 1, `connections_closed_total{code="4100"}`: 1, "connections_total": 10, "connections_active": 3,
	})
	expect(t, "the other hub", s.metrics("b"), map[string]float64{"connections_total": 0, "messages_published_total": 0})
	told := slices.Collect(maps.Keys(s.metrics("default")))
	for name := range instance.Metrics() {
		if strings.Contains(name, "feed_") {
			continue // TestFeedOfTable holds them
		}
		plain := regexp.MustCompile("^" + strings.TrimPrefix(name, metricsPrefix) + "(_bucket|_sum|_count)?({|$)")
		if !slices.ContainsFunc(told, plain.MatchString) {
			t.Errorf("%s is not told", name)
		}
	}
}

// TestMetricsOfLosses: what a slow client loses is counted by the policy, and told by as many gaps.
func TestMetricsOfLosses(t *testing.T) {
	s := serveSite(t, "metrics /metrics\n"+apiSite+ws("health off\nwrite_timeout 5m\nchannel a/** {\nqueue 10 10MiB drop_oldest\n"+anyone+"\n}\n"))
	slow := wstest.Dial(t, s.url(), wstest.Options{ReadBuffer: 4096})
	slow.Subscribe("a/b")
	api := s.api("/rt")
	body := `{"channel":"a/b","data":"` + strings.Repeat("x", 100<<10) + `"}`
	check := wait.Check(t, "messages are dropped")
	for s.metrics("default")[`messages_dropped_total{policy="drop_oldest",reason="drop_oldest"}`] < 5 {
		check()
		api.post("/publish", body).want(200)
	}
	got := s.metrics("default")
	if got["queue_messages"] < 10 || got["queue_bytes"] < 1e6 || got["queue_bytes"] > got["queue_bytes_limit"] {
		t.Errorf("%v messages of %v bytes wait", got["queue_messages"], got["queue_bytes"])
	}
	api.post("/publish", `{"channel":"a/b","data":"last"}`).want(200)
	dropped := 0.0
	for {
		m := slow.Next()
		if m.Type() == "gap" {
			dropped += float64(m.Int("dropped"))
		}
		if m["data"] == "last" {
			break
		}
	}
	slow.Ping()
	got = s.metrics("default")
	expect(t, "after the slow client has read", got, map[string]float64{
		`messages_dropped_total{policy="drop_oldest",reason="drop_oldest"}`: dropped, "queue_messages": 0, "queue_bytes": 0,
		`messages_sent_total{kind="gap"}`:     got[`gaps_total{reason="drop_oldest"}`],
		`messages_sent_total{kind="channel"}`: got["messages_offered_total"] - dropped,
	})
	if got[`gaps_total{reason="drop_oldest"}`] < 1 {
		t.Error("no gap is counted")
	}
}
