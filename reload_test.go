package neuroquantumws_test

import (
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

const slowly = "rate_limit 0.1 30"

// before is a site's options that a test goes on to replace.
func before(t testing.TB) string {
	return queries(t, `
		channel secret/** {
			history 100
			`+anyone+`
		}
		channel ** {
			history 100
			`+anyone+`
		}`)
}

// after are options in place of before: another heartbeat, message size and query, and secret/** is for publishers only.
func after(t testing.TB, more string) string {
	return more + "\nheartbeat 7s 21s\nmax_message_size 1000\nmax_subscriptions 3\nmax_streams 1\nsource other sqlite " + demoDB(t) + `
		query sensors {
			source other
			sql "select distinct sensor from readings"
			allow anyone
		}
		channel secret/** {
			history 100
			allow publish anyone
		}
		channel ** {
			history 200
			` + anyone + `
		}`
}

// received gives the data of the channel messages that a client gets, up to one that is "end".
func received(c *wstest.Client) (all []any) {
	c.T().Helper()
	for _, m := range c.Collect(func(m M) bool { return m["data"] == "end" }) {
		if m.Type() != "channel_message" {
			c.T().Errorf("got %v", m)
		}
		all = append(all, m["data"])
	}
	return all
}

func TestReloadKeepsConnectionsAndWhatTheyHave(t *testing.T) {
	s := serve(t, before(t))
	h := hubOf(t, "default")
	c, publisher, streaming := s.dial(), s.dial(), s.dial()
	c.Subscribe("a/*", "a/b", "secret/x")
	first := publisher.Publish("a/b", 1)
	publisher.Publish("secret/x", 2)
	started := start(streaming, M{"query": "readings", "credits": 1})
	streaming.Until("query_batch")

	s.reload(ws(after(t, slowly)))
	if hubOf(t, "default") != h || h.Stats().Connections != 3 {
		t.Fatal("it is another hub, or connections are gone")
	}
	// What is not allowed any more ends, in its place among the messages.
	var sent []any
	for _, m := range c.Collect(func(m M) bool { return m.Type() == "error" }) {
		sent = append(sent, m["data"])
		if m.Type() == "error" && (m.Text("code") != "FORBIDDEN" || m.Text("channel") != "secret/x") {
			t.Errorf("got %v", m)
		}
	}
	if fmt.Sprint(sent) != "[1 2 <nil>]" {
		t.Errorf("before its end the subscriber got %v", sent)
	}
	publisher.Publish("secret/x", 3)
	publisher.Publish("secret/y", 4)
	second := publisher.Publish("a/b", 5)
	publisher.Publish("a/c", "end")
	if got := fmt.Sprint(received(c)); got != "[5 end]" {
		t.Errorf("the subscriber got %s", got)
	}
	if second["epoch"] != first["epoch"] || second.Int("offset") != first.Int("offset")+4 {
		t.Errorf("first %v, then %v", first, second)
	}
	position := M{"epoch": first["epoch"], "offset": 0}
	if m := c.AskFor("history", M{"type": "history", "channel": "a/b", "since": position}); data(m.List("messages")) != "[1 5]" {
		t.Errorf("history: %v", m)
	}
	// What was kept of a channel is closed with the channel, also to a subscription of everything.
	later := s.dial()
	later.Send(M{"type": "subscribe", "channels": []string{"**"}, "since": position})
	if m := later.Expect("subscription_confirmed"); !m.Bool("recovered") || m["epoch"] != first["epoch"] {
		t.Errorf("got %v", m)
	}
	if got := fmt.Sprint(received(later)); got != "[1 5 end]" {
		t.Errorf("the replay is %s", got)
	}
	// The stream's query and its source are gone from the configuration.
	if m := streaming.Until("error"); m.Text("code") != "QUERY_NOT_FOUND" || m["stream_id"] != started["stream_id"] {
		t.Errorf("the stream: %v", m)
	}
}

// The limits of a new configuration hold for connections that are older.
func TestReloadedLimitsHoldForOpenConnections(t *testing.T) {
	s := serve(t, before(t))
	c, wordy := s.dial(), s.dial()
	c.Subscribe("a")
	s.reload(ws(after(t, "rate_limit 100000")))
	c.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "secret/a"})
	c.Refused("FORBIDDEN", M{"type": "history", "channel": "secret/a"})
	c.Subscribe("b", "c")
	c.Refused("LIMIT_EXCEEDED", M{"type": "subscribe", "channel": "d"})
	c.Refused("QUERY_NOT_FOUND", M{"type": "stream_query", "query": "readings"})
	start(c, M{"query": "sensors", "credits": 0})
	c.Refused("LIMIT_EXCEEDED", M{"type": "stream_query", "query": "sensors"})
	if w := s.dial().Welcome; w.Int("heartbeat_interval_ms") != 7000 || w.Int("max_message_bytes") != 1000 {
		t.Errorf("welcome: %v", w)
	}
	// The size comes into force when the hub next looks at the connection, which nobody sees but who sends too much.
	var err error
	check := wait.Check(t, "a long message closes the connection")
	for err == nil {
		check()
		_, err = wordy.TryAsk(M{"type": "ping", "timestamp": strings.Repeat("x", 2000)})
	}
	if code := wstest.CodeOf(err); code != 1009 {
		t.Errorf("a long message: closed with %d", code)
	}
	s.reload(ws(after(t, slowly)))
	for range 30 {
		c.Send(M{"type": "pong"})
	}
	c.Refused("RATE_LIMITED", M{"type": "publish", "channel": "a", "data": "too many"})
}

// A shorter heartbeat takes in those whom the longer one had not asked yet: who answers stays, who does not goes.
func TestReloadedHeartbeat(t *testing.T) {
	s := serve(t, "heartbeat 1m 2m")
	h := hubOf(t, "default")
	answering, silent := s.dial(), s.raw()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if _, err := answering.Read(); err != nil {
				if code := wstest.CodeOf(err); code != -1 {
					t.Errorf("who answers is closed with %d", code)
				}
				return
			}
		}
	})
	s.reload(ws("heartbeat 50ms 700ms"))
	if code := silent.CloseCode(); code != 4000 {
		t.Errorf("who is silent is closed with %d", code)
	}
	silent.Close()
	// It is as old as the other: who has outlived one that came later has outlived its own time.
	late := s.raw()
	late.CloseCode()
	if conn := h.Connection(answering.Welcome.Text("connection_id")); conn == nil {
		t.Error("who answers is gone")
	}
	answering.Cut()
	wg.Wait()
}

// A queue that is made smaller, and its new policy, hold for a client that stands still.
func TestReloadedQueue(t *testing.T) {
	s := serve(t, clogged("block", "health off"))
	c, conn := s.narrow()
	crowd := s.crowd(1)
	crowd.publish()
	crowd.clog(conn)
	s.reload(ws(strings.Replace(clogged("drop_newest", "health off"), "queue 20", "queue 5", 1)))
	crowd.publisher.Publish("fill", "the first under the new queues") // the old ones' last stand before it
	lost := conn.Stats().Dropped
	check := wait.Check(t, "messages are lost")
	for conn.Stats().Dropped < lost+20 {
		check()
		crowd.publisher.Publish("c", crowd.sent)
		crowd.readers[0].Expect("channel_message")
		crowd.sent++
	}
	l := &ledger{c: c, policy: "drop_newest"}
	l.read(func() bool { return l.next == crowd.sent })
	l.nothingMore()
	if len(l.gaps) == 0 {
		t.Error("no gap")
	}
}

// A configuration that does not come into force changes nothing, whether it is found out when it is read, when its queries are
// prepared or when its servers start.
func TestAFailedReloadChangesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := serve(t, before(t))
	h := hubOf(t, "default")
	settings := h.Settings()
	c, publisher, streaming := s.dial(), s.dial(), s.dial()
	c.Subscribe("**")
	started := start(streaming, M{"query": "readings", "credits": 0})
	for name, directives := range map[string]string{
		"an unknown option": ws(after(t, slowly) + "\nmax_conections 5"),
		"SQL without sense": ws(after(t, slowly) + "\nquery bad {\nsource other\nsql \"selekt 1\"\nallow anyone\n}"),
		"another hub, too":  ws("hub other\n"+after(t, slowly)) + "neuroquantum_ws /bad {\nsource demo sqlite /nowhere.db\n}\n",
		"a port in use":     ws(after(t, slowly)) + "}\nhttp://" + taken.Addr().String() + " {\nbind 127.0.0.1\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			err := s.load(directives)
			if err == nil {
				t.Fatal("it is accepted")
			}
			if strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) != (name == "a port in use") {
				t.Errorf("it is refused for another reason: %v", err)
			}
			if hubOf(t, "default") != h || h.Settings() != settings || instance.Find("other") != nil {
				t.Error("hubs or settings have changed")
			}
			publisher.Publish("secret/x", name)
			if m := c.Expect("channel_message"); m["data"] != name {
				t.Errorf("got %v", m)
			}
			for range 100 { // more than the rate that failed
				publisher.Ping()
			}
			fresh := s.dial()
			if w := fresh.Welcome; w.Int("heartbeat_interval_ms") != 30000 {
				t.Errorf("welcome: %v", w)
			}
			fresh.Refused("QUERY_NOT_FOUND", M{"type": "stream_query", "query": "sensors"})
			start(fresh, M{"query": "readings", "credits": 0})
			leave(t, fresh)
		})
	}
	streaming.Send(M{"type": "credit", "stream_id": started["stream_id"], "batches": 1000})
	follow(streaming, started, nil).completed(t, expected(t, demoDB(t), allReadings))
}

// The clients of a hub that ends are sent away, each in the words that it knows; what they had running ends with them.
func TestTheEndOfAHub(t *testing.T) {
	for name, end := range map[string]func(*site) error{
		"without the directive": func(s *site) error { return s.load("respond nothing") },
		"under another name":    func(s *site) error { return s.load(ws("hub other")) },
		"stop":                  func(*site) error { return caddy.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, queries(t, "hub main"))
			h := hubOf(t, "main")
			subscribed, streaming, old := s.dial(), s.dial(), s.old()
			subscribed.Subscribe("a")
			old.Subscribe("a")
			start(streaming, M{"query": "slow"})
			start(streaming, M{"query": "readings", "credits": 0})
			var wg sync.WaitGroup
			for _, c := range []*wstest.Client{subscribed, streaming, old} {
				wg.Go(func() {
					rest, code := c.Closed()
					var cancelled int
					rest = slices.DeleteFunc(rest, func(m M) bool {
						if m.Type() == "query_cancelled" && m.Text("reason") == "the server is going away" {
							cancelled++
						}
						return m.Type() == "query_progress" || m.Type() == "query_cancelled"
					})
					if c == streaming && cancelled != 2 {
						t.Errorf("%d of its streams were cancelled", cancelled)
					}
					if code != 1001 {
						t.Errorf("closed with %d", code)
					}
					if c == old {
						if len(rest) > 0 {
							t.Errorf("an old client got %v", rest)
						}
					} else if len(rest) != 1 || rest[0].Type() != "reconnect" || rest[0].Int("after_ms") < 1 || rest[0].Text("reason") == "" {
						t.Errorf("before the close: %v", rest)
					}
				})
			}
			if err := end(s); err != nil {
				t.Error(err)
			}
			wg.Wait()
			if instance.Find("main") != nil || h.Stats().Connections != 0 {
				t.Error("the hub lives on")
			}
			switch name {
			case "without the directive":
				if response, body := s.get(upgradeHeader()); response.StatusCode != http.StatusOK || body != "nothing" {
					t.Errorf("an upgrade gets %s %q", response.Status, body)
				}
			case "under another name":
				c := s.dial()
				if c.Welcome.Text("epoch") == subscribed.Welcome.Text("epoch") {
					t.Errorf("welcome: %v", c.Welcome)
				}
				c.Ping()
			default:
				if _, _, err := wstest.TryDial(t, s.url(), wstest.Options{}); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("after the stop: %v", err)
				}
			}
		})
	}
}

// Handlers with one name for their hub, of one site or several, share all that it has, for as long as one of them stands.
func TestHandlersShareAHub(t *testing.T) {
	address := freeAddress(t)
	shared := "hub shared\nchannel ** {\nhistory 10\n" + anyone + "}"
	one := ws(shared)
	several := one + "neuroquantum_ws /also {\n" + shared + "\n}\nneuroquantum_ws /alone {\nhub alone\n}\n" +
		"}\nhttp://" + address + " {\nbind 127.0.0.1\n" + ws(shared) // a second site
	s := serveSite(t, several)
	h := hubOf(t, "shared")
	first := s.dial()
	also := wstest.Dial(t, "ws://"+s.address+"/also", wstest.Options{})
	alone := wstest.Dial(t, "ws://"+s.address+"/alone", wstest.Options{})
	second := wstest.Dial(t, "ws://"+address+"/ws", wstest.Options{})
	sharing := []*wstest.Client{first, also, second}
	for _, c := range append(sharing, alone) {
		c.Subscribe("a")
	}
	everyoneHears := func(what string) {
		t.Helper()
		for i, publisher := range sharing {
			publisher.Send(M{"type": "publish", "channel": "a", "data": fmt.Sprint(what, i)})
			for _, c := range sharing {
				if m := c.Expect("channel_message"); m.Text("data") != fmt.Sprint(what, i) || c.Welcome["epoch"] != first.Welcome["epoch"] {
					t.Errorf("got %v", m)
				}
			}
		}
	}
	everyoneHears("with all ")
	if h.Stats().Connections != 3 {
		t.Errorf("%+v", h.Stats())
	}
	alone.Ping()
	if alone.Backlog() > 0 {
		t.Errorf("in a hub of its own: %v", alone.Next())
	}
	// The handlers through which two of them came are no more.
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, code := alone.Closed(); code != 1001 {
			t.Errorf("the client of the hub that ended is closed with %d", code)
		}
	})
	s.reload(one)
	wg.Wait()
	everyoneHears("with one ")
	if hubOf(t, "shared") != h {
		t.Error("it is another hub")
	}
}
