package sqlite

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
)

// UnmarshalCaddyfile sets up the source from Caddyfile tokens:
//
//	sqlite <path> {
//		max_connections <number>
//		busy_timeout    <duration>
//		max_raw_value   <size>
//	}
func (s *Source) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if err := directive.Args(d, directive.Text(&s.Path)); err != nil {
		return err
	}
	return directive.Options(d, func(d *caddyfile.Dispenser, option string) (bool, error) {
		switch option {
		case "max_connections":
			return true, directive.Args(d, directive.IntegerUpTo(&s.MaxConnections, maxConnections))
		case "busy_timeout":
			return true, directive.Args(d, directive.Duration(&s.BusyTimeout))
		case "max_raw_value":
			return true, directive.Args(d, directive.SizeUpTo(&s.MaxRawValue, maxRawValue))
		}
		return false, nil
	})
}

var _ caddyfile.Unmarshaler = (*Source)(nil)
