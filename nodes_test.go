package neuroquantumws_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// nodesSite is a site with several nodes of one hub, each with its API, in one process. Node a has the path /ws, b /b, and so on.
func nodesSite(t testing.TB, nodes, more string) func() string {
	dir := t.TempDir()
	return func() string {
		var b strings.Builder
		for _, name := range strings.Fields(nodes) {
			path := "/" + name
			if name == "a" {
				path = "/ws"
			}
			fmt.Fprintf(&b, "neuroquantum_ws_api /api-%s/* %s\nneuroquantum_ws %s {\nhub %s\nbroker nats {\nname shared\nembedded {\nstore_dir %s\n}\n}\n%s}\n",
				name, name, path, name, dir, more)
		}
		return b.String()
	}
}

// together waits until every node sees the others.
func together(s *site, nodes string) {
	s.t.Helper()
	c := s.dial()
	defer c.Cut()
	names := strings.Fields(nodes)
	for _, name := range names {
		until(c, name+" sees the others", func() bool {
			return len(s.api("/api-"+name).get("/stats").want(200).items("nodes")) == len(names)
		})
	}
}

func (s *site) dialNode(path, user string) *wstest.Client {
	s.t.Helper()
	return wstest.Dial(s.t, "ws://"+s.address+path, wstest.Options{Header: http.Header{"X-User": {user}}})
}

// TestPresenceOverNodes: members and events are those of all nodes.
func TestPresenceOverNodes(t *testing.T) {
	s := serveSite(t, nodesSite(t, "a b", attended+"\n")())
	together(s, "a b")
	ann := s.dialNode("/ws", "ann")
	watch(ann, "room/1")
	bob := s.dialNode("/b", "bob")
	bob.Subscribe("room/1")
	joined := ann.Until("presence_join")
	if m := M(joined["member"].(map[string]any)); m.Text("connection_id") != connectionID(bob) || m.Text("user") != "bob" {
		t.Errorf("got %v", joined)
	}
	want := map[string]string{connectionID(ann): "ann", connectionID(bob): "bob"}
	until(bob, "both are there", func() bool { return maps.Equal(members(bob, "room/1"), want) })
	if got := members(ann, "room/1"); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	for _, node := range []string{"a", "b"} {
		if a := s.api("/api-" + node).get("/channels/room%2F1/presence").want(200); a.Int("count") != 2 {
			t.Errorf("%s: %s", node, a.text)
		}
	}
	// What a member may not subscribe to it is not in, on any node.
	bob.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": "**"})
	chief := s.dialNode("/ws", "chief")
	watch(chief, "secret/1")
	until(chief, "no one else is there", func() bool { return len(members(chief, "secret/1")) == 1 })
	bob.Cut()
	if m := ann.Until("presence_leave"); M(m["member"].(map[string]any)).Text("connection_id") != connectionID(bob) {
		t.Errorf("got %v", m)
	}
}

// TestAPIOverNodes: the API of each node answers for all.
func TestAPIOverNodes(t *testing.T) {
	s := serveSite(t, nodesSite(t, "a b", userHeader+apiQuery(t)+"channel kept/** {\nhistory 10\n"+anyone+"\n}\nchannel ** {\n"+anyone+"\n}\n")())
	together(s, "a b")
	a, b := s.api("/api-a"), s.api("/api-b")
	var ids []string
	clients := map[string]*wstest.Client{}
	for _, dial := range []struct{ path, user string }{{"/ws", "ann"}, {"/b", "ann"}, {"/b", "bob"}, {"/ws", "cleo"}} {
		c := s.dialNode(dial.path, dial.user)
		c.Subscribe("x/"+dial.user, "all")
		ids = append(ids, connectionID(c))
		clients[dial.path+dial.user] = c
	}
	slices.Sort(ids)
	for limit := 1; limit <= 5; limit++ {
		for _, api := range []apiOf{a, b} {
			if got := api.pages(fmt.Sprint("/connections?limit=", limit), "connections", "id"); !slices.Equal(got, ids) {
				t.Errorf("in pages of %d: %v, want %v", limit, got, ids)
			}
			if got := api.pages(fmt.Sprint("/channels?limit=", limit), "channels", "channel"); fmt.Sprint(got) != "[all x/ann x/bob x/cleo]" {
				t.Errorf("in pages of %d: %v", limit, got)
			}
		}
	}
	nodes := map[string]int{}
	for _, one := range a.get("/connections").items("connections") {
		nodes[one.Text("node")]++
	}
	if len(nodes) != 2 || nodes[""] > 0 {
		t.Errorf("connections by node: %v", nodes)
	}
	if n := len(b.get("/connections?user=ann").items("connections")); n != 2 {
		t.Errorf("ann has %d connections", n)
	}
	if one := a.get("/channels/all").want(200); one.Int("subscribers") != 4 {
		t.Errorf("got %s", one.text)
	}
	// A history is the same everywhere.
	a.post("/publish", `{"channel":"kept/1","data":1}`).want(200)
	b.post("/publish", `{"channel":"kept/1","data":2}`).want(200)
	for _, api := range []apiOf{a, b} {
		until(clients["/wsann"], "both are kept", func() bool {
			one := api.get("/channels/kept%2F1")
			return one.status == 200 && one.Int("history_messages") == 2
		})
		if h := api.get("/channels/kept%2F1/history").want(200); len(h.List("messages")) != 2 {
			t.Errorf("got %s", h.text)
		}
	}
	// Streams.
	var streams []string
	for _, c := range clients {
		started := c.AskFor("query_started", M{"type": "stream_query", "query": "all", "batch_size": 1, "credits": 1})
		streams = append(streams, started.Text("stream_id"))
	}
	slices.Sort(streams)
	for limit := 1; limit <= 5; limit++ {
		got := a.pages(fmt.Sprint("/streams?limit=", limit), "streams", "stream_id")
		if slices.Sort(got); !slices.Equal(got, streams) {
			t.Errorf("in pages of %d: %v, want %v", limit, got, streams)
		}
	}
	for i, id := range streams {
		[]apiOf{a, b}[i%2].delete("/streams/" + id).want(204)
	}
	a.delete("/streams/"+streams[0]).fails(404, "INVALID_STREAM_ID")
	for _, c := range clients {
		c.Until("query_cancelled")
	}
	// Sums.
	for _, api := range []apiOf{a, b} {
		stats := api.get("/stats").want(200)
		if stats.Int("connections") != 4 || stats.Int("subscriptions") != 8 || stats.Has("node") || len(stats.items("nodes")) != 2 ||
			stats.Int("offset") != stats.items("nodes")[0].Int("offset") || M(stats.M["streams"].(map[string]any)).Int("cancelled") != 4 {
			t.Errorf("got %s", stats.text)
		}
	}
	// The history is one for all nodes, which look at its size now and then.
	until(clients["/wsann"], "both have seen it", func() bool {
		stats := a.get("/stats").want(200)
		nodes := stats.items("nodes")
		return nodes[0].Int("bytes_history") > 0 && nodes[1].Int("bytes_history") == nodes[0].Int("bytes_history") &&
			stats.Int("bytes_history") == nodes[0].Int("bytes_history")
	})
	// Closing.
	bob := clients["/bbob"]
	if one := a.get("/connections/" + connectionID(bob)).want(200); one.Text("user") != "bob" || len(one.List("channels")) != 2 {
		t.Errorf("got %s", one.text)
	}
	a.delete("/connections/" + connectionID(bob) + "?reconnect_after_ms=1500").want(204)
	if rest, code := bob.Closed(); code != 4100 || len(rest) != 1 || rest[0].Int("after_ms") != 1500 {
		t.Errorf("closed with %d after %v", code, rest)
	}
	// While it is being closed it is still there, and can be closed again.
	until(clients["/wscleo"], "the connection is gone", func() bool { return a.get("/connections/"+connectionID(bob)).status == 404 })
	a.delete("/connections/"+connectionID(bob)).fails(404, "NOT_FOUND")
	if one := b.delete("/users/ann").want(200); one.Int("disconnected") != 2 {
		t.Errorf("got %s", one.text)
	}
	for _, path := range []string{"/ws", "/b"} {
		if _, code := clients[path+"ann"].Closed(); code != 4100 {
			t.Errorf("%s: closed with %d", path, code)
		}
	}
	clients["/wscleo"].Ping()
}

// TestCredentialsOverNodes: a ticket of one node lets one client in, at any node; who is revoked at one is so at all, those included that
// start later.
func TestCredentialsOverNodes(t *testing.T) {
	two := nodesSite(t, "a b", withJWT("required"))
	s := serveSite(t, two())
	with := func(path, ticket string) error {
		_, _, err := wstest.TryDial(t, "ws://"+s.address+path+"?ticket="+url.QueryEscape(ticket), wstest.Options{})
		return err
	}
	a := s.api("/api-a")
	ticket := func(user string) string {
		return a.post("/tickets", fmt.Sprintf(`{"user":%q}`, user)).want(201).Text("ticket")
	}
	waiting := wstest.Dial(t, s.url()+"?ticket="+url.QueryEscape(ticket("eve")), wstest.Options{})
	until(waiting, "the nodes see each other", func() bool { return len(a.get("/stats").items("nodes")) == 2 })
	until(waiting, "a ticket is taken at the other node", func() bool { return with("/b", ticket("eve")) == nil })
	one := ticket("ann")
	if err := with("/b", one); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/ws", "/b"} {
		if with(path, one) == nil {
			t.Errorf("%s: the ticket is taken again", path)
		}
	}
	for _, wrong := range []string{"nobody~x", "~", "~x", strings.ToUpper(ticket("ann"))} {
		if with("/b", wrong) == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
	// Revocation.
	token := tokenOf(t, "ann", nil)
	bearer := func(path string) (*wstest.Client, error) {
		c, _, err := wstest.TryDial(t, "ws://"+s.address+path, wstest.Options{Header: http.Header{"Authorization": {"Bearer " + token}}})
		return c, err
	}
	first, err := bearer("/b")
	if err != nil {
		t.Fatal(err)
	}
	unused := ticket("ann")
	if n := a.delete("/users/ann").want(200).Int("disconnected"); n < 1 {
		t.Errorf("%d were disconnected", n)
	}
	if _, code := first.Closed(); code != 4100 {
		t.Errorf("closed with %d", code)
	}
	for _, path := range []string{"/ws", "/b"} {
		if _, err := bearer(path); err == nil {
			t.Errorf("%s: the token is taken", path)
		}
	}
	if with("/b", unused) == nil {
		t.Error("a ticket from before is taken")
	}
	fresh := ticket("ann")
	back := wstest.Dial(t, s.url()+"?ticket="+url.QueryEscape(fresh), wstest.Options{})
	three := strings.Replace(two(), "neuroquantum_ws_api /api-a/* a\n", "neuroquantum_ws_api /api-a/* a\n"+
		strings.NewReplacer("/b", "/c", "hub b", "hub c").Replace(two()[strings.LastIndex(two(), "neuroquantum_ws /b"):])+"\n", 1)
	s.reload(three)
	until(waiting, "the node that is new knows of it", func() bool {
		c, err := bearer("/c")
		if err == nil {
			c.Cut()
		}
		return err != nil
	})
	until(waiting, "it takes what is newer", func() bool { return with("/c", ticket("ann")) == nil })
	back.Ping() // what was revoked is told again and again, and ends nobody who has come since
}

// TestFeedOverNodes: of several nodes one publishes, and the clients of all get it.
func TestFeedOverNodes(t *testing.T) {
	feed := "source demo sqlite " + demoDB(t) + "\nfeed rows {\nsource demo\nsql `select id from readings order by id`\npublish rows\nreplay 10ms 1\n}\n" +
		"channel ** {\nhistory 1000\nallow subscribe anyone\n}\n"
	s := serveSite(t, nodesSite(t, "a b", feed)())
	together(s, "a b")
	for _, path := range []string{"/ws", "/b"} {
		c := s.dialNode(path, "")
		c.Subscribe("rows")
		last := 0.0
		for range 30 {
			m := c.Expect("channel_message")
			id := m["data"].(map[string]any)["id"].(float64)
			if last > 0 && id != last+1 {
				t.Fatalf("%s: behind %v comes %v", path, last, id)
			}
			last = id
		}
	}
}
