// Package credential finds what an upgrade request shows of who its client is: a token or a ticket.
package handshake

import (
	"net/http"
	"net/url"
	"strings"
)

// subprotocolPrefix begins the entry of Sec-WebSocket-Protocol by which browsers send a token.
const subprotocolPrefix = "bearer."

// ticketParameter is the name under which a ticket stands in the URL.
const ticketParameter = "ticket"

// Kind is where a request has its credential.
type Kind uint8

// The kinds.
const (
	None Kind = iota
	Header
	Subprotocol
	Ticket
	Cookie
)

// Credential is what a request shows. Of several, what its sender has put there by intent counts before a cookie, which browsers send
// unasked. One that stands twice is given as an empty text, which nothing accepts.
type Credential struct {
	Kind Kind
	Text string
}

// Find looks through an upgrade request. tokens says that the site takes tokens, cookie in which cookie (empty: in none). trusted
// says that the request has an Origin that is allowed: without one a cookie counts for nothing, as another site's page may have made
// the browser send it.
func Find(r *http.Request, tokens bool, cookie string, trusted bool) Credential {
	if tokens {
		if found := bearer(r.Header["Authorization"]); found != nil {
			return Credential{Header, only(found)}
		}
		if found := bearerEntries(r.Header["Sec-Websocket-Protocol"]); found != nil {
			return Credential{Subprotocol, only(found)}
		}
	}
	if found := r.URL.Query()[ticketParameter]; found != nil {
		return Credential{Ticket, only(found)}
	}
	if !tokens || cookie == "" || !trusted {
		return Credential{}
	}
	var found []string
	for _, c := range r.CookiesNamed(cookie) {
		found = append(found, c.Value)
	}
	if found != nil {
		return Credential{Cookie, only(found)}
	}
	return Credential{}
}

// only is the one of several; where there are more none is.
func only(found []string) string {
	if len(found) != 1 {
		return ""
	}
	return strings.Clone(found[0])
}

// bearer gives the tokens of an Authorization header; other schemes are for others.
func bearer(values []string) (found []string) {
	for _, value := range values {
		scheme, token, _ := strings.Cut(strings.TrimSpace(value), " ")
		if strings.EqualFold(scheme, "Bearer") {
			found = append(found, strings.TrimSpace(token))
		}
	}
	return found
}

// bearerEntries gives the tokens among subprotocols.
func bearerEntries(values []string) (found []string) {
	for _, value := range values {
		for entry := range strings.SplitSeq(value, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(entry), subprotocolPrefix); ok {
				found = append(found, token)
			}
		}
	}
	return found
}

// Exposed tells whether there may be a token where an access log would write it: in the subprotocol header or the URL. It rather finds
// one too many.
func Exposed(r *http.Request) bool {
	for _, value := range r.Header["Sec-Websocket-Protocol"] {
		if strings.Contains(strings.ToLower(value), subprotocolPrefix) {
			return true
		}
	}
	query, err := url.QueryUnescape(r.URL.RawQuery)
	if err != nil {
		return true
	}
	query = strings.ToLower(query)
	if strings.Contains(query, "ticket") {
		return true
	}
	for _, name := range []string{"token", "jwt", "bearer", "auth", "secret"} {
		if _, after, found := strings.Cut(query, name); found && hasLongValue(after) {
			return true
		}
	}
	return false
}

// minTokenLength is the length of a value below which it is no token, so that ?auth=1 hides nothing.
const minTokenLength = 8

// hasLongValue reports whether a value of a query is long enough for a token.
func hasLongValue(query string) bool {
	_, values, _ := strings.Cut(query, "=")
	for value := range strings.FieldsFuncSeq(values, func(r rune) bool { return strings.ContainsRune("&;=?", r) }) {
		if len(value) >= minTokenLength {
			return true
		}
	}
	return false
}
