package neuroquantumws_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	neuroquantumws "github.com/neuroquantumdb/neuroquantum-ws"
	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

const secret = "0123456789abcdef0123456789abcdef"

// claims are those of a good token of a user, with others in their place or beside them; nil takes one out.
func claims(user string, others M) jwt.MapClaims {
	c := jwt.MapClaims{
		"sub": user, "iss": "https://issuer.example", "aud": "realtime", "exp": time.Now().Add(time.Hour).Unix(),
		"iat": time.Now().Add(-time.Second).Unix(),
	}
	maps.Copy(c, jwt.MapClaims(others))
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// sign makes a token.
func sign(t testing.TB, method jwt.SigningMethod, key any, header M, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// tokenOf is a good token of a user.
func tokenOf(t testing.TB, user string, others M) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, []byte(secret), nil, claims(user, others))
}

const jwtBlock = `jwt {
	key ` + secret + `
	algorithms HS256
	issuer https://issuer.example
	audience realtime
	cookie session
	%s
}
`

func withJWT(more string) string { return fmt.Sprintf(jwtBlock, more) }

// dialWith connects with more header lines and subprotocols.
func (s *site) dialWith(header http.Header, subprotocols ...string) *wstest.Client {
	s.t.Helper()
	return wstest.Dial(s.t, s.url(), wstest.Options{Header: header, Subprotocols: append([]string{"neuroquantum.v1"}, subprotocols...)})
}

func bearerHeader(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// ways are the places of a token at the upgrade.
var ways = map[string]func(s *site, token string) (header http.Header, query string){
	"header": func(_ *site, token string) (http.Header, string) { return bearerHeader(token), "" },
	"lower case": func(_ *site, token string) (http.Header, string) {
		return http.Header{"Authorization": {"bearer  " + token}}, ""
	},
	"subprotocol": func(_ *site, token string) (http.Header, string) {
		return http.Header{"Sec-Websocket-Protocol": {"neuroquantum.v1, bearer." + token}}, ""
	},
	"subprotocol first": func(_ *site, token string) (http.Header, string) {
		return http.Header{"Sec-Websocket-Protocol": {"bearer." + token, "neuroquantum.v1"}}, ""
	},
	"cookie": func(s *site, token string) (http.Header, string) {
		return http.Header{"Cookie": {"a=b; session=" + token}, "Origin": {"http://" + s.address}}, ""
	},
}

// upgradeBy asks for an upgrade with a token shown in one of the ways.
func (s *site) upgradeBy(way, token string) (*http.Response, string) {
	s.t.Helper()
	header, _ := ways[way](s, token)
	maps.Copy(header, upgradeHeader())
	return s.get(header)
}

func TestTokensAtTheUpgrade(t *testing.T) {
	s := serve(t, withJWT("")+"channel ** {\nallow subscribe role:reader\n}")
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			s := s.in(t)
			header, _ := ways[way](s, tokenOf(t, "ann", M{"roles": []string{"reader"}}))
			var offers []string
			for _, value := range header["Sec-Websocket-Protocol"] {
				offers = append(offers, strings.Split(value, ", ")...)
			}
			header.Del("Sec-Websocket-Protocol")
			if offers == nil {
				offers = []string{"neuroquantum.v1"}
			}
			c := wstest.Dial(t, s.url(), wstest.Options{Header: header, Subprotocols: offers})
			if c.Welcome.Text("user") != "ann" {
				t.Errorf("the welcome is %v", c.Welcome)
			}
			if c.WebSocket().Subprotocol() != "neuroquantum.v1" {
				t.Errorf("the subprotocol is %q", c.WebSocket().Subprotocol())
			}
			c.Subscribe("a/*")
		})
	}
	anonymous := s.dial()
	anonymous.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "a"})
	if anonymous.Welcome.Has("user") {
		t.Errorf("got %v", anonymous.Welcome)
	}
}

// badTokens are tokens that must be refused, by what is wrong with them.
func badTokens(t testing.TB) map[string]string {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	hs := func(c jwt.MapClaims) string { return sign(t, jwt.SigningMethodHS256, []byte(secret), nil, c) }
	good := tokenOf(t, "ann", nil)
	parts := strings.Split(good, ".")
	forged, err := json.Marshal(claims("eve", nil))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return map[string]string{
		"empty":              "",
		"nonsense":           "nonsense",
		"three dots":         "a.b.c.d",
		"empty parts":        "..",
		"forged claims":      parts[0] + "." + b64(forged) + "." + parts[2],
		"cut signature":      good[:len(good)-4],
		"no signature":       parts[0] + "." + parts[1] + ".",
		"another key":        sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), nil, claims("ann", nil)),
		"none":               sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, claims("ann", nil)),
		"None":               b64([]byte(`{"alg":"None"}`)) + "." + parts[1] + ".",
		"none, signed":       b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + "." + parts[2],
		"another algorithm":  sign(t, jwt.SigningMethodHS384, []byte(secret), nil, claims("ann", nil)),
		"RSA":                sign(t, jwt.SigningMethodRS256, rsaKey, nil, claims("ann", nil)),
		"expired":            hs(claims("ann", M{"exp": time.Now().Add(-time.Minute).Unix()})),
		"exp is text":        hs(claims("ann", M{"exp": "never"})),
		"exp is huge":        hs(claims("ann", M{"exp": json.Number("1e400")})),
		"not yet":            hs(claims("ann", M{"nbf": time.Now().Add(time.Minute).Unix()})),
		"issued later":       hs(claims("ann", M{"iat": time.Now().Add(time.Minute).Unix()})),
		"another issuer":     hs(claims("ann", M{"iss": "https://evil.example"})),
		"no issuer":          hs(claims("ann", M{"iss": nil})),
		"another audience":   hs(claims("ann", M{"aud": "batch"})),
		"other audiences":    hs(claims("ann", M{"aud": []string{"batch", "mail"}})),
		"no audience":        hs(claims("ann", M{"aud": nil})),
		"no user":            hs(claims("ann", M{"sub": nil})),
		"an empty user":      hs(claims("", nil)),
		"a user that is one": hs(claims("", M{"sub": true})),
		"a list of users":    hs(claims("", M{"sub": []string{"ann"}})),
		"a long user":        hs(claims(strings.Repeat("x", 257), nil)),
		"a control user":     hs(claims("ann\n", nil)),
		"critical":           sign(t, jwt.SigningMethodHS256, []byte(secret), M{"crit": []string{"b64"}, "b64": false}, claims("ann", nil)),
		"kid is a number":    sign(t, jwt.SigningMethodHS256, []byte(secret), M{"kid": 5}, claims("ann", nil)),
		"too long":           hs(claims("ann", M{"fill": strings.Repeat("x", 8<<10)})),
		"padding":            parts[0] + "=." + parts[1] + "." + parts[2],
	}
}

func TestBadTokensAreRefused(t *testing.T) {
	s := serve(t, withJWT(""))
	c := s.dial()
	for what, token := range badTokens(t) {
		t.Run(what, func(t *testing.T) {
			s := s.in(t)
			for way := range ways {
				response, body := s.upgradeBy(way, token)
				if response.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s: %s", way, response.Status)
					continue
				}
				refusal(t, response, body, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED")
				if !strings.HasPrefix(response.Header.Get("WWW-Authenticate"), "Bearer") {
					t.Errorf("%s: WWW-Authenticate is %q", way, response.Header.Get("WWW-Authenticate"))
				}
			}
			c.Refused("UNAUTHENTICATED", M{"type": "authenticate", "token": token})
			c.Ping()
		})
	}
	if n := hubOf(t, "default").Stats().Unidentified; n == 0 {
		t.Error("refused tokens are not counted")
	}
}

// Tokens that differ from what is usual, and are good.
func TestGoodTokens(t *testing.T) {
	s := serve(t, withJWT("user_claim id.name\nroles_claim realm_access.roles")+
		"channel roles/** {\nallow subscribe role:b\n}\nchannel t/{claim.org.id}/{claim.https://x.example/n}/** {\nallow subscribe authenticated\n}")
	for what, test := range map[string]struct {
		claims M
		user   string
	}{
		"a number":            {M{"id": M{"name": 12345678901}}, "12345678901"},
		"text":                {M{"id": M{"name": "ann@example.com"}}, "ann@example.com"},
		"dots in the name":    {M{"id.name": "bob", "id": M{"name": "ann"}}, "bob"},
		"several audiences":   {M{"id": M{"name": "ann"}, "aud": []string{"x", "realtime"}}, "ann"},
		"just expired":        {M{"id": M{"name": "ann"}, "exp": time.Now().Add(-3 * time.Second).Unix()}, "ann"},
		"a clock ahead":       {M{"id": M{"name": "ann"}, "nbf": time.Now().Add(5 * time.Second).Unix()}, "ann"},
		"without iat":         {M{"id": M{"name": "ann"}, "iat": nil}, "ann"},
		"exp after year 9999": {M{"id": M{"name": "ann"}, "exp": 1e15}, "ann"},
	} {
		c := s.dialWith(bearerHeader(tokenOf(t, "", test.claims)))
		if c.Welcome.Text("user") != test.user {
			t.Errorf("%s: %v", what, c.Welcome)
		}
	}
	for _, roles := range []any{[]string{"a", "b"}, "a b  c", []any{1, "b", nil}} {
		c := s.dialWith(bearerHeader(tokenOf(t, "", M{"id": M{"name": "ann"}, "realm_access": M{"roles": roles}})))
		c.Subscribe("roles/x")
	}
	for _, roles := range []any{nil, "ab", "a,b", []string{"a b"}, M{"b": true}, true} {
		c := s.dialWith(bearerHeader(tokenOf(t, "", M{"id": M{"name": "ann"}, "realm_access": M{"roles": roles}})))
		c.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "roles/x"})
	}
	c := s.dialWith(bearerHeader(tokenOf(t, "", M{"id": M{"name": "ann"}, "org": M{"id": 7}, "https://x.example/n": "seven"})))
	c.Subscribe("t/7/seven/**")
	c.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "t/7/eight/x"})
	c.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "t/7/*/x"})
}

// What is shown by intent counts before what a browser sends unasked, and nothing that is not valid is passed over.
func TestOneCredentialCounts(t *testing.T) {
	s := serve(t, withJWT(""))
	good, bad := tokenOf(t, "ann", nil), "bad"
	other := tokenOf(t, "bob", nil)
	own := "http://" + s.address
	for what, test := range map[string]struct {
		header http.Header
		user   string // "" for 401, "-" for anonymous
	}{
		"header before subprotocol":        {http.Header{"Authorization": {"Bearer " + good}, "Sec-Websocket-Protocol": {"bearer." + other}}, "ann"},
		"bad header, good subprotocol":     {http.Header{"Authorization": {"Bearer " + bad}, "Sec-Websocket-Protocol": {"bearer." + good}}, ""},
		"subprotocol before cookie":        {http.Header{"Sec-Websocket-Protocol": {"bearer." + good}, "Cookie": {"session=" + other}, "Origin": {own}}, "ann"},
		"bad subprotocol, good cookie":     {http.Header{"Sec-Websocket-Protocol": {"bearer." + bad}, "Cookie": {"session=" + other}, "Origin": {own}}, ""},
		"two headers":                      {http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}, ""},
		"two subprotocols":                 {http.Header{"Sec-Websocket-Protocol": {"bearer." + good + ", bearer." + other}}, ""},
		"two cookies":                      {http.Header{"Cookie": {"session=" + good + "; session=" + other}, "Origin": {own}}, ""},
		"another scheme is not for tokens": {http.Header{"Authorization": {"Basic " + good}}, "-"},
		"another cookie":                   {http.Header{"Cookie": {"other=" + bad}, "Origin": {own}}, "-"},
		"a cookie without origin":          {http.Header{"Cookie": {"session=" + good}}, "-"},
		"a bad cookie without origin":      {http.Header{"Cookie": {"session=" + bad}}, "-"},
		"an empty bearer":                  {http.Header{"Authorization": {"Bearer "}}, ""},
		"an empty entry":                   {http.Header{"Sec-Websocket-Protocol": {"bearer."}}, ""},
		"an empty cookie":                  {http.Header{"Cookie": {"session="}, "Origin": {own}}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			s := s.in(t)
			if test.user == "" {
				maps.Copy(test.header, upgradeHeader())
				response, body := s.get(test.header)
				refusal(t, response, body, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED")
				return
			}
			offers := []string{"neuroquantum.v1"}
			for _, value := range test.header["Sec-Websocket-Protocol"] {
				offers = append(offers, strings.Split(value, ", ")...)
			}
			test.header.Del("Sec-Websocket-Protocol")
			c := wstest.Dial(t, s.url(), wstest.Options{Header: test.header, Subprotocols: offers})
			if user := c.Welcome.Text("user"); user != strings.TrimPrefix(test.user, "-") {
				t.Errorf("the user is %q", user)
			}
		})
	}
}

// With `origins *` any page connects, but not as its visitor.
func TestCookiesNeedAnOriginThatIsNamed(t *testing.T) {
	good := tokenOf(t, "ann", nil)
	for _, test := range []struct {
		options, origin string
		user            string
	}{
		{"origins *", "https://evil.example", ""},
		{"origins *", "null", ""},
		{"origins *", "SAME", "ann"},
		{"origins * https://app.example", "https://app.example", "ann"},
		{"origins * https://app.example", "SAME", ""},
		{"origins https://app.example", "https://app.example", "ann"},
	} {
		s := serve(t, test.options+"\n"+withJWT(""))
		origin := strings.Replace(test.origin, "SAME", "http://"+s.address, 1)
		c := s.dialWith(http.Header{"Cookie": {"session=" + good}, "Origin": {origin}})
		if c.Welcome.Text("user") != test.user {
			t.Errorf("%s, %s: %v", test.options, test.origin, c.Welcome)
		}
	}
}

func TestRequired(t *testing.T) {
	s := serve(t, withJWT("required"))
	response, body := s.get(upgradeHeader())
	refusal(t, response, body, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED")
	response, body = s.get(upgradeHeader("Cookie", "session="+tokenOf(t, "ann", nil))) // no origin
	refusal(t, response, body, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED")
	s.dialWith(bearerHeader(tokenOf(t, "ann", nil))).Ping()
}

func TestRequiredByMessage(t *testing.T) {
	s := serve(t, withJWT("required message")+"auth_timeout 1h\nuser mallory\nsource demo sqlite "+demoDB(t)+
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
	ticket, until, err := neuroquantumws.IssueTicket("default", grant, 0)
	if err != nil || time.Until(until) > time.Minute || time.Until(until) < 50*time.Second {
		t.Fatalf("%v until %v", err, until)
	}
	other, _, err := neuroquantumws.IssueTicket("default", grant, time.Minute)
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
	ticket, _, err := neuroquantumws.IssueTicket("default", access.Grant{User: "ann"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := neuroquantumws.RevokeUser("default", "ann", time.Now(), -1); n != 2 {
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
	old.AskFor("authenticated", M{"type": "authenticate", "token": tokenOf(t, "ann", M{"iat": time.Now().Add(5 * time.Second).Unix()})})

	if !neuroquantumws.Disconnect("default", b.Welcome.Text("connection_id"), 3*time.Second) {
		t.Error("no such connection")
	}
	rest, code := b.Closed()
	if code != 4100 || len(rest) != 1 || rest[0].Type() != "reconnect" || rest[0].Int("after_ms") != 3000 {
		t.Errorf("closed with %d after %v", code, rest)
	}
	s.dialWith(bob).Ping() // one connection was meant
	if neuroquantumws.Disconnect("default", b.Welcome.Text("connection_id"), -1) {
		t.Error("a connection that is gone was disconnected")
	}
}

// publicPEM is a key's public half.
func publicPEM(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Whoever knows a public key must not be able to make tokens with it.
func TestPublicKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NQ_TEST_EC", strings.ReplaceAll(publicPEM(t, ecKey.Public()), "\n", `\n`))
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte(publicPEM(t, edPublic)), 0o600); err != nil {
		t.Fatal(err)
	}
	good := claims("ann", nil)
	for name, test := range map[string]struct {
		key, pem string
		good     map[string]string
	}{
		"RSA inline": {"`" + publicPEM(t, rsaKey.Public()) + "`\nalgorithms RS256 PS256", publicPEM(t, rsaKey.Public()), map[string]string{
			"RS256": sign(t, jwt.SigningMethodRS256, rsaKey, nil, good), "PS256": sign(t, jwt.SigningMethodPS256, rsaKey, nil, good),
		}},
		"EC from the environment": {"{env.NQ_TEST_EC}", publicPEM(t, ecKey.Public()), map[string]string{
			"ES256": sign(t, jwt.SigningMethodES256, ecKey, nil, good),
		}},
		"Ed25519 from a file": {"file:" + file, publicPEM(t, edPublic), map[string]string{
			"EdDSA": sign(t, jwt.SigningMethodEdDSA, edKey, nil, good),
		}},
		"Ed25519 from a path": {file + "\nalgorithms EdDSA", publicPEM(t, edPublic), map[string]string{
			"EdDSA": sign(t, jwt.SigningMethodEdDSA, edKey, nil, good),
		}},
		"base64": {"base64:" + base64.StdEncoding.EncodeToString([]byte(publicPEM(t, edPublic))), publicPEM(t, edPublic), map[string]string{
			"EdDSA": sign(t, jwt.SigningMethodEdDSA, edKey, nil, good),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "jwt {\nkey "+test.key+"\n}")
			for algorithm, token := range test.good {
				if c := s.dialWith(bearerHeader(token)); c.Welcome.Text("user") != "ann" {
					t.Errorf("%s: %v", algorithm, c.Welcome)
				}
			}
			for _, confused := range []string{test.pem, strings.TrimSpace(test.pem), test.pem + "\n"} {
				for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
					response, body := s.get(upgradeHeader("Authorization", "Bearer "+sign(t, method, []byte(confused), nil, good)))
					refusal(t, response, body, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED")
				}
			}
			if _, mixed := test.good["RS256"]; mixed {
				response, _ := s.get(upgradeHeader("Authorization", "Bearer "+sign(t, jwt.SigningMethodRS512, rsaKey, nil, good)))
				if response.StatusCode != http.StatusUnauthorized {
					t.Errorf("an algorithm that is not pinned: %s", response.Status)
				}
			}
		})
	}
}

// A token that says no end is good until its key is changed.
func TestTokenWithoutEnd(t *testing.T) {
	s := serve(t, withJWT(""))
	c := s.dial()
	token := sign(t, jwt.SigningMethodHS256, []byte(secret), nil, claims("ann", M{"exp": nil}))
	if m := c.AskFor("authenticated", M{"type": "authenticate", "token": token}); m.Text("user") != "ann" || m.Has("expires_at") {
		t.Errorf("got %v", m)
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
