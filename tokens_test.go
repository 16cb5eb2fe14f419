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
		{"origins * https://app.example", "SAME", "ann"},
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
