package nats

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

func init() { caddy.RegisterModule(new(Module)) }

// Module is the guest module that gives a hub a broker over NATS JetStream, so that several servers share it.
type Module struct {
	// Addresses of NATS servers, such as nats://a:4222; any of a cluster will do.
	Servers []string `json:"servers,omitempty"`
	// How many servers of the NATS cluster keep each message: 1, 3 or 5. Default: 1.
	Replicas int `json:"replicas,omitempty"`
	// What the hub is called in NATS: hubs of the same name share their channels. Default: the hub's name.
	Name string `json:"name,omitempty"`
	// A NATS server within this process, to connect to in place of servers.
	EmbeddedRaw json.RawMessage `json:"embedded,omitempty"`

	embedded Embedded
}

// EmbeddedID is the module of NATS servers within the process.
const EmbeddedID = "http.handlers.neuroquantum_ws.brokers.nats.embedded"

// Embedded is the guest module EmbeddedID.
type Embedded interface {
	// Take gives the server, which it starts where it does not run.
	Take(log *zap.Logger) (Lease, error)
}

// Lease is the use of a server within the process.
type Lease struct {
	Connect nats.Option  // connects a client to it
	Release func() error // ends the use; with the last the server stops
}

// Provision implements caddy.Provisioner.
func (m *Module) Provision(ctx caddy.Context) error {
	if (m.EmbeddedRaw != nil) == (len(m.Servers) > 0) {
		return errors.New("broker nats: it needs either servers or embedded")
	}
	if m.EmbeddedRaw == nil {
		return nil
	}
	module, err := ctx.LoadModuleByID(EmbeddedID, m.EmbeddedRaw)
	if err != nil {
		return fmt.Errorf("broker nats: loading the server: %w", err)
	}
	var ok bool
	if m.embedded, ok = module.(Embedded); !ok {
		return fmt.Errorf("broker nats: the module %T is no server", module)
	}
	return nil
}

// CaddyModule implements caddy.Module.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.neuroquantum_ws.brokers.nats", New: func() caddy.Module { return new(Module) }}
}

// UnmarshalCaddyfile sets up the broker from Caddyfile tokens. Syntax:
//
//	broker nats {
//		servers  <address...>
//		replicas <n>
//		name     <hub>
//		embedded {
//			...
//		}
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		name := d.Val()
		if seen[name] {
			return d.Errf("broker nats: %s stands twice", name)
		}
		seen[name] = true
		switch name {
		case "servers":
			if m.Servers = d.RemainingArgs(); len(m.Servers) == 0 {
				return d.ArgErr()
			}
		case "replicas":
			var text string
			if !d.AllArgs(&text) {
				return d.ArgErr()
			}
			if _, err := fmt.Sscan(text, &m.Replicas); err != nil {
				return d.Errf("broker nats: replicas: %v", err)
			}
		case "name":
			if !d.AllArgs(&m.Name) {
				return d.ArgErr()
			}
		case "embedded":
			if err := m.unmarshalEmbedded(d); err != nil {
				return err
			}
		default:
			return d.Errf("broker nats: unknown option %s", name)
		}
	}
	return nil
}

func (m *Module) unmarshalEmbedded(d *caddyfile.Dispenser) error {
	if _, err := caddy.GetModule(EmbeddedID); err != nil {
		return d.Err("this build has no embedded NATS server")
	}
	server, err := caddyfile.UnmarshalModule(d, EmbeddedID)
	if err != nil {
		return err
	}
	m.EmbeddedRaw = caddyconfig.JSON(server, nil)
	return nil
}

// NewBroker implements the handler's BrokerModule.
func (m *Module) NewBroker(hubName string, maxHistory int64) (hub.Broker, error) {
	options := Options{Hub: hubName, URL: strings.Join(m.Servers, ","), Replicas: m.Replicas, MaxBytes: maxHistory}
	if m.Name != "" {
		options.Hub = m.Name
	}
	if m.embedded != nil {
		options.Server = m.embedded.Take
	}
	return New(options), nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
)
