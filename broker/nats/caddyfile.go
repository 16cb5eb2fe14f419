package nats

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
)

// UnmarshalCaddyfile sets up the broker from Caddyfile tokens. Syntax:
//
//	broker nats {
//		servers             <address...>
//		embedded {
//			...
//		}
//		name                <hub>
//		prefix              <word>
//		replicas            <n>
//		storage             file|memory
//		max_bytes           <size>
//		interest            static|dynamic
//		publish_timeout     <time>
//		read_timeout        <time>
//		history_unavailable fail|live_only
//		domain              <name>
//		credentials         <file>
//		nkey                <file>
//		token               <token>
//		user                <name> <password>
//		tls {
//			ca          <file>
//			certificate <file> <key file>
//		}
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
		return d.Errf("broker nats: %v", err)
	}
	return nil
}

func (m *Module) option(d *caddyfile.Dispenser, name string) (bool, error) {
	texts := map[string]*string{
		"name": &m.Name, "prefix": &m.Prefix, "storage": &m.Storage, "interest": &m.Interest,
		"history_unavailable": &m.HistoryUnavailable, "domain": &m.Domain, "credentials": &m.Credentials, "nkey": &m.NKey,
		"token": &m.Token,
	}
	durations := map[string]*caddy.Duration{"publish_timeout": &m.PublishTimeout, "read_timeout": &m.ReadTimeout}
	if to := texts[name]; to != nil {
		return true, directive.Args(d, directive.Text(to))
	}
	if to := durations[name]; to != nil {
		return true, directive.Args(d, directive.Duration(to))
	}
	switch name {
	case "servers":
		return true, directive.List(d, &m.Servers)
	case "embedded":
		return true, m.unmarshalEmbedded(d)
	case "replicas":
		return true, directive.Args(d, directive.Integer(&m.Replicas))
	case "max_bytes":
		return true, directive.Args(d, directive.Size(&m.MaxBytes))
	case "user":
		m.User = new(User)
		return true, directive.Args(d, directive.Text(&m.User.Name), directive.Text(&m.User.Password))
	case "tls":
		return true, m.unmarshalTLS(d)
	}
	return false, nil
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

func (m *Module) unmarshalTLS(d *caddyfile.Dispenser) error {
	m.TLS = new(TLS)
	if err := directive.Block(d); err != nil {
		return err
	}
	return directive.Options(d, func(d *caddyfile.Dispenser, name string) (bool, error) {
		switch name {
		case "ca":
			return true, directive.Args(d, directive.Text(&m.TLS.CA))
		case "certificate":
			return true, directive.Args(d, directive.Text(&m.TLS.Certificate), directive.Text(&m.TLS.Key))
		}
		return false, nil
	})
}

var _ caddyfile.Unmarshaler = (*Module)(nil)
