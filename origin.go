package neuroquantumws

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// origins says whose pages may connect. Browsers name the page's origin in every WebSocket request; other clients need not, and a
// request without one is let through: it bears no credentials that its sender does not have.
type origins struct {
	any  bool
	list []origin // empty: pages of the same host
}

// origin is scheme://host[:port], where the host may begin with *. for all its subdomains.
type origin struct {
	scheme, host string
	subdomains   bool // host then begins with the dot
}

func parseOrigins(texts []string) (origins, error) {
	var o origins
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
		entry := origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Host)}
		if strings.Contains(text, "://*.") {
			entry.subdomains = true
			entry.host = strings.TrimPrefix(entry.host, "wildcard")
		}
		o.list = append(o.list, entry)
	}
	return o, nil
}

// allow tells whether the request's page may connect.
func (o origins) allow(r *http.Request) bool {
	given := r.Header.Values("Origin")
	if len(given) == 0 || o.any {
		return true
	}
	u, err := url.Parse(given[0])
	if err != nil || u.Host == "" || len(given) > 1 {
		return false
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if len(o.list) == 0 {
		return host == strings.ToLower(r.Host)
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
