package neuroquantumws_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// publish serves a key set at an address, as long as up is true.
func publish(t testing.TB, address string, up *atomic.Bool, key *ecdsa.PublicKey) {
	t.Helper()
	point, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	set := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"one","use":"sig","x":%q,"y":%q}]}`, b64(point[1:33]), b64(point[33:]))
	listen(t, address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte(set))
	}))
}

// A site starts and reloads while the issuer is dead; once it has its keys it keeps them, also over reloads in which the issuer is dead
// again. A key set is forgotten with the last configuration that names it.
func TestJWKS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, jwt.SigningMethodES256, key, M{"kid": "one"}, claims("ann", nil))
	address := freeAddress(t)
	options := "jwt {\njwks http://" + address + "/keys\naudience realtime\n}\nrate_limit 100000"
	s := serve(t, options)
	anonymous := s.dial()
	anonymous.Ping()
	response, body := s.get(upgradeHeader("Authorization", "Bearer "+token))
	refusal(t, response, body, http.StatusServiceUnavailable, "KEYS_UNAVAILABLE")
	if m := anonymous.Refused("UNAUTHENTICATED", M{"type": "authenticate", "token": token}); m.Int("retry_after_ms") < 1 {
		t.Errorf("got %v", m)
	}
	var up atomic.Bool
	up.Store(true)
	publish(t, address, &up, &key.PublicKey)
	until(anonymous, "the keys are there", func() bool {
		response, _ := s.get(upgradeHeader("Authorization", "Bearer "+token))
		return response.StatusCode == http.StatusSwitchingProtocols
	})
	up.Store(false)
	s.reload(ws(options + "\nmax_streams 3"))
	c := wstest.Dial(t, s.url(), wstest.Options{Header: bearerHeader(token)})
	if c.Welcome.Text("user") != "ann" {
		t.Errorf("got %v", c.Welcome)
	}
	// A secret where public keys are published is none.
	confused := sign(t, jwt.SigningMethodHS256, []byte("one"), M{"kid": "one"}, claims("ann", nil))
	response, body = s.get(upgradeHeader("Authorization", "Bearer "+confused))
	refusal(t, response, body, http.StatusUnauthorized, "WEBSOCKET_AUTH_REQUIRED")
	s.reload(ws(""))
	s.reload(ws(options))
	response, body = s.get(upgradeHeader("Authorization", "Bearer "+token))
	refusal(t, response, body, http.StatusServiceUnavailable, "KEYS_UNAVAILABLE")
}
