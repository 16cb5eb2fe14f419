package memory

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

func init() { caddy.RegisterModule(Module{}) }

// Module is the guest module that gives a hub a broker in memory. It has no options.
type Module struct{}

// CaddyModule implements caddy.Module.
func (Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.neuroquantum_ws.brokers.memory",
		New: func() caddy.Module { return new(Module) },
	}
}

// UnmarshalCaddyfile sets up the broker from Caddyfile tokens. Syntax:
//
//	broker memory
func (*Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() || d.NextBlock(0) {
		return d.Err("the broker memory has no options")
	}
	return nil
}

// NewBroker implements the handler's BrokerModule.
func (*Module) NewBroker(_ string, maxHistory int64) (hub.Broker, error) {
	return New(int(maxHistory)), nil
}

// Interface guards.
var (
	_ caddy.Module          = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
)
