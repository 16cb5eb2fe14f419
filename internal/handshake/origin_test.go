package handshake

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestSameOrigin: by default a page's scheme, host and port must be those by which the server was asked.
func TestSameOrigin(t *testing.T) {
	for _, test := range []struct {
		origin, host string
		tls          bool
		forwarded    string
		trusted      bool
		allowed      bool
	}{
		{"http://a.example", "a.example", false, "", false, true},
		{"https://a.example", "a.example", true, "", false, true},
		{"HTTPS://A.Example", "a.example", true, "", false, true},
		{"https://a.example", "a.example:443", true, "", false, true},
		{"https://a.example:443", "a.example", true, "", false, true},
		{"http://a.example:80", "a.example", false, "", false, true},
		{"http://a.example:8080", "a.example:8080", false, "", false, true},
		{"http://[::1]:8080", "[::1]:8080", false, "", false, true},

		{"https://a.example", "a.example", false, "", false, false},
		{"http://a.example", "a.example", true, "", false, false},
		{"http://a.example:443", "a.example", true, "", false, false},
		{"https://a.example:80", "a.example", true, "", false, false},
		{"http://a.example:8080", "a.example", false, "", false, false},
		{"http://a.example", "a.example:8080", false, "", false, false},
		{"http://b.example", "a.example", false, "", false, false},
		{"http://a.example.b.example", "a.example", false, "", false, false},
		{"null", "null", false, "", false, false},
		{"", "a.example", false, "", false, false}, // an empty one is not the same as none
		{"a.example", "a.example", false, "", false, false},
		{"//a.example", "a.example", false, "", false, false},
		{"http://x@a.example", "a.example", false, "", false, false},
		{"http://a.example/", "a.example", false, "", false, false},
		{"http://a.example?x", "a.example", false, "", false, false},
		{"http://a.example?", "a.example", false, "", false, false},
		{"http://a.example#x", "a.example", false, "", false, false},
		{"ws://a.example", "a.example", false, "", false, false},

		// Behind a proxy that ends TLS.
		{"https://a.example", "a.example", false, "https", true, true},
		{"https://a.example", "a.example", false, "HTTPS, http", true, true},
		{"https://a.example", "a.example", false, "wss", true, true},
		{"http://a.example", "a.example", false, "https", true, false},
		{"https://a.example", "a.example", false, "https", false, false},
		{"http://a.example", "a.example", false, "https", false, true},
		{"https://a.example", "a.example", true, "http", false, true},
		{"http://a.example", "a.example", false, "gopher", true, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/ws", nil)
		r.Host = test.host
		r.Header["Origin"] = []string{test.origin}
		if test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		if test.forwarded != "" {
			r.Header.Set("X-Forwarded-Proto", test.forwarded)
		}
		vars := map[string]any{caddyhttp.TrustedProxyVarKey: test.trusted}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
		if got := (Origins{}).Allow(r); got != test.allowed {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

func TestLimitKey(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2::": "2001:db8:1:2::/64", "2001:db8:1:3::1": "2001:db8:1:3::/64", "fe80::1%eth0": "fe80::/64", "::1": "::/64",
		"": "", "somewhere": "somewhere",
	} {
		if got := LimitKey(address); got != want {
			t.Errorf("%s is counted under %s", address, got)
		}
	}
}
