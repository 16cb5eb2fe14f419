package neuroquantumws

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(directory)) }

// directory is Caddy's app neuroquantum_ws, which needs no configuration. It knows the hubs of one configuration: only when all of it
// is provisioned can be said whether a hub that is named somewhere is one of them.
type directory struct {
	hubs     map[string]*pooledHub // does not change once the configuration starts
	handlers map[string]*Handler   // one of each hub, the first; the same holds
	claims   map[string][]byte     // the options of each hub as JSON
	wanted   []wanted              // what other directives name
}

// wanted is a hub that a directive names.
type wanted struct{ directive, hub string }

// CaddyModule implements caddy.Module.
func (*directory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "neuroquantum_ws", New: func() caddy.Module {
		return &directory{hubs: make(map[string]*pooledHub), handlers: make(map[string]*Handler), claims: make(map[string][]byte)}
	}}
}

// claim notes the options that a handler gives its hub. Where two of one configuration say different things of one hub, neither can be
// right; who may connect and as whom is each handler's own.
func (d *directory) claim(name string, h *Handler) error {
	options := *h
	options.Hub, options.Origins, options.User, options.Metadata = name, nil, "", nil
	text, err := json.Marshal(&options)
	if err != nil {
		return fmt.Errorf("hub %s: %w", name, err)
	}
	if before, claimed := d.claims[name]; claimed && !bytes.Equal(before, text) {
		return fmt.Errorf("hub %s: another neuroquantum_ws of this configuration gives it other options; "+
			"only origins, user and metadata may differ", name)
	}
	d.claims[name] = text
	return nil
}

// directoryOf is the directory of the configuration that is being provisioned.
func directoryOf(ctx caddy.Context) (*directory, error) {
	app, err := ctx.App("neuroquantum_ws")
	if err != nil {
		return nil, fmt.Errorf("getting the neuroquantum_ws app: %w", err)
	}
	return app.(*directory), nil
}

// want notes that a directive needs a hub of this configuration.
func (d *directory) want(directive, hub string) { d.wanted = append(d.wanted, wanted{directive, hub}) }

// Start implements caddy.App. A configuration that names a hub which it does not have fails to start. Shared brokers are connected.
func (d *directory) Start() error {
	for _, w := range d.wanted {
		if d.hubs[w.hub] == nil {
			return fmt.Errorf("%s: no neuroquantum_ws of this configuration has the hub %q", w.directive, w.hub)
		}
	}
	return d.open()
}

// openTime is how long a configuration that starts waits for the brokers of its hubs to be reached. Those that are not go on trying, and
// take no clients before.
const openTime = 5 * time.Second

// open connects the hubs that share a broker with other servers: only now it is certain that the configuration is to run, and is not just
// being checked.
func (d *directory) open() error {
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	for name, p := range d.hubs {
		if err := p.hub.Open(ctx); err != nil {
			return fmt.Errorf("hub %s: %w", name, err)
		}
	}
	return nil
}

// Stop implements caddy.App. Requests may still be on their way: what they need belongs to the hubs.
func (d *directory) Stop() error { return nil }

var _ caddy.App = (*directory)(nil)
