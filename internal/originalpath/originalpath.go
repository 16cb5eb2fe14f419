// Package originalpath lets a directive answer at the path that the client asked for, although the site has rewritten it: Caddy
// sorts rewrite, uri and try_files before the directives of this module, so that try_files {path} /index.html, as every
// single-page application has it, would turn /ws into /index.html.
//
// A directive whose matcher names a path gets a second route. Where the path was rewritten and the original one matches, that
// route runs the routes between the rewrite and itself again, with the original URL: logins first, as they decide by path too,
// then the directive.
package originalpath

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(new(Match))
	caddy.RegisterModule(new(Restore))
}

// name of both modules.
const name = "neuroquantum_ws_original_path"

// Routes returns the routes of a directive: that of its own, and where its matcher names a path, one for requests whose path was
// rewritten.
func Routes(h httpcaddyfile.Helper, matchers caddy.ModuleMap, handler caddyhttp.MiddlewareHandler) []httpcaddyfile.ConfigValue {
	routes := h.NewRoute(matchers, handler)
	path, ok := matchers["path"]
	if !ok {
		return routes
	}
	// Caddy sorts routes of one directive by the length of a single path: * comes after those of the directive itself.
	original := caddy.ModuleMap{name: path, "path": json.RawMessage(`["*"]`)}
	for matcher, raw := range matchers {
		if matcher != "path" {
			original[matcher] = raw
		}
	}
	return append(routes, h.NewRoute(original, new(Restore))...)
}

// Handle returns an httpcaddyfile.UnmarshalFunc for a handler directive, which has the routes that Routes returns.
func Handle(parse func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error)) httpcaddyfile.UnmarshalFunc {
	return func(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
		if !h.Next() {
			return nil, h.ArgErr()
		}
		matchers, err := h.ExtractMatcherSet()
		if err != nil {
			return nil, err
		}
		handler, err := parse(h)
		if err != nil {
			return nil, err
		}
		return Routes(h, matchers, handler), nil
	}
}

// Match matches a request whose path was rewritten, if the path that the client asked for matches one of these patterns and the
// present path matches none. The patterns are those of Caddy's matcher path.
type Match struct{ paths caddyhttp.MatchPath }

// CaddyModule implements caddy.Module.
func (*Match) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers." + name, New: func() caddy.Module { return new(Match) }}
}

// MarshalJSON implements json.Marshaler.
func (m *Match) MarshalJSON() ([]byte, error) { return json.Marshal(m.paths) }

// UnmarshalJSON implements json.Unmarshaler.
func (m *Match) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, &m.paths) }

// Provision implements caddy.Provisioner.
func (m *Match) Provision(ctx caddy.Context) error { return m.paths.Provision(ctx) }

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m *Match) MatchWithError(r *http.Request) (bool, error) {
	asked := originalURL(r)
	if asked == nil || asked.Path == r.URL.Path {
		return false, nil
	}
	if present, err := m.paths.MatchWithError(r); present || err != nil {
		return false, err
	}
	return m.paths.MatchWithError(withURL(r, asked))
}

// originalURL returns the URL that the client asked for, nil if it is not known. It must not be changed.
func originalURL(r *http.Request) *url.URL {
	original, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return original.URL
}

// withURL returns a shallow copy of the request with another URL.
func withURL(r *http.Request, to *url.URL) *http.Request {
	changed := new(http.Request)
	*changed = *r
	changed.URL = new(url.URL)
	*changed.URL = *to
	changed.RequestURI = to.RequestURI()
	return changed
}

// Restore runs the handlers between the first rewrite and itself again, with the URL that the client asked for. What they pass on
// goes to the next handler with the rewritten URL.
type Restore struct {
	mu    sync.Mutex
	found map[*caddyhttp.Server]place
}

// CaddyModule implements caddy.Module.
func (*Restore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + name, New: func() caddy.Module {
		return &Restore{found: make(map[*caddyhttp.Server]place)}
	}}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Restore) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	asked := originalURL(r)
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if asked == nil || server == nil {
		return next.ServeHTTP(w, r)
	}
	at := h.place(server)
	if at.opaque != nil {
		return caddyhttp.Error(http.StatusInternalServerError,
			fmt.Errorf("%s was rewritten to %s before its directive, and %w: put the directive into a handle block of its own",
				asked.Path, r.URL.Path, at.opaque))
	}
	rewritten := *r.URL
	var chain caddyhttp.Handler = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return next.ServeHTTP(w, withURL(r, &rewritten))
	})
	for _, one := range slices.Backward(at.again) {
		chain = one.before(chain)
	}
	return chain.ServeHTTP(w, withURL(r, asked))
}

// place returns the place of h among a server's routes.
func (h *Restore) place(server *caddyhttp.Server) place {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.found[server]
	if !ok {
		p = find(h, server)
		h.found[server] = p
	}
	return p
}

// Interface guards.
var (
	_ caddy.Provisioner                 = (*Match)(nil)
	_ caddyhttp.RequestMatcherWithError = (*Match)(nil)
	_ caddyhttp.MiddlewareHandler       = (*Restore)(nil)
)
