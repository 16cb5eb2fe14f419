package nats

import (
	"math"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
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
	if err := Block(d, m.option); err != nil {
		return err
	}
	if err := m.check(); err != nil {
		return d.Errf("broker nats: %v", err)
	}
	return nil
}

// Block reads the options of a block, none of which may stand twice.
func Block(d *caddyfile.Dispenser, option func(d *caddyfile.Dispenser, name string) error) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if seen[name] {
			return d.Errf("%s is given twice", name)
		}
		seen[name] = true
		if err := option(d, name); err != nil {
			return err
		}
	}
	return nil
}

func (m *Module) option(d *caddyfile.Dispenser, name string) error {
	texts := map[string]*string{
		"name": &m.Name, "prefix": &m.Prefix, "storage": &m.Storage, "interest": &m.Interest,
		"history_unavailable": &m.HistoryUnavailable, "domain": &m.Domain, "credentials": &m.Credentials, "nkey": &m.NKey,
		"token": &m.Token,
	}
	times := map[string]*caddy.Duration{"publish_timeout": &m.PublishTimeout, "read_timeout": &m.ReadTimeout}
	if to := texts[name]; to != nil {
		return Values(d, to)
	}
	if to := times[name]; to != nil {
		return duration(d, to)
	}
	switch name {
	case "servers":
		if m.Servers = d.RemainingArgs(); len(m.Servers) == 0 {
			return d.ArgErr()
		}
		return nil
	case "embedded":
		return m.unmarshalEmbedded(d)
	case "replicas":
		var text string
		if err := Values(d, &text); err != nil {
			return err
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return d.Errf("replicas: %q must be 1, 3 or 5", text)
		}
		m.Replicas = n
		return nil
	case "max_bytes":
		return Size(d, &m.MaxBytes)
	case "user":
		m.User = new(User)
		return Values(d, &m.User.Name, &m.User.Password)
	case "tls":
		return m.unmarshalTLS(d)
	}
	return d.Errf("unknown option %s", name)
}

// Values reads just these arguments, none of which may be empty.
func Values(d *caddyfile.Dispenser, to ...*string) error {
	option := d.Val()
	if !d.AllArgs(to...) {
		return d.Errf("%s: wrong number of arguments", option)
	}
	for _, value := range to {
		if *value == "" {
			return d.Errf("%s: it must not be empty", option)
		}
	}
	return nil
}

// Size reads a size, such as 10GiB.
func Size(d *caddyfile.Dispenser, to *int64) error {
	option := d.Val()
	var text string
	if err := Values(d, &text); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n < 1 || n > math.MaxInt64 {
		return d.Errf("%s: %q must be a size, such as 10GiB", option, text)
	}
	*to = int64(n)
	return nil
}

func duration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	option := d.Val()
	var text string
	if err := Values(d, &text); err != nil {
		return err
	}
	n, err := caddy.ParseDuration(text)
	if err != nil || n <= 0 {
		return d.Errf("%s: %q must be a positive duration, such as 5s", option, text)
	}
	*to = caddy.Duration(n)
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

func (m *Module) unmarshalTLS(d *caddyfile.Dispenser) error {
	m.TLS = new(TLS)
	if d.NextArg() {
		return d.ArgErr()
	}
	return Block(d, func(d *caddyfile.Dispenser, name string) error {
		switch name {
		case "ca":
			return Values(d, &m.TLS.CA)
		case "certificate":
			return Values(d, &m.TLS.Certificate, &m.TLS.Key)
		}
		return d.Errf("unknown option tls %s", name)
	})
}

var _ caddyfile.Unmarshaler = (*Module)(nil)
