package httpapi

import (
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// UnmarshalCaddyfile sets up the source from Caddyfile tokens:
//
//	http {
//		url             <url>
//		dialect         neuroquantum|ndjson|json_array
//		header          <name> <value>
//		max_row         <size>
//		timeout         <duration>
//		method          <method>
//		max_connections <number>
//	}
//
// header may stand more than once.
func (s *Source) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if option == "header" {
			if err := s.unmarshalHeader(d); err != nil {
				return err
			}
			continue
		}
		if seen[option] {
			return d.Errf("%s is given twice", option)
		}
		seen[option] = true
		var value string
		if !d.AllArgs(&value) {
			return d.ArgErr()
		}
		if wrong := s.set(option, value); wrong != "" {
			return d.Err(wrong)
		}
	}
	if s.URL == "" {
		return d.Err("url is missing")
	}
	return nil
}

// set takes an option with one value; what it gives says what is wrong with it.
func (s *Source) set(option, value string) string {
	switch option {
	case "url":
		if s.URL = value; value == "" {
			return "url must not be empty"
		}
	case "dialect":
		if s.Dialect = Dialect(value); !s.Dialect.valid() {
			return "unknown dialect " + value + ": must be neuroquantum, ndjson or json_array"
		}
	case "max_row":
		n, err := humanize.ParseBytes(value)
		if err != nil || n < 1 || n > maxMaxRow {
			return "max_row must be a size up to 16MiB, such as 1MiB"
		}
		s.MaxRow = int64(n)
	case "timeout":
		timeout, err := caddy.ParseDuration(value)
		if err != nil || timeout <= 0 {
			return "timeout must be a positive duration"
		}
		s.Timeout = caddy.Duration(timeout)
	case "method":
		if s.Method = value; !token.MatchString(value) {
			return "method must be an HTTP method"
		}
	case "max_connections":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxConnections {
			return "max_connections must be a number from 1 to " + strconv.Itoa(maxConnections)
		}
		s.MaxConnections = n
	default:
		return "unknown option " + option
	}
	return ""
}

func (s *Source) unmarshalHeader(d *caddyfile.Dispenser) error {
	var name, value string
	if !d.AllArgs(&name, &value) {
		return d.ArgErr()
	}
	if err := checkHeader(name, value); err != nil {
		return d.Err(err.Error())
	}
	if s.Header == nil {
		s.Header = make(http.Header)
	}
	s.Header.Add(name, value)
	return nil
}

var _ caddyfile.Unmarshaler = (*Source)(nil)
