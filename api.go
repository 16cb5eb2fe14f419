package neuroquantumws

import (
	_ "embed"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/api"
)

func init() {
	caddy.RegisterModule(new(API))
	httpcaddyfile.RegisterDirective("neuroquantum_ws_api", parseAPI)
	httpcaddyfile.RegisterDirectiveOrder("neuroquantum_ws_api", httpcaddyfile.Before, "reverse_proxy")
}

// apiDocument describes the HTTP API.
//
//go:embed docs/openapi.json
var apiDocument []byte

// API answers HTTP requests that publish to the channels of a hub, and that show and close what it holds. It has no login of its own:
// put one of Caddy's before it. docs/openapi.json lists its routes.
type API struct {
	// Name of the hub; a neuroquantum_ws handler must have it. Default: default.
	Hub string `json:"hub,omitempty"`
	// Path that the routes hang under, such as /rt. Default: whatever stands before the first segment that begins a route.
	Prefix string `json:"prefix,omitempty"`
	// Bytes of a request's body; beyond: 413. Default: 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	log       *zap.Logger
	name      string
	prefix    []string
	directory *directory
	unguarded unguarded
}

// CaddyModule implements caddy.Module.
func (*API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.neuroquantum_ws_api", New: func() caddy.Module { return new(API) }}
}

// parseAPI sets up the handler. Its prefix is what its matcher says, unless the site says it.
func parseAPI(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	a := new(API)
	if err := a.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if a.Prefix == "" {
		a.Prefix = prefixOf(matchers["path"])
	}
	return h.NewRoute(matchers, a), nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	neuroquantum_ws_api [<matcher>] [<hub>] {
//		prefix   <path>
//		max_body <size>
//	}
func (a *API) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if err := argsOr(d, 0, text(&a.Hub)); err != nil {
		return err
	}
	return options(d, 0, func(d *caddyfile.Dispenser, name string) (bool, error) {
		switch name {
		case "prefix":
			if err := args(d, text(&a.Prefix)); err != nil {
				return true, err
			}
			if _, err := parsePrefix(a.Prefix); err != nil {
				return true, d.Errf("prefix %s: %v", a.Prefix, err)
			}
			return true, nil
		case "max_body":
			return true, args(d, size(&a.MaxBody))
		}
		return false, nil
	})
}

// Provision implements caddy.Provisioner.
func (a *API) Provision(ctx caddy.Context) error {
	a.log = ctx.Logger()
	a.name = orDefault(a.Hub, defaultHub)
	var err error
	if a.prefix, err = parsePrefix(a.Prefix); err != nil {
		return fmt.Errorf("prefix %q: %w", a.Prefix, err)
	}
	if a.MaxBody < 0 {
		return errors.New("max_body must be positive")
	}
	if a.directory, err = directoryOf(ctx); err != nil {
		return err
	}
	a.directory.want("neuroquantum_ws_api", a.name)
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if a.directory == nil {
		return caddyhttp.Error(http.StatusInternalServerError, errNotProvisioned)
	}
	a.unguarded.look(r, a.log, "neuroquantum_ws_api", a.name)
	segments, ok := a.below(r.URL.EscapedPath())
	if !ok {
		api.Fail(w, api.NotFound("this path is not below the API's prefix"))
		return nil
	}
	serving := a.directory.hubs[a.name].api(a.log)
	serving.MaxBody = a.MaxBody
	serving.Serve(w, r, segments)
	return nil
}

// below gives the segments of a path behind the prefix.
func (a *API) below(path string) (segments []string, ok bool) {
	if segments, ok = api.Segments(path); !ok {
		return nil, false
	}
	if a.Prefix == "" {
		for i, segment := range segments {
			if api.IsRoot(segment) {
				return segments[i:], true
			}
		}
		return segments, true
	}
	return cutPrefix(segments, a.prefix)
}

// api serves the routes of the hub for one request.
func (p *pooledHub) api(log *zap.Logger) *api.API {
	return &api.API{
		Hub: p.hub, Streams: p.env.Streams, Log: log, Ready: p.ready, Disconnect: p.disconnect, RevokeUser: p.revokeUser, IssueTicket: p.issueTicket, Trace: p.traces.of,
		Document: apiDocument, Queries: p.queries, RememberRevocation: p.rememberRevocation(),
	}
}

// queries lists the queries that the hub's clients may run.
func (p *pooledHub) queries() []api.Query {
	config := p.env.Config.Load()
	names := config.Catalog.Names()
	list := make([]api.Query, 0, len(names))
	for _, name := range names {
		q, err := config.Catalog.Lookup(name)
		if err != nil {
			continue // cannot be: a catalog does not change
		}
		told := api.Query{Query: q, Allow: config.QueryAccess[name]}
		if watch, ok := p.env.Live.Lookup(name); ok {
			told.Watch = &api.QueryWatch{Key: watch.Key, MaxRows: watch.MaxRows}
		}
		list = append(list, told)
	}
	return list
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*API)(nil)
	_ caddyhttp.MiddlewareHandler = (*API)(nil)
	_ caddyfile.Unmarshaler       = (*API)(nil)
)
