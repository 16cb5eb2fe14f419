package embedded

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/nats"
)

func init() { caddy.RegisterModule(new(Module)) }

// Module is a NATS server with JetStream in this process. Hubs that name the same directory share it.
type Module struct {
	// Directory in which the server keeps its streams; only one server may use it at a time.
	StoreDir string `json:"store_dir"`
	// Name of the server, which no other of its cluster may have. Default: the machine's name.
	Name string `json:"name,omitempty"`
	// Address on which other programs may connect to it. Default: none may.
	Listen string `json:"listen,omitempty"`
	// The cluster that it is part of. Default: it stands alone.
	Cluster *Cluster `json:"cluster,omitempty"`
	// Addresses of the cluster's servers, such as nats://b:6222; its own may be among them.
	Routes []string `json:"routes,omitempty"`
}

// Cluster is a cluster of NATS servers.
type Cluster struct {
	// Its name, the same on all servers.
	Name string `json:"name"`
	// Address on which this server waits for the others.
	Listen string `json:"listen"`
}

// CaddyModule implements caddy.Module.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: nats.EmbeddedID, New: func() caddy.Module { return new(Module) }}
}

// UnmarshalCaddyfile sets up the server from Caddyfile tokens. Syntax:
//
//	embedded {
//		store_dir <dir>
//		name      <server>
//		listen    <address>
//		cluster   <name> <address>
//		routes    <address...>
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if seen[name] {
			return d.Errf("%s is given twice", name)
		}
		seen[name] = true
		ok := true
		switch name {
		case "store_dir":
			ok = d.AllArgs(&m.StoreDir)
		case "name":
			ok = d.AllArgs(&m.Name)
		case "listen":
			ok = d.AllArgs(&m.Listen)
		case "cluster":
			m.Cluster = new(Cluster)
			ok = d.AllArgs(&m.Cluster.Name, &m.Cluster.Listen)
		case "routes":
			m.Routes = d.RemainingArgs()
			ok = len(m.Routes) > 0
		default:
			return d.Errf("unknown option %s", name)
		}
		if !ok {
			return d.ArgErr()
		}
	}
	_, err := m.options()
	return err
}

// Validate implements caddy.Validator.
func (m *Module) Validate() error {
	_, err := m.options()
	return err
}

// options are the server's.
func (m *Module) options() (*server.Options, error) {
	if m.StoreDir == "" {
		return nil, errors.New("embedded: it needs a store_dir")
	}
	o := &server.Options{
		ServerName: m.Name, JetStream: true, StoreDir: m.StoreDir, NoSigs: true, DontListen: m.Listen == "", DisableJetStreamBanner: true,
	}
	if o.ServerName == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("embedded: the machine's name: %w", err)
		}
		o.ServerName = name
	}
	var err error
	if m.Listen != "" {
		if o.Host, o.Port, err = address(m.Listen); err != nil {
			return nil, fmt.Errorf("embedded: listen: %w", err)
		}
	}
	if m.Cluster == nil {
		if len(m.Routes) > 0 {
			return nil, errors.New("embedded: routes without a cluster")
		}
		return o, nil
	}
	o.Cluster.Name = m.Cluster.Name
	if o.Cluster.Host, o.Cluster.Port, err = address(m.Cluster.Listen); err != nil {
		return nil, fmt.Errorf("embedded: cluster: %w", err)
	}
	o.RoutesStr = strings.Join(m.Routes, ",")
	o.Routes = server.RoutesFromStr(o.RoutesStr)
	return o, nil
}

func address(text string) (host string, port int, err error) {
	host, service, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, fmt.Errorf("an address is HOST:PORT: %w", err)
	}
	if port, err = strconv.Atoi(service); err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("%s is no port", service)
	}
	return host, port, nil
}

// Interface guards.
var (
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ caddy.Validator       = (*Module)(nil)
	_ nats.Embedded         = (*Module)(nil)
)
