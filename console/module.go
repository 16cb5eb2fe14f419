package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/api"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/handshake"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/originalpath"
)

func init() {
	caddy.RegisterModule(new(Console))
	httpcaddyfile.RegisterDirective("neuroquantum_ws_console", parseConsole)
	httpcaddyfile.RegisterDirectiveOrder("neuroquantum_ws_console", httpcaddyfile.After, "encode")
}

// What hangs below the page beside its own files.
const (
	consoleAPI    = "api" // the HTTP API of the hub
	consoleSocket = "ws"  // the hub's WebSocket
)

// Console serves a web page that shows a hub and lets one try it. Below the page hang the hub's HTTP API and its WebSocket, so whoever
// reaches the page can do what neuroquantum_ws_api allows: it has no login of its own, and one of Caddy's belongs before it. What goes
// over its WebSocket is held to the hub's rules like that of any client.
type Console struct {
	// Name of the hub; a neuroquantum_ws handler must have it. Default: default.
	Hub string `json:"hub,omitempty"`
	// Path of the page, such as /console. Default: whatever stands before what is asked for.
	Prefix string `json:"prefix,omitempty"`

	log       *zap.Logger
	name      string
	prefix    []string
	directory *instance.App
	unguarded handshake.AuthWarning
	foreign   *http.CrossOriginProtection // against what pages of other sites would do with the login of their visitor
}

// CaddyModule implements caddy.Module.
func (*Console) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.neuroquantum_ws_console", New: func() caddy.Module { return new(Console) }}
}

// parseConsole sets up the handler. Its prefix is what its matcher says, unless the site says it. A matcher for what is below the page
// is widened to the page's path without its slash, so that who leaves it out is led there.
func parseConsole(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	c := new(Console)
	if err := c.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if prefix := api.PrefixOf(matchers["path"]); prefix != "" && c.Prefix == "" {
		c.Prefix = prefix
		if matchers["path"], err = json.Marshal([]string{prefix, prefix + "/*"}); err != nil {
			return nil, err
		}
	}
	return originalpath.Routes(h, matchers, c), nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	neuroquantum_ws_console [<matcher>] [<hub>] {
//		prefix <path>
//	}
func (c *Console) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if err := directive.OptionalArgs(d, 0, directive.Name(&c.Hub)); err != nil {
		return err
	}
	return directive.Options(d, func(d *caddyfile.Dispenser, name string) (bool, error) {
		if name != "prefix" {
			return false, nil
		}
		if err := directive.Args(d, directive.Name(&c.Prefix)); err != nil {
			return true, err
		}
		if _, err := api.ParsePrefix(c.Prefix); err != nil {
			return true, d.Errf("prefix %s: %v", c.Prefix, err)
		}
		return true, nil
	})
}

// Provision implements caddy.Provisioner.
func (c *Console) Provision(ctx caddy.Context) error {
	c.log = ctx.Logger()
	c.name = cmp.Or(c.Hub, instance.DefaultHub)
	c.foreign = http.NewCrossOriginProtection()
	var err error
	if c.prefix, err = api.ParsePrefix(c.Prefix); err != nil {
		return fmt.Errorf("prefix %q: %w", c.Prefix, err)
	}
	if c.directory, err = instance.AppOf(ctx); err != nil {
		return err
	}
	return c.directory.RequireHub(ctx, "neuroquantum_ws_console", c.name)
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if c.directory == nil {
		return caddyhttp.Error(http.StatusInternalServerError, instance.ErrNotProvisioned)
	}
	c.unguarded.Check(r, c.log, "neuroquantum_ws_console", c.name)
	rest, ok := c.below(r.URL.EscapedPath())
	if len(rest) == 1 && rest[0] == consoleSocket {
		return c.serveSocket(w, r)
	}
	Protect(w.Header())
	switch {
	case !ok:
		Refuse(w, http.StatusNotFound, "there is nothing at this path; the console's own ends with a slash")
	case len(rest) == 0: // all but the slash
		c.redirect(w, r)
	case rest[0] == consoleAPI && len(rest) > 1:
		c.serveAPI(w, r, rest[1:])
	default:
		Serve(w, r, strings.Join(rest, "/"))
	}
	return nil
}

// below gives the segments of a path behind the page's.
func (c *Console) below(path string) (rest []string, ok bool) {
	segments, ok := api.Segments(path)
	switch {
	case !ok:
		return nil, false
	case c.Prefix != "":
		return api.CutPrefix(segments, c.prefix)
	}
	roots := []string{consoleAPI, consoleSocket, Assets}
	if i := slices.IndexFunc(segments, func(s string) bool { return slices.Contains(roots, s) }); i >= 0 {
		return segments[i:], true
	}
	last := segments[len(segments)-1:]
	return last, last[0] == ""
}

// redirect leads from /console to /console/, from where the page's own addresses are told.
func (c *Console) redirect(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		Serve(w, r, "") // which refuses it
		return
	}
	segments := strings.Split(r.URL.EscapedPath(), "/")
	to := "./" + segments[len(segments)-1] + "/" // relative: a proxy may have taken something off the front
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusPermanentRedirect)
}

// serveAPI serves the hub's HTTP API to the page.
func (c *Console) serveAPI(w http.ResponseWriter, r *http.Request, segments []string) {
	if c.foreign.Check(r) != nil {
		api.Fail(w, api.Forbidden("a page of another origin may not do this"))
		return
	}
	api.Serving(c.directory.Hub(c.name), c.log).Serve(w, r, segments)
}

// serveSocket serves the hub's WebSocket to the page as the hub's own handler does, but to no page of another origin, whichever the
// handler allows.
func (c *Console) serveSocket(w http.ResponseWriter, r *http.Request) error {
	return c.directory.Socket(c.name).ServeSameOrigin(w, r)
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Console)(nil)
	_ caddyhttp.MiddlewareHandler = (*Console)(nil)
	_ caddyfile.Unmarshaler       = (*Console)(nil)
)
