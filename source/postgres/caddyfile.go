package postgres

import (
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
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
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("%s is given twice", option)
		}
		seen[option] = option != "set"
		if err := s.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	if s.DSN == "" {
		return d.Err("postgres: it needs a dsn")
	}
	return nil
}

func (s *Source) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	switch option {
	case "set":
		var set Setting
		if !d.AllArgs(&set.Name, &set.Value) {
			return d.ArgErr()
		}
		s.Set = append(s.Set, set)
		if err := checkSettings(s.Set); err != nil {
			return d.Err(err.Error())
		}
		return nil
	case "fetch":
		var how, rows string
		if !d.AllArgs(&how, &rows) {
			return d.ArgErr()
		}
		n, err := strconv.Atoi(rows)
		if how != "cursor" || err != nil || n < 1 || n > maxFetch {
			return d.Errf("fetch must be cursor and a number of rows from 1 to %d", maxFetch)
		}
		s.FetchCursor = n
		return nil
	}
	var value string
	if !d.AllArgs(&value) {
		return d.ArgErr()
	}
	timeout := func(to *caddy.Duration) error {
		t, err := caddy.ParseDuration(value)
		if err != nil || t < time.Millisecond {
			return d.Errf("%s must be a positive duration", option)
		}
		*to = caddy.Duration(t)
		return nil
	}
	switch option {
	case "dsn":
		s.DSN = value
	case "role":
		s.Role = value
	case "publication":
		if value == "" || len(value) > maxName {
			return d.Errf("publication must have 1 to %d bytes", maxName)
		}
		s.Publication = value
	case "max_connections":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxConnections {
			return d.Errf("max_connections must be a number from 1 to %d", maxConnections)
		}
		s.MaxConnections = n
	case "acquire_timeout":
		return timeout(&s.AcquireTimeout)
	case "first_row_timeout":
		return timeout(&s.FirstRowTimeout)
	default:
		return d.Errf("unknown option %s", option)
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Source)(nil)
