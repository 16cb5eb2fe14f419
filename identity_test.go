package neuroquantumws_test

import (
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"

	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

func TestRequired(t *testing.T) {
	s := serve(t, withJWT("required"))
	response, body := s.get(upgradeHeader())
	refusal(t, response, body, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED")
	response, body = s.get(upgradeHeader("Cookie", "session="+tokenOf(t, "ann", nil))) // no origin
	refusal(t, response, body, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED")
	s.dialWith(bearerHeader(tokenOf(t, "ann", nil))).Ping()
}

func TestRequiredByMessage(t *testing.T) {
	s := serve(t, withJWT("required message")+"auth_timeout 1h\nuser {http.request.host}\nsource demo sqlite "+demoDB(t)+
		"\nquery q {\nsource demo\nsql \"select 1\"\nallow anyone\n}")
	c := s.dial()
	if c.Welcome.Has("user") {
		t.Errorf("got %v", c.Welcome)
	}
	c.Ping()
	c.Send(M{"type": "pong", "timestamp": "x"})
	for _, request := range []M{
		{"type": "subscribe", "channel": "a"}, {"type": "unsubscribe", "channel": "a"}, {"type": "publish", "channel": "a", "data": 1},
		{"type": "history", "channel": "a"}, {"type": "presence", "channel": "a"}, {"type": "stream_query", "query": "q"},
		{"type": "credit", "stream_id": "x", "batches": 1}, {"type": "cancel_query", "stream_id": "x"},
		{"type": "query_status", "stream_id": "x"}, {"type": "message", "data": 1}, {"type": "watch", "query": "q"},
	} {
		c.Refused("UNAUTHENTICATED", request)
	}
	c.Refused("UNAUTHENTICATED", M{"type": "authenticate", "token": "bad"})
	c.Refused("UNAUTHENTICATED", M{"type": "subscribe", "channel": "a"})
	m := c.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "ann", nil)})
	if m.Text("user") != "ann" {
		t.Errorf("got %v", m)
	}
	if at, err := time.Parse(time.RFC3339, m.Text("expires_at")); err != nil || time.Until(at) < 59*time.Minute {
		t.Errorf("it expires at %q", m.Text("expires_at"))
	}
	c.Subscribe("a")
	if got := s.dialWith(bearerHeader(tokenOf(t, "ann", nil))); got.Welcome.Text("user") != "ann" {
		t.Errorf("got %v", got.Welcome)
	} else {
		got.Subscribe("a") // who has shown one need not show another
	}
}

func TestNotAuthenticatedInTime(t *testing.T) {
	s := serve(t, withJWT("required message")+"auth_timeout 300ms\nheartbeat 200ms 60s")
	c, good := s.dial(), s.dial()
	good.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "ann", nil)})
	if rest, code := c.Closed(); code != 4001 || len(rest) > 0 {
		t.Errorf("closed with %d after %v", code, rest)
	}
	good.Ping()
	until(good, "it is counted", func() bool { return hubOf(t, "default").Stats().Overdue == 1 })
}

// A connection outlives its token by 25 seconds; another token within that time saves it.
func TestTokensExpireAndAreRefreshed(t *testing.T) {
	s := serve(t, withJWT("leeway 25s")+"heartbeat 200ms 60s\nchannel ** {\nallow subscribe authenticated\nallow publish authenticated\n}")
	almost := M{"exp": time.Now().Add(-23 * time.Second).Unix()} // what is left of the grace is 2 s
	expiring, saved := s.dialWith(bearerHeader(tokenOf(t, "ann", almost))), s.dialWith(bearerHeader(tokenOf(t, "bob", almost)))
	expiring.Subscribe("a") // within the grace it is who it was
	saved.Subscribe("a")
	m := saved.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "bob", nil)})
	if m.Text("user") != "bob" {
		t.Errorf("got %v", m)
	}
	rest, code := expiring.Closed()
	if code != 4001 || len(rest) > 0 {
		t.Errorf("closed with %d after %v", code, rest)
	}
	saved.Publish("a", 1)
	saved.Expect("channel_message")
	// A ticket of authenticate that ends sooner counts, too.
	saved.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "bob", M{"exp": time.Now().Add(-24 * time.Second).Unix()})})
	if _, code := saved.Closed(); code != 4001 {
		t.Errorf("closed with %d", code)
	}
}

func TestAnonymousMayAuthenticateLater(t *testing.T) {
	s := serve(t, withJWT("")+"max_connections_per_user 1\nchannel users/{user}/** {\npresence\nallow subscribe authenticated\nallow presence authenticated\n}\n"+
		"channel lobby {\npresence\nallow subscribe anyone\nallow presence anyone\n}")
	c := s.dial()
	c.Subscribe("lobby")
	c.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "users/ann/x"})
	watcher := s.dial()
	watcher.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": "lobby", "presence": true})
	c.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "ann", nil)})
	c.Subscribe("users/ann/x")
	c.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "users/bob/x"})
	if m := watcher.Expect("presence_leave"); m["member"].(map[string]any)["user"] != nil {
		t.Errorf("got %v", m)
	}
	if m := watcher.Expect("presence_join"); m["member"].(map[string]any)["user"] != "ann" {
		t.Errorf("got %v", m)
	}
	list := watcher.AskFor("presence", M{"type": "presence", "channel": "lobby"})
	if list.Int("count") != 2 {
		t.Errorf("got %v", list)
	}
	// Another's token is not taken, nor a second connection of the same user.
	c.Refused("UNAUTHENTICATED", M{"type": "authenticate", "token": tokenOf(t, "bob", nil)})
	c.Subscribe("users/ann/y")
	watcher.Refused("LIMIT_EXCEEDED", M{"type": "authenticate", "token": tokenOf(t, "ann", nil)})
	watcher.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "users/ann/x"})
	response, body := s.get(upgradeHeader("Authorization", "Bearer "+tokenOf(t, "ann", nil)))
	refusal(t, response, body, http.StatusTooManyRequests, "TOO_MANY_CONNECTIONS")
	leave(t, c)
	watcher.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "ann", nil)})
}

// What a new token no longer allows is ended at once and told by name; all else goes on.
func TestRightsThatGoAreEnded(t *testing.T) {
	s := serve(t, withJWT("")+`
channel staff/** {
	history 10
	allow subscribe role:staff
	allow publish anyone
	allow history role:staff
}
channel t/{claim.tenant}/** {
	allow subscribe authenticated
	allow publish anyone
}
channel room {
	presence
	allow subscribe anyone
	allow presence role:staff
	allow publish anyone
}
channel ** {
	allow subscribe authenticated
	allow publish anyone
}
source demo sqlite `+demoDB(t)+`
query staff {
	source demo
	sql "select id from readings"
	allow role:staff
}
query tenant {
	source demo
	sql "select id, @t from readings"
	bind t {claim.tenant}
	allow authenticated
}
query all {
	source demo
	sql "select id from readings"
	allow anyone
}`)
	token := func(roles, tenant string) string { return tokenOf(t, "ann", M{"roles": roles, "tenant": tenant}) }
	c := s.dialWith(bearerHeader(token("staff", "blue")))
	c.Subscribe("staff/*", "t/blue/**", "**", "staff/one")
	c.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": "room", "presence": true})
	streams := map[string]string{}
	for _, query := range []string{"staff", "tenant", "all"} {
		m := c.AskFor("query_started", M{"type": "stream_query", "query": query, "credits": 0})
		streams[m.Text("stream_id")] = query
	}
	// The same rights again change nothing.
	c.AskFor("authenticated", M{"type": "authenticate", "token": token("staff", "blue")})
	if c.Backlog() != 0 {
		t.Fatalf("got %v", c.Next())
	}
	c.AskFor("authenticated", M{"type": "authenticate", "token": token("guest", "red")})
	ended := map[string]bool{}
	for range 6 {
		m := c.Next()
		for m.Type() == "query_progress" {
			m = c.Next()
		}
		if m.Type() != "error" || m.Text("code") != "FORBIDDEN" {
			t.Fatalf("got %v", m)
		}
		ended[m.Text("channel")+streams[m.Text("stream_id")]] = true
	}
	for _, what := range []string{"staff/*", "staff/one", "t/blue/**", "room", "staff", "tenant"} {
		if !ended[what] {
			t.Errorf("%s was not ended", what)
		}
	}
	for _, channel := range []string{"staff/one", "t/blue/x", "t/red/x", "room", "free"} {
		if _, err := hubOf(t, "default").Publish(t.Context(), hub.Publication{Channel: channel, Data: []byte("1")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"t/red/x", "room", "free"} { // ** is still there
		m := c.Next()
		for m.Type() == "query_progress" {
			m = c.Next()
		}
		if m.Text("channel") != want {
			t.Fatalf("got %v, want a message of %s", m, want)
		}
	}
	c.Refused("FORBIDDEN", M{"type": "history", "channel": "staff/one"})
	c.Refused("FORBIDDEN", M{"type": "stream_query", "query": "staff"})
}

func TestTickets(t *testing.T) {
	s := serve(t, withJWT("required")+"channel ** {\nallow subscribe role:x\n}")
	grant := access.Grant{User: "ann", Roles: []string{"x"}}
	ticket, until, err := instance.Find("default").IssueTicket(grant, 0)
	if err != nil || time.Until(until) > time.Minute || time.Until(until) < 50*time.Second {
		t.Fatalf("%v until %v", err, until)
	}
	other, _, err := instance.Find("default").IssueTicket(grant, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	s.reload(ws(withJWT("required") + "channel ** {\nallow subscribe role:x\n}")) // they live on
	url := s.url() + "?ticket="
	c := wstest.Dial(t, url+ticket, wstest.Options{})
	if c.Welcome.Text("user") != "ann" {
		t.Errorf("got %v", c.Welcome)
	}
	c.Subscribe("a")
	for _, query := range []string{ticket, "", "x", other + "&ticket=" + other, strings.ToLower(other)} {
		_, response, err := wstest.TryDial(t, url+query, wstest.Options{})
		if err == nil || response == nil || response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %v", query, response)
		}
	}
	wstest.Dial(t, url+other, wstest.Options{}).Ping() // what was not shown alone was not used
}

func TestRevocation(t *testing.T) {
	s := serve(t, withJWT(""))
	ann, bob := bearerHeader(tokenOf(t, "ann", nil)), bearerHeader(tokenOf(t, "bob", nil))
	a, b, c := s.dialWith(ann), s.dialWith(bob), s.dial()
	c.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "ann", nil)})
	old := s.dial()
	ticket, _, err := instance.Find("default").IssueTicket(access.Grant{User: "ann"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := instance.Find("default").RevokeUser("ann", time.Now(), -1); n != 2 {
		t.Errorf("%d connections were ended", n)
	}
	for _, client := range []*wstest.Client{a, c} {
		if rest, code := client.Closed(); code != 4100 || len(rest) > 0 {
			t.Errorf("closed with %d after %v", code, rest)
		}
	}
	b.Ping()
	maps.Copy(ann, upgradeHeader())
	response, body := s.get(ann)
	refusal(t, response, body, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED")
	old.Refused("UNAUTHENTICATED", M{"type": "authenticate", "token": tokenOf(t, "ann", nil)})
	if _, response, _ := wstest.TryDial(t, s.url()+"?ticket="+ticket, wstest.Options{}); response == nil || response.StatusCode != http.StatusUnauthorized {
		t.Errorf("the ticket is taken: %v", response)
	}
	old.Refused("UNAUTHENTICATED", M{"type": "authenticate", "token": tokenOf(t, "ann", M{"iat": nil})})
	// The clock of the issuer may be ahead by the leeway, so such a token may be older than the revocation.
	old.Refused("UNAUTHENTICATED", M{"type": "authenticate", "token": tokenOf(t, "ann", M{"iat": time.Now().Add(access.DefaultLeeway / 2).Unix()})})
	revoked := time.Now().Add(-time.Minute)
	instance.Find("default").RevokeUser("eve", revoked, -1)
	for after, taken := range map[time.Duration]bool{access.DefaultLeeway - 2*time.Second: false, access.DefaultLeeway + 2*time.Second: true} {
		request := M{"type": "authenticate", "token": tokenOf(t, "eve", M{"iat": revoked.Add(after).Unix()})}
		if taken {
			s.dial().AskFor("authenticated", request)
		} else {
			s.dial().Refused("UNAUTHENTICATED", request)
		}
	}

	if !instance.Find("default").Disconnect(b.Welcome.Text("connection_id"), 3*time.Second) {
		t.Error("no such connection")
	}
	rest, code := b.Closed()
	if code != 4100 || len(rest) != 1 || rest[0].Type() != "reconnect" || rest[0].Int("after_ms") != 3000 {
		t.Errorf("closed with %d after %v", code, rest)
	}
	s.dialWith(bob).Ping() // one connection was meant
	if instance.Find("default").Disconnect(b.Welcome.Text("connection_id"), -1) {
		t.Error("a connection that is gone was disconnected")
	}
}

// Values that the site binds follow who the client is, and nothing that a request says can pass for it.
func TestBoundValuesFollowTheIdentity(t *testing.T) {
	s := serve(t, withJWT("")+"metadata tenant {claim.tenant}\nmetadata who {user}-{http.request.header.X-Note}\nsource demo sqlite "+demoDB(t)+`
query who {
	source demo
	sql "select @u as u, @t as t, @n as n"
	bind u {user}
	bind t t-{claim.tenant}
	bind n "n{http.request.header.X-Note}"
	allow anyone
}`)
	ask := func(c *wstest.Client) []any {
		t.Helper()
		c.AskFor("query_started", M{"type": "stream_query", "query": "who", "format": "arrays"})
		return c.Until("query_batch").List("rows")[0].([]any)
	}
	header := http.Header{"X-Note": {"{user}{claim.tenant}"}}
	c := s.dialWith(header)
	c.Refused("FORBIDDEN", M{"type": "stream_query", "query": "who"}) // there is no user to bind
	c.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "ann", M{"tenant": "blue"})})
	if got := fmt.Sprint(ask(c)); got != "[ann t-blue n{user}{claim.tenant}]" {
		t.Errorf("got %s", got)
	}
	c.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "ann", M{"tenant": 7})})
	if got := fmt.Sprint(ask(c)); got != "[ann t-7 n{user}{claim.tenant}]" {
		t.Errorf("got %s", got)
	}
	c.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "ann", nil)})
	c.Refused("FORBIDDEN", M{"type": "stream_query", "query": "who"})

	header.Set("Authorization", "Bearer "+tokenOf(t, "ann", M{"tenant": "blue"}))
	conn := hubOf(t, "default").Connection(s.dialWith(header).Welcome.Text("connection_id"))
	if got := conn.Meta().Custom; got["tenant"] != "blue" || got["who"] != "ann-{user}{claim.tenant}" {
		t.Errorf("the metadata are %v", got)
	}
}

// Whom another login names is who the client is where it shows no token; whom a token names counts before.
func TestTokensBeforeOtherLogins(t *testing.T) {
	s := serve(t, withJWT("")+"user {http.request.header.X-User}")
	c := s.dialWith(http.Header{"X-User": {"bob"}})
	if c.Welcome.Text("user") != "bob" {
		t.Errorf("got %v", c.Welcome)
	}
	c.Refused("UNAUTHENTICATED", M{"type": "authenticate", "token": tokenOf(t, "ann", nil)})
	c.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "bob", nil)})
	c = s.dialWith(http.Header{"X-User": {"bob"}, "Authorization": {"Bearer " + tokenOf(t, "ann", nil)}})
	if c.Welcome.Text("user") != "ann" {
		t.Errorf("got %v", c.Welcome)
	}
	for _, name := range []string{strings.Repeat("x", 257), "a\tb", "\xff"} {
		response, body := s.get(upgradeHeader("X-User", name))
		refusal(t, response, body, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED")
	}
}

func TestWithoutJWTNoTokensAreTaken(t *testing.T) {
	s := serve(t, "")
	c := s.dialWith(bearerHeader("x"), "bearer.x")
	if c.Welcome.Has("user") {
		t.Errorf("got %v", c.Welcome)
	}
	c.Refused("UNAUTHENTICATED", M{"type": "authenticate", "token": tokenOf(t, "ann", nil)})
}

// Whoever connects while its user is revoked is let in by neither: no connection of a token from before is left.
func TestRevocationInAStampede(t *testing.T) {
	s := serve(t, withJWT("")+"max_connections_per_user 1000")
	header := bearerHeader(tokenOf(t, "ann", nil))
	witness := s.dial()
	var all sync.WaitGroup
	halfway := make(chan struct{}, 1)
	for i := range 60 {
		all.Go(func() {
			c, response, err := wstest.TryDial(t, s.url(), wstest.Options{Header: header})
			if i == 30 {
				halfway <- struct{}{}
			}
			switch {
			case err == nil:
				if _, code := c.Closed(); code != 4100 {
					t.Errorf("closed with %d", code)
				}
			case response == nil || response.StatusCode != http.StatusUnauthorized && response.StatusCode != http.StatusSwitchingProtocols:
				t.Errorf("got %v, %v", response, err)
			}
		})
	}
	<-halfway
	instance.Find("default").RevokeUser("ann", time.Now(), -1)
	all.Wait()
	until(witness, "nobody else is left", func() bool { return hubOf(t, "default").Stats().Connections == 1 })
}
