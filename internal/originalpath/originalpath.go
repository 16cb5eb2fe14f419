// Package originalpath lets a directive answer at the path that the client asked for, although the site has rewritten it: Caddy
// sorts rewrite, uri and try_files before the directives of this module, so that try_files {path} /index.html, as every
// single-page application has it, would turn /ws into /index.html.
//
// A directive whose matcher names a path has a second route with a Restore. Where the path was rewritten and the original one
// matches, that runs the handlers between the first rewrite and itself again, with the original URL: logins, as they decide by path
// too, and then the directive's own.
package originalpath

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() { caddy.RegisterModule(new(Restore)) }

// Routes returns the routes of a directive: that of its own, and where its matcher names a path, one for requests whose path was
// rewritten.
func Routes(h httpcaddyfile.Helper, matchers caddy.ModuleMap, handler caddyhttp.MiddlewareHandler) []httpcaddyfile.ConfigValue {
	routes := h.NewRoute(matchers, handler)
	raw, ok := matchers["path"]
	if !ok {
		return routes
	}
	again := new(Restore)
	if json.Unmarshal(raw, &again.Path) != nil {
		return routes
	}
	others := maps.Clone(matchers)
	others["path"] = json.RawMessage(`["*"]`) // any; Caddy sorts routes of one directive by the length of a single path, this as the last
	return append(routes, h.NewRoute(others, again)...)
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

// Restore looks at the path that the client asked for. If that matches, and the present path, to which it was rewritten, does not, the
// handlers between the first rewrite and the Restore run again with the original URL. What they pass on goes to the next handler
// with the rewritten URL.
//
// The prefix that a handle_path or uri strip_prefix has taken away may be part of the path, or not.
type Restore struct {
	// Patterns for the path, as those of Caddy's matcher path.
	Path caddyhttp.MatchPath `json:"path"`

	mu    sync.Mutex
	found map[*caddyhttp.Server]*place
}

// CaddyModule implements caddy.Module.
func (*Restore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.neuroquantum_ws_original_path", New: func() caddy.Module {
		return &Restore{found: make(map[*caddyhttp.Server]*place)}
	}}
}

// Provision implements caddy.Provisioner.
func (h *Restore) Provision(ctx caddy.Context) error { return h.Path.Provision(ctx) }

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Restore) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	original, _ := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if original.URL == nil || server == nil || original.URL.Path == r.URL.Path {
		return next.ServeHTTP(w, r)
	}
	if present, err := h.Path.MatchWithError(r); err != nil {
		return err
	} else if present { // the directive has seen it
		return next.ServeHTTP(w, r)
	}
	at := h.place(server)
	asked, err := h.asked(r, original.URL, at)
	switch {
	case err != nil:
		return err
	case asked == nil:
		return next.ServeHTTP(w, r)
	case at.opaque != nil:
		return caddyhttp.Error(http.StatusInternalServerError,
			fmt.Errorf("%s was rewritten to %s before its directive, and %w: put the directive into a handle block of its own",
				original.URL.Path, r.URL.Path, at.opaque))
	}
	return at.run(w, r, asked, next)
}

// asked returns the URL that the client asked for, as it was before or after one of the prefixes was taken away, where its path
// matches.
func (h *Restore) asked(r *http.Request, original *url.URL, at *place) (*url.URL, error) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	candidate := new(http.Request)
	*candidate = *r
	candidate.URL = new(url.URL)
	*candidate.URL = *original
	for i := -1; i < len(at.strips); i++ {
		if i >= 0 && !at.strips[i].Rewrite(candidate, repl) {
			continue
		}
		if matches, err := h.Path.MatchWithError(candidate); matches || err != nil {
			return candidate.URL, err
		}
	}
	return nil, nil
}

// run runs the steps with the URL asked.
func (at *place) run(w http.ResponseWriter, r *http.Request, asked *url.URL, next caddyhttp.Handler) error {
	// The request's placeholders read the URL where it is: it is changed there, as Caddy's rewrite does.
	rewritten, rewrittenURI := *r.URL, r.RequestURI
	restore := func(r *http.Request) { *r.URL, r.RequestURI = *asked, asked.RequestURI() }
	rewrite := func(r *http.Request) { *r.URL, r.RequestURI = rewritten, rewrittenURI }
	var chain caddyhttp.Handler = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		rewrite(r)
		defer restore(r)
		return next.ServeHTTP(w, r)
	})
	for _, one := range slices.Backward(at.again) {
		chain = one.before(chain)
	}
	restore(r)
	defer rewrite(r)
	return chain.ServeHTTP(w, r)
}

// place returns the place of h among a server's routes.
func (h *Restore) place(server *caddyhttp.Server) *place {
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
	_ caddy.Provisioner           = (*Restore)(nil)
	_ caddyhttp.MiddlewareHandler = (*Restore)(nil)
)
