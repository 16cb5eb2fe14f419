package instance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() { caddy.RegisterModule(new(App)) }

// DefaultHub is the name of the hub where a directive names none.
const DefaultHub = "default"

// App is Caddy's app neuroquantum_ws, which needs no configuration. It knows the hubs of one configuration: only when all of it
// is provisioned can be said whether a hub that is named somewhere is one of them.
type App struct {
	hubs       map[string]*Instance // does not change once the configuration starts
	sockets    map[string]Socket    // the first handler of each hub; does not change either
	claims     map[string][]byte    // the options of each hub as JSON
	references []reference          // what other directives name
}

// reference is a hub that a directive names.
type reference struct{ directive, hub string }

// CaddyModule implements caddy.Module.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "neuroquantum_ws", New: func() caddy.Module {
		return &App{hubs: make(map[string]*Instance), sockets: make(map[string]Socket), claims: make(map[string][]byte)}
	}}
}

// Socket is the handler of a hub's WebSocket.
type Socket interface {
	// ServeSameOrigin serves a request as the handler does, but to pages of the site's own origin only.
	ServeSameOrigin(w http.ResponseWriter, r *http.Request) error
}

// Register notes the options, as JSON, that a handler gives its hub. Where two of one configuration say different things of one hub, neither can
// be right; who may connect and as whom is each handler's own.
func (d *App) Register(name string, options []byte) error {
	if before, claimed := d.claims[name]; claimed && !bytes.Equal(before, options) {
		return fmt.Errorf("hub %s: another neuroquantum_ws of this configuration gives it other options; "+
			"only origins, user and metadata may differ", name)
	}
	d.claims[name] = options
	return nil
}

// Add adds a hub and its handler to the configuration.
func (d *App) Add(name string, p *Instance, s Socket) {
	d.hubs[name] = p
	if d.sockets[name] == nil {
		d.sockets[name] = s
	}
}

// Hub is the hub of a name, nil where the configuration has none.
func (d *App) Hub(name string) *Instance { return d.hubs[name] }

// Socket is the handler of a hub's WebSocket.
func (d *App) Socket(name string) Socket { return d.sockets[name] }

// AppOf is the directory of the configuration that is being provisioned.
func AppOf(ctx caddy.Context) (*App, error) {
	app, err := ctx.App("neuroquantum_ws")
	if err != nil {
		return nil, fmt.Errorf("getting the neuroquantum_ws app: %w", err)
	}
	return app.(*App), nil
}

// RequireHub notes that a directive needs a hub of this configuration. It returns an error if the configuration, part of which may not
// be provisioned yet, has no handler of that hub.
func (d *App) RequireHub(ctx caddy.Context, directive, hub string) error {
	one := reference{directive, hub}
	d.references = append(d.references, one)
	if d.hubs[hub] != nil || configures(ctx, hub) {
		return nil
	}
	return one.missing()
}

func (r reference) missing() error {
	return fmt.Errorf("%s: no neuroquantum_ws of this configuration has the hub %q", r.directive, r.hub)
}

// configures reports whether the routes of Caddy's http app that are still to be provisioned have a handler of a hub. It reports true
// where it cannot know.
func configures(ctx caddy.Context, hub string) bool {
	app, err := ctx.AppIfConfigured("http")
	sites, ok := app.(*caddyhttp.App)
	if err != nil || !ok {
		return true
	}
	for _, server := range sites.Servers {
		routes := slices.Clone(server.Routes)
		if server.Errors != nil {
			routes = append(routes, server.Errors.Routes...)
		}
		for _, route := range server.NamedRoutes {
			routes = append(routes, *route)
		}
		for _, route := range routes {
			if slices.ContainsFunc(route.HandlersRaw, func(raw json.RawMessage) bool { return holdsHub(raw, hub) }) {
				return true
			}
		}
	}
	return false
}

// holdsHub reports whether a handler's JSON is that of a hub, or holds one.
func holdsHub(raw json.RawMessage, hub string) bool {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		return slices.ContainsFunc(list, func(item json.RawMessage) bool { return holdsHub(item, hub) })
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return false
	}
	var handler struct{ Handler, Hub string }
	if json.Unmarshal(raw, &handler) == nil && handler.Handler == "neuroquantum_ws" {
		return cmp.Or(handler.Hub, DefaultHub) == hub
	}
	for _, member := range members {
		if holdsHub(member, hub) {
			return true
		}
	}
	return false
}

// Start implements caddy.App. A configuration that names a hub which it does not have fails to start. Shared brokers are connected.
func (d *App) Start() error {
	for _, w := range d.references {
		if d.hubs[w.hub] == nil {
			return w.missing()
		}
	}
	return d.openHubs()
}

// openTime is how long a configuration that starts waits for the brokers of its hubs to be reached. Those that are not go on trying, and
// take no clients before.
const openTime = 5 * time.Second

// openHubs connects the hubs that share a broker with other servers: only now it is certain that the configuration is to run, and is not just
// being checked.
func (d *App) openHubs() error {
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	for name, p := range d.hubs {
		if err := p.Hub.Open(ctx); err != nil {
			return fmt.Errorf("hub %s: %w", name, err)
		}
	}
	return nil
}

// Stop implements caddy.App. Requests may still be on their way: what they need belongs to the hubs.
func (d *App) Stop() error { return nil }

var _ caddy.App = (*App)(nil)
