package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// issuer publishes its keys, on a pair of pipes so that time can stand.
type issuer struct {
	answer  atomic.Pointer[http.HandlerFunc]
	fetches atomic.Int32
}

// RoundTrip implements http.RoundTripper.
func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.fetches.Add(1)
	answer := i.answer.Load()
	if answer == nil {
		return nil, errors.New("connection refused")
	}
	w := httptest.NewRecorder()
	(*answer)(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (i *issuer) answers(status int, body string) {
	f := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
	i.answer.Store(&f)
}

// silent has the issuer take requests and never answer.
func (i *issuer) silent() {
	f := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	i.answer.Store(&f)
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// jwk is a key as it is published.
func jwk(kid string, key *ecdsa.PrivateKey) string {
	point, _ := key.PublicKey.Bytes()
	b64 := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":%q,"x":%q,"y":%q}`, kid, b64(point[1:33]), b64(point[33:]))
}

func jwks(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// signed is a good token.
func signed(t testing.TB, kid string, key *ecdsa.PrivateKey) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(24 * time.Hour).Unix()})
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// over makes a verifier over an issuer; what it logs is given as well.
func over(t testing.TB, i *issuer) (*Tokens, *KeySet, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	set, err := openKeySet("https://user:hidden@issuer.example/keys?key=hidden", zap.New(core), i)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := NewTokens(TokenOptions{Keys: set, Algorithms: []string{"ES256", "RS256"}, Leeway: DefaultLeeway})
	if err != nil {
		t.Fatal(err)
	}
	return tokens, set, logs
}

func verify(t testing.TB, tokens *Tokens, token string, want error) {
	t.Helper()
	id, err := tokens.Verify(context.Background(), token)
	if !errors.Is(err, want) {
		t.Errorf("got %v, %v; want %v", id, err, want)
	}
	if err == nil && id.User != "ann" {
		t.Errorf("the user is %q", id.User)
	}
}

func TestKeysAreFetchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, young := ecKey(t), ecKey(t)
		i := new(issuer)
		i.answers(200, jwks(jwk("old", old)))
		tokens, set, _ := over(t, i)
		defer set.Close()
		verify(t, tokens, signed(t, "old", old), nil) // it waits for the first fetch
		verify(t, tokens, signed(t, "", old), nil)
		verify(t, tokens, signed(t, "old", young), Signature)
		verify(t, tokens, signed(t, "", young), Signature)

		// A key that is not known yet is looked for once the last fetch is some time ago. Until then it may be a new one.
		i.answers(200, jwks(jwk("old", old), jwk("young", young)))
		verify(t, tokens, signed(t, "young", young), Unavailable)
		time.Sleep(keysUnknown)
		verify(t, tokens, signed(t, "young", young), nil)
		verify(t, tokens, signed(t, "", young), nil)

		// One that is gone is not taken any more after the next fetch.
		i.answers(200, jwks(jwk("young", young)))
		time.Sleep(keysRefresh + time.Second)
		verify(t, tokens, signed(t, "young", young), nil)
		time.Sleep(keysUnknown)
		verify(t, tokens, signed(t, "old", old), UnknownKey)

		// While the issuer fails, a kid that is not known may be a new one.
		i.answers(500, "")
		time.Sleep(keysUnknown)
		verify(t, tokens, signed(t, "third", old), Unavailable)
	})
}

// TestKeysOfOneKid: keys of different types may share a kid (RFC 7517, section 4.5).
func TestKeysOfOneKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := ecKey(t)
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		rsaJWK := fmt.Sprintf(`{"kty":"RSA","kid":"k","e":"AQAB","n":%q}`, base64.RawURLEncoding.EncodeToString(private.N.Bytes()))
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()})
		token.Header["kid"] = "k"
		byRSA, err := token.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		for _, keys := range []string{jwks(rsaJWK, jwk("k", ec)), jwks(jwk("k", ec), rsaJWK), jwks(jwk("k", ecKey(t)), rsaJWK, jwk("k", ec))} {
			i := new(issuer)
			i.answers(200, keys)
			tokens, set, _ := over(t, i)
			verify(t, tokens, byRSA, nil)
			verify(t, tokens, signed(t, "k", ec), nil)
			verify(t, tokens, signed(t, "k", ecKey(t)), Signature)
			set.Close()
		}
	})
}

// TestUnknownKeysDoNotKeepTheIssuerBusy: tokens that somebody makes up cause a fetch now and then, however many there are.
func TestUnknownKeysDoNotKeepTheIssuerBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ecKey(t)
		i := new(issuer)
		i.answers(200, jwks(jwk("a", key)))
		tokens, set, _ := over(t, i)
		defer set.Close()
		for n := range 3000 {
			if _, err := tokens.Verify(t.Context(), signed(t, fmt.Sprint("made up ", n), key)); !errors.Is(err, UnknownKey) && !errors.Is(err, Unavailable) {
				t.Fatalf("got %v", err)
			}
			time.Sleep(20 * time.Millisecond) // a minute in all
		}
		if n := i.fetches.Load(); n < 5 || n > 8 {
			t.Errorf("%d fetches in a minute", n)
		}
		verify(t, tokens, signed(t, strings.Repeat("x", 300), key), UnknownKey)
		verify(t, tokens, signed(t, "a", key), nil)

		// Nor do they keep a new key out for longer than that.
		i.answers(200, jwks(jwk("a", key), jwk("new", key)))
		for range 600 {
			_, _ = tokens.Verify(t.Context(), signed(t, "made up", key))
			time.Sleep(20 * time.Millisecond)
		}
		verify(t, tokens, signed(t, "new", key), nil)
	})
}

// TestTheLastGoodKeysStay: an issuer that is down, or talks nonsense, takes nothing away; and it is asked again, ever less often.
func TestTheLastGoodKeysStay(t *testing.T) {
	key := ecKey(t)
	rsaShort, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	short := fmt.Sprintf(`{"kty":"RSA","kid":"b","e":"AQAB","n":%q}`, base64.RawURLEncoding.EncodeToString(rsaShort.N.Bytes()))
	for name, break_ := range map[string]func(*issuer){
		"down":         func(i *issuer) { i.answer.Store(nil) },
		"silent":       (*issuer).silent,
		"an error":     func(i *issuer) { i.answers(500, jwks(jwk("b", key))) },
		"a redirect":   func(i *issuer) { i.answers(302, "") },
		"nonsense":     func(i *issuer) { i.answers(200, "<html>") },
		"no keys":      func(i *issuer) { i.answers(200, "{}") },
		"empty":        func(i *issuer) { i.answers(200, jwks()) },
		"only secrets": func(i *issuer) { i.answers(200, jwks(`{"kty":"oct","kid":"b","k":"c2VjcmV0"}`)) },
		"short keys":   func(i *issuer) { i.answers(200, jwks(short)) },
		"for secrecy":  func(i *issuer) { i.answers(200, jwks(strings.Replace(jwk("b", key), `"sig"`, `"enc"`, 1))) },
		"too long":     func(i *issuer) { i.answers(200, jwks(jwk("b", key))+strings.Repeat(" ", maxKeySet)) },
		"too many": func(i *issuer) {
			i.answers(200, jwks(strings.Split(strings.Repeat(jwk("b", key)+"\n", maxKeys+1), "\n")[:maxKeys+1]...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := new(issuer)
				i.answers(200, jwks(jwk("a", key)))
				tokens, set, logs := over(t, i)
				defer set.Close()
				verify(t, tokens, signed(t, "a", key), nil)
				break_(i)
				time.Sleep(keysRefresh + 10*time.Minute)
				verify(t, tokens, signed(t, "a", key), nil)
				if n := i.fetches.Load(); n < 8 || n > 25 {
					t.Errorf("%d fetches", n)
				}
				if logs.FilterMessageSnippet("cannot be fetched").Len() == 0 {
					t.Error("nothing was logged")
				}
				told, err := json.Marshal(logs.All())
				if err != nil || strings.Contains(string(told)+fmt.Sprint(logs.All()), "hidden") {
					t.Errorf("the log tells the address: %v", logs.All())
				}
				i.answers(200, jwks(jwk("new", key)))
				time.Sleep(2 * keysMaxWait)
				verify(t, tokens, signed(t, "new", key), nil)
				verify(t, tokens, signed(t, "a", key), UnknownKey)
			})
		})
	}
}

// TestADeadIssuerHoldsNothingUp: opening does not wait, tokens wait for a while only, and closing ends a fetch under way.
func TestADeadIssuerHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ecKey(t)
		i := new(issuer)
		i.silent()
		start := time.Now()
		tokens, set, _ := over(t, i)
		if time.Since(start) > 0 {
			t.Errorf("opening took %s", time.Since(start))
		}
		verify(t, tokens, signed(t, "a", key), Unavailable)
		if took := time.Since(start); took != keysPatience {
			t.Errorf("a token waited for %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := tokens.Verify(ctx, signed(t, "a", key)); !errors.Is(err, Unavailable) || time.Since(start) != keysPatience+time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		cancel()
		set.Close()
	})
	i := new(issuer)
	synctest.Test(t, func(t *testing.T) {
		key := ecKey(t)
		tokens, set, _ := over(t, i)
		verify(t, tokens, signed(t, "a", key), Unavailable)
		verify(t, tokens, signed(t, "a", key), Unavailable)
		i.answers(200, jwks(jwk("a", key)))
		time.Sleep(keysMinWait + time.Millisecond)
		verify(t, tokens, signed(t, "a", key), nil)
		set.Close()
	})
}

// TestSharedSecretsInPublicAreNone: a set's other keys are used, and a token signed by its `oct` key is not taken.
func TestSharedSecretsInPublicAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ecKey(t)
		i := new(issuer)
		i.answers(200, jwks(`{"kty":"oct","kid":"s","k":"c2VjcmV0","alg":"HS256"}`, `{"kty":"XX","kid":"x"}`, `5`, jwk("a", key)))
		tokens, set, _ := over(t, i)
		defer set.Close()
		verify(t, tokens, signed(t, "a", key), nil)
		forged := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()})
		for _, kid := range []string{"s", "a", ""} {
			forged.Header["kid"] = kid
			text, err := forged.SignedString([]byte("secret"))
			if err != nil {
				t.Fatal(err)
			}
			verify(t, tokens, text, Algorithm)
		}
	})
}

func TestKeySetAddresses(t *testing.T) {
	for _, address := range []string{"", "keys", "ftp://a/keys", "file:///etc/passwd", "https://", "://"} {
		if set, err := OpenKeySet(address, zap.NewNop()); err == nil {
			set.Close()
			t.Errorf("%q is taken", address)
		}
	}
	// Over a real socket that nobody listens on.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	set, err := OpenKeySet("http://"+listener.Addr().String()+"/keys", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	set.Close()
}
