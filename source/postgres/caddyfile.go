package postgres

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
)

// UnmarshalCaddyfile sets up the source from Caddyfile tokens:
//
//	postgres {
//		dsn               <connection string>
//		max_connections   <number>
//		role              <name>
//		set               <name> <value>
//		publication       <name>
//		fetch cursor      <rows>
//		acquire_timeout   <duration>
//		first_row_timeout <duration>
//	}
//
// set may be given several times, for different names.
func (s *Source) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := directive.Options(d, s.option, "set"); err != nil {
		return err
	}
	if s.DSN == "" {
		return d.Err("postgres: it needs a dsn")
	}
	return nil
}

func (s *Source) option(d *caddyfile.Dispenser, name string) (bool, error) {
	switch name {
	case "dsn":
		return true, directive.Args(d, directive.Text(&s.DSN))
	case "role":
		return true, directive.Args(d, directive.Text(&s.Role))
	case "set":
		var set Setting
		if !d.AllArgs(&set.Name, &set.Value) {
			return true, d.ArgErr()
		}
		s.Set = append(s.Set, set)
		if err := checkSettings(s.Set); err != nil {
			return true, d.Err(err.Error())
		}
		return true, nil
	case "publication":
		if err := directive.Args(d, directive.Text(&s.Publication)); err != nil {
			return true, err
		}
		if len(s.Publication) > maxName {
			return true, d.Errf("publication must have 1 to %d bytes", maxName)
		}
		return true, nil
	case "fetch":
		how := ""
		return true, directive.Args(d, directive.OneOf(&how, "cursor"), directive.IntegerUpTo(&s.FetchCursor, maxFetch))
	case "max_connections":
		return true, directive.Args(d, directive.IntegerUpTo(&s.MaxConnections, maxConnections))
	case "acquire_timeout":
		return true, directive.Args(d, directive.Duration(&s.AcquireTimeout))
	case "first_row_timeout":
		return true, directive.Args(d, directive.Duration(&s.FirstRowTimeout))
	}
	return false, nil
}

var _ caddyfile.Unmarshaler = (*Source)(nil)
