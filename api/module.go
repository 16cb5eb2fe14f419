package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/handshake"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/originalpath"
)

func init() {
	caddy.RegisterModule(new(API))
	httpcaddyfile.RegisterDirective("neuroquantum_ws_api", parseAPI)
	httpcaddyfile.RegisterDirectiveOrder("neuroquantum_ws_api", httpcaddyfile.After, "encode")
}

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
	directory *instance.App
	unguarded handshake.AuthWarning
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
		a.Prefix = PrefixOf(matchers["path"])
	}
	return originalpath.Routes(h, matchers, a), nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	neuroquantum_ws_api [<matcher>] [<hub>] {
//		prefix   <path>
//		max_body <size>
//	}
func (a *API) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if err := directive.OptionalArgs(d, 0, directive.Name(&a.Hub)); err != nil {
		return err
	}
	return directive.Options(d, func(d *caddyfile.Dispenser, name string) (bool, error) {
		switch name {
		case "prefix":
			if err := directive.Args(d, directive.Name(&a.Prefix)); err != nil {
				return true, err
			}
			if _, err := ParsePrefix(a.Prefix); err != nil {
				return true, d.Errf("prefix %s: %v", a.Prefix, err)
			}
			return true, nil
		case "max_body":
			return true, directive.Args(d, directive.Size(&a.MaxBody))
		}
		return false, nil
	})
}

// Provision implements caddy.Provisioner.
func (a *API) Provision(ctx caddy.Context) error {
	a.log = ctx.Logger()
	a.name = cmp.Or(a.Hub, instance.DefaultHub)
	var err error
	if a.prefix, err = ParsePrefix(a.Prefix); err != nil {
		return fmt.Errorf("prefix %q: %w", a.Prefix, err)
	}
	if a.MaxBody < 0 {
		return errors.New("max_body must be positive")
	}
	if a.directory, err = instance.AppOf(ctx); err != nil {
		return err
	}
	return a.directory.RequireHub(ctx, "neuroquantum_ws_api", a.name)
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if a.directory == nil {
		return caddyhttp.Error(http.StatusInternalServerError, instance.ErrNotProvisioned)
	}
	a.unguarded.Check(r, a.log, "neuroquantum_ws_api", a.name)
	segments, ok := a.below(r.URL.EscapedPath())
	if !ok {
		Fail(w, NotFound("this path is not below the API's prefix"))
		return nil
	}
	serving := Serving(a.directory.Hub(a.name), a.log)
	serving.MaxBody = a.MaxBody
	serving.Serve(w, r, segments)
	return nil
}

// below gives the segments of a path behind the prefix.
func (a *API) below(path string) (segments []string, ok bool) {
	if segments, ok = Segments(path); !ok {
		return nil, false
	}
	if a.Prefix == "" {
		for i, segment := range segments {
			if IsRoot(segment) {
				return segments[i:], true
			}
		}
		return segments, true
	}
	return CutPrefix(segments, a.prefix)
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*API)(nil)
	_ caddyhttp.MiddlewareHandler = (*API)(nil)
	_ caddyfile.Unmarshaler       = (*API)(nil)
)
