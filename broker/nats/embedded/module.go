package embedded

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/nats"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
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
	// User and password without which no other program may connect; they may be placeholders. Default: none are asked for.
	Auth *nats.User `json:"auth,omitempty"`
	// Certificate, key and authorities (PEM files) for other programs' connections. Default: no TLS.
	TLS *TLS `json:"tls,omitempty"`
	// When messages go to the disk for certain: always, before they are acknowledged, or after a time. Default: 2m.
	Sync string `json:"sync,omitempty"`
	// Bytes that its streams may take on the disk. Default: three quarters of what is free.
	MaxStore int64 `json:"max_store,omitempty"`
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
	// User and password that all servers of the cluster share; they may be placeholders. Default: none are asked for.
	Auth *nats.User `json:"auth,omitempty"`
	// Certificate, key and authorities (PEM files), by which the servers know each other. Default: no TLS.
	TLS *TLS `json:"tls,omitempty"`
}

// TLS names the files of a certificate.
type TLS struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
	// Authorities whose certificates the other side must show. Default: none must be shown.
	CA string `json:"ca,omitempty"`
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
//		auth      <user> <password>
//		tls       <certificate> <key> [<ca>]
//		sync      always|<time>
//		max_store <size>
//		cluster   <name> <address> {
//			auth <user> <password>
//			tls  <certificate> <key> <ca>
//		}
//		routes    <address...>
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := directive.Options(d, m.option); err != nil {
		return err
	}
	if err := m.check(); err != nil {
		return d.Errf("embedded: %v", err)
	}
	return nil
}

func (m *Module) option(d *caddyfile.Dispenser, name string) (bool, error) {
	switch name {
	case "store_dir":
		return true, directive.Args(d, directive.Text(&m.StoreDir))
	case "name":
		return true, directive.Args(d, directive.Text(&m.Name))
	case "listen":
		return true, directive.Args(d, directive.Text(&m.Listen))
	case "auth":
		m.Auth = new(nats.User)
		return true, directive.Args(d, directive.Text(&m.Auth.Name), directive.Text(&m.Auth.Password))
	case "tls":
		m.TLS = new(TLS)
		return true, m.TLS.unmarshal(d)
	case "sync":
		return true, directive.Args(d, directive.Text(&m.Sync))
	case "max_store":
		return true, directive.Args(d, directive.Size(&m.MaxStore))
	case "cluster":
		m.Cluster = new(Cluster)
		return true, m.Cluster.unmarshal(d)
	case "routes":
		return true, directive.List(d, &m.Routes)
	}
	return false, nil
}

func (c *Cluster) unmarshal(d *caddyfile.Dispenser) error {
	if err := directive.Args(d, directive.Text(&c.Name), directive.Text(&c.Listen)); err != nil {
		return err
	}
	return directive.Options(d, func(d *caddyfile.Dispenser, name string) (bool, error) {
		switch name {
		case "auth":
			c.Auth = new(nats.User)
			return true, directive.Args(d, directive.Text(&c.Auth.Name), directive.Text(&c.Auth.Password))
		case "tls":
			c.TLS = new(TLS)
			return true, c.TLS.unmarshal(d)
		}
		return false, nil
	})
}

func (t *TLS) unmarshal(d *caddyfile.Dispenser) error {
	return directive.OptionalArgs(d, 2, directive.Text(&t.Certificate), directive.Text(&t.Key), directive.Text(&t.CA))
}

// Validate implements caddy.Validator.
func (m *Module) Validate() error {
	if _, err := m.options(); err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	return nil
}

// check finds what cannot be meant, without looking at any file.
func (m *Module) check() error {
	if m.StoreDir == "" {
		return errors.New("it needs a store_dir")
	}
	if m.Listen == "" && (m.Auth != nil || m.TLS != nil) {
		return errors.New("auth and tls are for other programs' connections, which need listen")
	}
	if m.Listen != "" {
		if _, _, err := address(m.Listen); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	if m.Cluster == nil {
		if len(m.Routes) > 0 {
			return errors.New("routes need a cluster")
		}
	} else if _, _, err := address(m.Cluster.Listen); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if m.MaxStore < 0 {
		return errors.New("max_store must not be negative")
	}
	_, _, err := m.sync()
	return err
}

// sync is when messages go to the disk for certain.
func (m *Module) sync() (always bool, interval time.Duration, err error) {
	switch m.Sync {
	case "":
		return false, 0, nil
	case "always":
		return true, 0, nil
	}
	interval, err = caddy.ParseDuration(m.Sync)
	if err != nil || interval <= 0 {
		return false, 0, fmt.Errorf("sync: %q must be always or a time, such as 10s", m.Sync)
	}
	return false, interval, nil
}

// options are the server's.
func (m *Module) options() (*server.Options, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	o := &server.Options{
		ServerName: m.Name, JetStream: true, StoreDir: m.StoreDir, NoSigs: true, DontListen: m.Listen == "", DisableJetStreamBanner: true,
		JetStreamMaxStore: m.MaxStore,
	}
	o.SyncAlways, o.SyncInterval, _ = m.sync() // checked
	var err error
	if o.ServerName == "" {
		if o.ServerName, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("the machine's name: %w", err)
		}
	}
	if m.Listen != "" {
		o.Host, o.Port, _ = address(m.Listen) // checked
	}
	if o.Username, o.Password, err = login(m.Auth); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	if o.TLSConfig, err = m.TLS.config(); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if m.Cluster == nil {
		return o, nil
	}
	if m.Listen == "" {
		hide(o)
	}
	return o, m.join(o)
}

// hide has a server of a cluster listen for nobody. One that does not listen at all does not speak with the others either: their
// connections wait for the one of clients to be open. So it is, to this machine, and to who knows a password that nobody is told.
func hide(o *server.Options) {
	o.DontListen, o.Host, o.Port = false, "127.0.0.1", server.RANDOM_PORT
	o.Cluster.NoAdvertise = true
	if o.Username == "" {
		o.Username, o.Password = "caddy", rand.Text()
	}
}

// join makes the server one of a cluster.
func (m *Module) join(o *server.Options) (err error) {
	c := &o.Cluster
	c.Name = m.Cluster.Name
	c.Host, c.Port, _ = address(m.Cluster.Listen) // checked
	if c.Username, c.Password, err = login(m.Cluster.Auth); err != nil {
		return fmt.Errorf("cluster auth: %w", err)
	}
	if c.TLSConfig, err = m.Cluster.TLS.config(); err != nil {
		return fmt.Errorf("cluster tls: %w", err)
	}
	if c.TLSConfig != nil {
		c.TLSConfig.RootCAs = c.TLSConfig.ClientCAs
		c.TLSTimeout = tlsTimeout.Seconds()
	}
	for _, text := range m.Routes {
		route, err := url.Parse(text)
		if err != nil || route.Host == "" {
			return fmt.Errorf("routes: %q is no address such as nats://b:6222", text)
		}
		if route.User == nil && c.Username != "" {
			route.User = url.UserPassword(c.Username, c.Password)
		}
		o.Routes = append(o.Routes, route)
	}
	return nil
}

// tlsTimeout is how long the servers of a cluster may take over their handshake.
const tlsTimeout = 5 * time.Second

// login reads a user whose name and password may be placeholders.
func login(user *nats.User) (name, password string, err error) {
	if user == nil {
		return "", "", nil
	}
	replacer := caddy.NewReplacer()
	if name, err = replacer.ReplaceOrErr(user.Name, true, true); err != nil {
		return "", "", err
	}
	password, err = replacer.ReplaceOrErr(user.Password, true, true)
	return name, password, err
}

func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	config, err := server.GenTLSConfig(&server.TLSConfigOpts{
		CertFile: t.Certificate, KeyFile: t.Key, CaFile: t.CA, Verify: t.CA != "",
	})
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return config, nil
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
