package handshake

import (
	"net"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// DefaultUserPlaceholder is where the user comes from unless the site says otherwise: Caddy's own logins set it.
const DefaultUserPlaceholder = "{http.auth.user.id}"

// AuthWarning tells the operator, once, of a request from elsewhere that no login has seen, where whoever can come can publish and
// disconnect. What else may guard the place cannot be known here.
type AuthWarning struct{ warned atomic.Bool }

// Check looks at a request of a directive that serves a hub.
func (u *AuthWarning) Check(r *http.Request, log *zap.Logger, directive, hub string) {
	if u.warned.Load() || r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return
	}
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if user, _ := repl.GetString(DefaultUserPlaceholder[1 : len(DefaultUserPlaceholder)-1]); user != "" {
		return
	}
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if ip := net.ParseIP(address); ip != nil && ip.IsLoopback() {
		return
	}
	if !u.warned.Swap(true) {
		log.Warn("a request without a login came to "+directive+": unless something else guards it, put basic_auth or the like before it",
			zap.String("hub", hub), zap.String("client_ip", address))
	}
}
