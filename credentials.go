package neuroquantumws

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// tokenPrefix begins the entry of Sec-WebSocket-Protocol by which browsers send a token.
const tokenPrefix = "bearer."

// ticketParameter is the name under which a ticket stands in the URL.
const ticketParameter = "ticket"

// credentialKind is where an upgrade request has its credential.
type credentialKind uint8

const (
	noCredential credentialKind = iota
	inHeader
	inSubprotocol
	inTicket
	inCookie
)

// credential is what a request shows. Of several, what its sender has put there by intent counts before a cookie, which browsers send
// unasked. One that stands twice is given as an empty text, which nothing accepts.
type credential struct {
	kind credentialKind
	text string
}

// findCredential looks through an upgrade request. tokens says that the site takes tokens, cookie in which cookie (empty: in none). trusted
// says that the request has an Origin that is allowed: without one a cookie counts for nothing, as another site's page may have made
// the browser send it.
func findCredential(r *http.Request, tokens bool, cookie string, trusted bool) credential {
	if tokens {
		if found := bearer(r.Header["Authorization"]); found != nil {
			return credential{inHeader, only(found)}
		}
		if found := bearerEntries(r.Header["Sec-Websocket-Protocol"]); found != nil {
			return credential{inSubprotocol, only(found)}
		}
	}
	if found := r.URL.Query()[ticketParameter]; found != nil {
		return credential{inTicket, only(found)}
	}
	if !tokens || cookie == "" || !trusted {
		return credential{}
	}
	var found []string
	for _, c := range r.CookiesNamed(cookie) {
		found = append(found, c.Value)
	}
	if found != nil {
		return credential{inCookie, only(found)}
	}
	return credential{}
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
			if token, ok := strings.CutPrefix(strings.TrimSpace(entry), tokenPrefix); ok {
				found = append(found, token)
			}
		}
	}
	return found
}

// hideToken keeps a token in the subprotocol header or the URL out of the access log, which has copied both by now and would write them:
// the line is left out, and one of ours stands in for it.
func (h *Handler) hideToken(r *http.Request) {
	if !bearsToken(r) {
		return
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	h.log.Info("request with a token", zap.String("client_ip", address), zap.String("host", r.Host), zap.String("path", r.URL.Path))
}

// bearsToken tells whether there may be a token where the access log would write it. It rather finds one too many.
func bearsToken(r *http.Request) bool {
	for _, value := range r.Header["Sec-Websocket-Protocol"] {
		if strings.Contains(strings.ToLower(value), tokenPrefix) {
			return true
		}
	}
	query, err := url.QueryUnescape(r.URL.RawQuery)
	if err != nil {
		return true
	}
	query = strings.ToLower(query)
	for _, name := range []string{"ticket", "token", "jwt", "bearer", "auth", "secret"} {
		if strings.Contains(query, name) {
			return true
		}
	}
	return false
}
