package handshake

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Origins says whose pages may connect. Browsers name the page's origin in every WebSocket request; other clients need not, and a
// request without one is let through: it bears no credentials that its sender does not have.
type Origins struct {
	any  bool
	only bool // not the site's own origin
	list []origin
}

// origin is scheme://host[:port], where the host may begin with *. for all its subdomains.
type origin struct {
	scheme, host string
	subdomains   bool // host then begins with the dot
}

// onlyWord before the origins of the configuration excludes the site's own.
const onlyWord = "only"

// ParseOrigins reads the origins of the configuration, which are allowed beside the site's own: scheme://host[:port],
// scheme://*.host[:port] or *. Where the word only comes first, the site's own is not allowed unless it is listed.
func ParseOrigins(texts []string) (Origins, error) {
	var o Origins
	if len(texts) > 0 && texts[0] == onlyWord {
		o.only = true
		if texts = texts[1:]; len(texts) == 0 || slices.Contains(texts, "*") {
			return o, errors.New("only: name the origins after it, without *")
		}
	}
	for _, text := range texts {
		if text == "*" {
			o.any = true
			continue
		}
		u, err := url.Parse(strings.Replace(text, "://*.", "://wildcard.", 1))
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil ||
			strings.Contains(u.Host, "*") {
			return o, fmt.Errorf("%q: use scheme://host[:port], scheme://*.host[:port] or *", text)
		}
		entry := origin{scheme: strings.ToLower(u.Scheme)}
		entry.host = withoutPort(strings.ToLower(u.Host), entry.scheme)
		if strings.Contains(text, "://*.") {
			entry.subdomains = true
			entry.host = strings.TrimPrefix(entry.host, "wildcard")
		}
		o.list = append(o.list, entry)
	}
	return o, nil
}

// Allow tells whether the request's page may connect.
func (o Origins) Allow(r *http.Request) bool {
	return len(r.Header.Values("Origin")) == 0 || o.any || o.Trust(r)
}

// Trust reports whether the request names the site's own origin, or one that is allowed by name. `*` does not count here: it lets
// pages connect, but not with cookies that they cannot know.
func (o Origins) Trust(r *http.Request) bool {
	given := r.Header.Values("Origin")
	if len(given) != 1 {
		return false
	}
	u, err := url.Parse(given[0])
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return false
	}
	scheme := strings.ToLower(u.Scheme)
	host := withoutPort(strings.ToLower(u.Host), scheme)
	if asked := schemeOf(r); !o.only && scheme == asked && host == withoutPort(strings.ToLower(r.Host), asked) {
		return true
	}
	for _, entry := range o.list {
		if entry.scheme != scheme {
			continue
		}
		if entry.host == host || entry.subdomains && strings.HasSuffix(host, entry.host) {
			return true
		}
	}
	return false
}

// schemeOf is the scheme by which the client asked. In front of a proxy that ends TLS only the proxy knows: its word counts if it is one
// of the server's trusted_proxies.
func schemeOf(r *http.Request) string {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
		switch strings.ToLower(strings.TrimSpace(forwarded)) {
		case "https", "wss":
			return "https"
		case "http", "ws":
			return "http"
		}
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// withoutPort leaves out the scheme's own port, which need not be written.
func withoutPort(host, scheme string) string {
	return strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
}
