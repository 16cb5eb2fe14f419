package sqlite

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the source from Caddyfile tokens:
//
//	sqlite <path> {
//		max_connections <number>
//		busy_timeout    <duration>
//	}
func (s *Source) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if !d.AllArgs(&s.Path) {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("%s is given twice", option)
		}
		seen[option] = true
		var value string
		if !d.AllArgs(&value) {
			return d.ArgErr()
		}
		switch option {
		case "max_connections":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxConnections {
				return d.Errf("max_connections must be a number from 1 to %d", maxConnections)
			}
			s.MaxConnections = n
		case "busy_timeout":
			timeout, err := caddy.ParseDuration(value)
			if err != nil || timeout <= 0 {
				return d.Errf("busy_timeout must be a positive duration")
			}
			s.BusyTimeout = caddy.Duration(timeout)
		default:
			return d.Errf("unknown option %s", option)
		}
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Source)(nil)
