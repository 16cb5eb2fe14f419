package httpapi

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
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
	if err := directive.Options(d, s.option, "header"); err != nil {
		return err
	}
	if s.URL == "" {
		return d.Err("url is missing")
	}
	return nil
}

func (s *Source) option(d *caddyfile.Dispenser, name string) (bool, error) {
	switch name {
	case "url":
		return true, directive.Args(d, directive.Text(&s.URL))
	case "dialect":
		return true, directive.Args(d, directive.OneOf(&s.Dialect, NeuroQuantum, NDJSON, JSONArray))
	case "header":
		return true, s.unmarshalHeader(d)
	case "max_row":
		return true, directive.Args(d, directive.SizeUpTo(&s.MaxRow, maxMaxRow))
	case "timeout":
		return true, directive.Args(d, directive.Duration(&s.Timeout))
	case "method":
		return true, directive.Args(d, func(value string) string {
			if s.Method = value; !token.MatchString(value) {
				return "must be an HTTP method"
			}
			return ""
		})
	case "max_connections":
		return true, directive.Args(d, directive.IntegerUpTo(&s.MaxConnections, maxConnections))
	}
	return false, nil
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
