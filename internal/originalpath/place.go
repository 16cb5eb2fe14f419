package originalpath

import (
	"cmp"
	"errors"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// place is what is known of the handlers before a Restore.
type place struct {
	again  []step             // between the first rewrite and the Restore, without rewrites
	strips []*rewrite.Rewrite // what takes away a prefix of the path before it
	opaque error              // why the steps cannot be run again
}

// step is a route, or some handlers of one.
type step struct {
	route    *caddyhttp.Route // nil: handlers
	matchers caddyhttp.MatcherSets
	handlers []caddyhttp.MiddlewareHandler
}

// before returns a handler that runs the step and then next.
func (s step) before(next caddyhttp.Handler) caddyhttp.Handler {
	if s.route != nil {
		return caddyhttp.RouteList{*s.route}.Compile(next)
	}
	chain := next
	for _, handler := range slices.Backward(s.handlers) {
		after := chain
		chain = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error { return handler.ServeHTTP(w, r, after) })
	}
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		matches, err := s.matchers.AnyMatchWithError(r)
		switch {
		case err != nil:
			return err
		case !matches:
			return next.ServeHTTP(w, r)
		}
		return chain.ServeHTTP(w, r)
	})
}

// find looks for a Restore in a server's routes. A named route may be invoked in several places; then the handlers before them must
// be the same.
func find(h *Restore, server *caddyhttp.Server) *place {
	s := search{restore: h, named: server.NamedRoutes}
	s.walk(server.Routes, passed{})
	if server.Errors != nil {
		s.walk(server.Errors.Routes, passed{})
	}
	if len(s.places) == 0 {
		return &place{opaque: errors.New("its place among the routes is not known")}
	}
	p := s.places[0]
	for _, other := range s.places[1:] {
		if !slices.EqualFunc(p.again, other.again, sameStep) || !slices.Equal(p.strips, other.strips) {
			return &place{opaque: errors.New("its route is invoked after different handlers")}
		}
		p.opaque = cmp.Or(p.opaque, other.opaque)
	}
	if p.opaque == nil && len(p.again) == 0 {
		p.opaque = errors.New("no rewrite is known before it")
	}
	return &p
}

func sameStep(a, b step) bool { return slices.Equal(a.handlers, b.handlers) }

// maxNesting is the depth to which routes are searched.
const maxNesting = 16

// search looks for a Restore in routes.
type search struct {
	restore *Restore
	named   map[string]*caddyhttp.Route
	places  []place
}

// passed is what a request has passed on its way.
type passed struct {
	depth     int
	rewritten bool
	again     []step
	strips    []*rewrite.Rewrite
	opaque    error
}

func (s *search) walk(routes caddyhttp.RouteList, p passed) {
	if p.depth++; p.depth > maxNesting {
		return
	}
	for i := range routes {
		p = s.route(&routes[i], p)
	}
}

// route looks through a route, and returns what a request has passed after it.
func (s *search) route(route *caddyhttp.Route, p passed) passed {
	before := p
	var some []caddyhttp.MiddlewareHandler // after the first rewrite
	split := false                         // the route rewrites
	for _, handler := range route.Handlers {
		if isRewrite(handler) {
			p.rewritten, split = true, true
			if strip, ok := handler.(*rewrite.Rewrite); ok && strip.StripPathPrefix != "" && strip.URI == "" {
				p.strips = append(slices.Clone(p.strips), strip)
			}
			continue
		}
		here := p
		here.again = slices.Clone(p.again)
		if len(some) > 0 {
			here.again = append(here.again, step{handlers: slices.Clone(some)}) // of the Restore's own route: it has matched
		}
		if handler == caddyhttp.MiddlewareHandler(s.restore) {
			s.places = append(s.places, place{here.again, here.strips, here.opaque})
		}
		if list := s.nested(handler); list != nil {
			s.walk(list, here)
			if s.rewrites(list, 0) && p.opaque == nil {
				p.opaque = errors.New("a block of routes before it rewrites as well")
			}
		}
		if p.rewritten {
			some = append(some, handler)
		}
	}
	switch {
	case len(some) == 0:
	case before.rewritten && !split:
		p.again = append(slices.Clone(p.again), step{route: route, handlers: route.Handlers})
	default:
		p.again = append(slices.Clone(p.again), step{matchers: route.MatcherSets, handlers: some})
	}
	return p
}

// nested returns the routes within a handler.
func (s *search) nested(handler caddyhttp.MiddlewareHandler) caddyhttp.RouteList {
	switch h := handler.(type) {
	case *caddyhttp.Subroute:
		return h.Routes
	case *caddyhttp.Invoke:
		if route := s.named[h.Name]; route != nil {
			return caddyhttp.RouteList{*route}
		}
	}
	return nil
}

// rewrites reports whether routes hold a rewrite.
func (s *search) rewrites(routes caddyhttp.RouteList, depth int) bool {
	return depth < maxNesting && slices.ContainsFunc(routes, func(route caddyhttp.Route) bool {
		return slices.ContainsFunc(route.Handlers, func(handler caddyhttp.MiddlewareHandler) bool {
			return isRewrite(handler) || s.rewrites(s.nested(handler), depth+1)
		})
	})
}

// isRewrite reports whether a handler is that of the directives rewrite, uri, try_files and method.
func isRewrite(handler caddyhttp.MiddlewareHandler) bool {
	_, ok := handler.(*rewrite.Rewrite)
	return ok
}
