package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A request from elsewhere that no login has seen is told of, once.
func TestWarnsOfRequestsWithoutLogin(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	var u AuthWarning
	request := func(address, user string, certificate bool) {
		repl := caddy.NewReplacer()
		if user != "" {
			repl.Set("http.auth.user.id", user)
		}
		r := httptest.NewRequest(http.MethodGet, "/stats", nil)
		if certificate {
			r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}
		}
		ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: address})
		u.Check(r.WithContext(ctx), zap.New(core), "neuroquantum_ws_api", "h")
	}
	request("127.0.0.1", "", false)
	request("::1", "", false)
	request("192.0.2.1", "ann", false)
	request("192.0.2.1", "", true)
	if logs.Len() != 0 {
		t.Errorf("got %v", logs.All())
	}
	request("192.0.2.1", "", false)
	request("192.0.2.2", "", false)
	if all := logs.All(); len(all) != 1 || all[0].Level != zap.WarnLevel || all[0].ContextMap()["client_ip"] != "192.0.2.1" ||
		!strings.Contains(all[0].Message, "neuroquantum_ws_api") {
		t.Errorf("got %v", all)
	}
}
