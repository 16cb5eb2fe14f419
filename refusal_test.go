package neuroquantumws_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// upgradeHeader is the header of a good upgrade and more, given as names and values.
func upgradeHeader(more ...string) http.Header {
	h := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	for i := 0; i < len(more); i += 2 {
		h.Add(more[i], more[i+1])
	}
	return h
}

// refusal checks a refusal before the upgrade: its status, that its text is JSON, and that nothing of the request is in it.
func refusal(t *testing.T, response *http.Response, body string, status int, code string) {
	t.Helper()
	var told struct{ Error, Code string }
	if err := json.Unmarshal([]byte(body), &told); err != nil {
		t.Errorf("%q: %v", body, err)
	}
	if response.StatusCode != status || told.Code != code || told.Error == "" {
		t.Errorf("got %s %q, want %d with the code %s", response.Status, body, status, code)
	}
	if retry := response.Header.Get("Retry-After"); (status == 429 || status == 503) != (retry != "") {
		t.Errorf("Retry-After is %q with %d", retry, status)
	} else if n, err := strconv.Atoi(retry); retry != "" && (err != nil || n < 1) {
		t.Errorf("Retry-After is %q", retry)
	}
}

func TestPlainRequestsAreToldToUpgrade(t *testing.T) {
	s := serve(t, "")
	for name, header := range map[string]http.Header{
		"plain":             {},
		"connection only":   {"Connection": {"Upgrade"}},
		"upgrade only":      {"Upgrade": {"websocket"}},
		"another protocol":  {"Connection": {"Upgrade"}, "Upgrade": {"h2c"}},
		"from a far origin": {"Origin": {"https://elsewhere.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			response, body := s.get(header)
			refusal(t, response, body, http.StatusUpgradeRequired, "UPGRADE_REQUIRED")
		})
	}
	for name, header := range map[string]http.Header{
		"old version": {"Connection": {"keep-alive, upgrade"}, "Upgrade": {"WebSocket"}, "Sec-Websocket-Version": {"8"},
			"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}},
		"no key": {"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			if response, body := s.get(header); response.StatusCode/100 != 4 {
				t.Errorf("got %s %q", response.Status, body)
			}
		})
	}
	if n := hubOf(t, "default").Stats().Connections; n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestOrigins(t *testing.T) {
	const same = "SAME" // stands for the origin of the site itself
	for _, test := range []struct {
		options string
		allowed []string
		refused []string
	}{
		{"", []string{"", same}, []string{"null", "https://elsewhere.example", "http://127.0.0.1:1", "nonsense", "http://"}},
		{
			"origins https://app.example.com https://*.example.org",
			[]string{"", same, "https://app.example.com", "HTTPS://APP.EXAMPLE.COM", "https://a.example.org", "https://a.b.example.org"},
			[]string{
				"null", "http://app.example.com", "https://app.example.com:8443", "https://example.org", "https://aexample.org",
				"https://app.example.com.evil.example", "https://evil-app.example.com", "https://evil.example/.example.org",
			},
		},
		{"origins only https://app.example.com", []string{"", "https://app.example.com"}, []string{same, "null"}},
		{"origins *", []string{"", same, "null", "https://elsewhere.example"}, nil},
	} {
		t.Run(test.options, func(t *testing.T) {
			s := serve(t, test.options)
			header := func(origin string) http.Header {
				if origin == "" {
					return upgradeHeader()
				}
				return upgradeHeader("Origin", strings.Replace(origin, same, "http://"+s.address, 1))
			}
			for _, origin := range test.allowed {
				if response, body := s.get(header(origin)); response.StatusCode != http.StatusSwitchingProtocols {
					t.Errorf("%q: %s %s", origin, response.Status, body)
				}
			}
			texts := map[string]bool{}
			for _, origin := range test.refused {
				response, body := s.get(header(origin))
				refusal(t, response, body, http.StatusForbidden, "ORIGIN_NOT_ALLOWED")
				texts[body] = true
			}
			if len(texts) > 1 {
				t.Errorf("the text is not fixed: %v", texts)
			}
			two := upgradeHeader("Origin", "http://"+s.address, "Origin", "https://elsewhere.example")
			if response, _ := s.get(two); test.options != "origins *" && response.StatusCode != http.StatusForbidden {
				t.Errorf("two origins: %s", response.Status)
			}
		})
	}
}

func TestConnectionsPerAddress(t *testing.T) {
	s := serve(t, "max_connections_per_ip 2")
	a, _ := s.dial(), s.dial()
	response, body := s.get(upgradeHeader())
	refusal(t, response, body, http.StatusTooManyRequests, "TOO_MANY_CONNECTIONS")
	leave(t, a)
	s.dial().Ping()
	// A header of the client's own does not make it another client.
	response, body = s.get(upgradeHeader("X-Forwarded-For", "203.0.113.9"))
	refusal(t, response, body, http.StatusTooManyRequests, "TOO_MANY_CONNECTIONS")
}

// leave closes a client's connection and waits until the server has given its place back.
func leave(t *testing.T, c *wstest.Client) {
	t.Helper()
	conn := hubOf(t, "default").Connection(c.Welcome.Text("connection_id"))
	if conn == nil {
		t.Fatal("the hub does not know the connection of its welcome")
	}
	c.Close()
	ended(t, conn)
}

func ended(t *testing.T, conn *hub.Conn) {
	t.Helper()
	select {
	case <-conn.Ended():
	case <-time.After(wait.Limit):
		t.Fatal("the connection does not end")
	}
}

func TestConnectionsPerUser(t *testing.T) {
	// The password of both is "secret".
	const hash = "$2a$04$n/24lJzLDQQvToLI8DN0lOGYPie4xgfEDYbpx2qTT2SIX5Zs3S58y"
	s := serveSite(t, "basic_auth {\nalice "+hash+"\nbob "+hash+"\n}\n"+ws("max_connections_per_user 1"))
	as := func(user string) http.Header {
		return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":secret"))}}
	}
	alice := wstest.Dial(t, s.url(), wstest.Options{Header: as("alice")})
	if alice.Welcome.Text("user") != "alice" {
		t.Errorf("welcome: %v", alice.Welcome)
	}
	header := upgradeHeader("Authorization", as("alice").Get("Authorization"))
	response, body := s.get(header)
	refusal(t, response, body, http.StatusTooManyRequests, "TOO_MANY_CONNECTIONS")
	wstest.Dial(t, s.url(), wstest.Options{Header: as("bob")}).Ping()
	leave(t, alice)
	wstest.Dial(t, s.url(), wstest.Options{Header: as("alice")}).Ping()
	if response, _ := s.get(upgradeHeader()); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a user: %s", response.Status)
	}
}

func TestTermsOfUsers(t *testing.T) {
	s := serve(t, `
		user {http.request.header.X-User}
		channel mail/alice {
			allow subscribe user:alice
			allow publish authenticated
		}
		channel ** {
			allow subscribe anyone
		}`)
	dial := func(user string) *wstest.Client {
		return wstest.Dial(t, s.url(), wstest.Options{Header: http.Header{"X-User": {user}}})
	}
	alice, bob, nobody := dial("alice"), dial("bob"), s.dial()
	alice.Subscribe("mail/alice")
	for _, c := range []*wstest.Client{bob, nobody} {
		c.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "mail/alice"})
		c.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": "**"})
	}
	nobody.Refused("FORBIDDEN", M{"type": "publish", "channel": "mail/alice", "data": 1})
	bob.Publish("mail/alice", "hello")
	if m := alice.Expect("channel_message"); m["data"] != "hello" {
		t.Errorf("got %v", m)
	}
	// Subscribed to ** they must not get what the earlier block keeps from them; their next message is the pong.
	for _, c := range []*wstest.Client{bob, nobody} {
		c.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": "**"})
		if c.Backlog() > 0 {
			t.Errorf("got %v", c.Next())
		}
	}
}

// The limit holds exactly however many come at once, and the places are given back.
func TestNoMoreThanTheLimitInAStampede(t *testing.T) {
	const limit, crowd = 7, 80
	s := serve(t, "max_connections "+strconv.Itoa(limit))
	for round := range 3 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		admitted := 0
		statuses := map[int]int{}
		gate := make(chan struct{})
		conns := make(chan net.Conn, crowd)
		for range crowd {
			wg.Go(func() {
				conn, err := net.Dial("tcp", s.address)
				if err != nil {
					t.Error(err)
					return
				}
				conns <- conn
				_ = conn.SetDeadline(time.Now().Add(wait.Limit))
				<-gate
				_, _ = conn.Write([]byte(wstest.Handshake(s.address, "/ws")))
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				statuses[response.StatusCode]++
				if response.StatusCode == http.StatusSwitchingProtocols {
					admitted++
				} else if response.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			})
		}
		close(gate)
		wg.Wait()
		if admitted != limit || statuses[http.StatusServiceUnavailable] != crowd-limit {
			t.Errorf("round %d: %v", round, statuses)
		}
		open := hubOf(t, "default").Connections()
		close(conns)
		for conn := range conns {
			conn.Close()
		}
		for _, conn := range open {
			ended(t, conn)
		}
	}
	response, body := s.get(upgradeHeader("Origin", "null"))
	refusal(t, response, body, http.StatusForbidden, "ORIGIN_NOT_ALLOWED")
}

// A place that was reserved is given back where the handshake fails.
func TestFailedHandshakesTakeNoPlace(t *testing.T) {
	s := serve(t, "max_connections 1")
	for range 3 {
		header := upgradeHeader()
		header.Del("Sec-WebSocket-Key")
		if response, _ := s.get(header); response.StatusCode != http.StatusBadRequest {
			t.Errorf("without key: %s", response.Status)
		}
	}
	s.dial().Ping()
}

func TestUpgradeWithBodyIsRefused(t *testing.T) {
	s := serve(t, "")
	for name, extra := range map[string][]string{
		"length":  {"Content-Length: 5"},
		"chunked": {"Transfer-Encoding: chunked"},
		"both":    {"Content-Length: 5", "Transfer-Encoding: chunked"},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			raw := wstest.DialRaw(t, s.address, wstest.Handshake(s.address, "/ws", extra...)+"5\r\nhello\r\n0\r\n\r\n", 0)
			if raw.Response.StatusCode != http.StatusBadRequest {
				t.Errorf("got %s", raw.Response.Status)
			}
		})
	}
	s.dial().Ping()
}

// A client need not wait for the answer to its handshake before it speaks.
func TestMessagesBehindTheHandshakeAreRead(t *testing.T) {
	s := serve(t, "")
	first := string(wstest.Frame(wstest.Fin|wstest.OpText, `{"type":"ping","id":1}`))
	raw := wstest.DialRaw(t, s.address, wstest.Handshake(s.address, "/ws")+first+first, 0)
	for range 2 {
		if m := raw.Next(); m.Type() != "pong" || m.Int("id") != 1 {
			t.Errorf("got %v", m)
		}
	}
}

// A token in the subprotocol header is never echoed.
func TestSubprotocols(t *testing.T) {
	s := serve(t, "")
	for _, test := range []struct {
		offered []string
		chosen  string
	}{
		{[]string{"neuroquantum.v1"}, "neuroquantum.v1"},
		{[]string{"bearer.secret", "neuroquantum.v1"}, "neuroquantum.v1"},
		{[]string{"other", "neuroquantum.v1"}, "neuroquantum.v1"},
		{[]string{"bearer.secret"}, ""},
		{[]string{"other"}, ""},
		{[]string{}, ""},
	} {
		c := wstest.Dial(t, s.url(), wstest.Options{Subprotocols: test.offered})
		if got := c.WebSocket().Subprotocol(); got != test.chosen {
			t.Errorf("of %v the server chose %q", test.offered, got)
		}
		if (c.Welcome != nil) != (test.chosen != "") {
			t.Errorf("with %v the welcome is %v", test.offered, c.Welcome)
		}
		c.Ping()
		if c.Backlog() > 0 {
			t.Errorf("with %v: %v", test.offered, c.Next())
		}
	}
}
