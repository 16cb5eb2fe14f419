package handshake

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"slices"
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

// TestOrigins: the site's own origin is allowed beside those that are listed, unless only comes first.
func TestOrigins(t *testing.T) {
	const own, listed, foreign, sub = "http://a.example", "https://app.example", "https://b.example", "https://x.b.example"
	for _, test := range []struct {
		origins        []string
		allowed, trust []string
	}{
		{nil, []string{own}, []string{own}},
		{[]string{listed}, []string{own, listed}, []string{own, listed}},
		{[]string{"https://*.b.example"}, []string{own, sub}, []string{own, sub}},
		{[]string{"*"}, []string{own, listed, foreign, sub}, []string{own}},
		{[]string{"*", listed}, []string{own, listed, foreign, sub}, []string{own, listed}},
		{[]string{"only", listed}, []string{listed}, []string{listed}},
		{[]string{"only", listed, own}, []string{own, listed}, []string{own, listed}},
	} {
		o, err := ParseOrigins(test.origins)
		if err != nil {
			t.Fatal(err)
		}
		for _, origin := range []string{own, listed, foreign, sub, "null"} {
			r := httptest.NewRequest(http.MethodGet, "/ws", nil)
			r.Host = "a.example"
			r.Header.Set("Origin", origin)
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{}))
			all := slices.Contains(test.origins, "*")
			if got, want := o.Allow(r), all || slices.Contains(test.allowed, origin); got != want {
				t.Errorf("%v: %s is allowed: %v", test.origins, origin, got)
			}
			if got, want := o.Trust(r), slices.Contains(test.trust, origin); got != want {
				t.Errorf("%v: %s is trusted: %v", test.origins, origin, got)
			}
		}
	}
	for _, bad := range [][]string{{"only"}, {"only", "*"}, {listed, "only"}, {"only", "only"}} {
		if _, err := ParseOrigins(bad); err == nil {
			t.Errorf("%v is accepted", bad)
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
