// Package httpapi is the guest module http.handlers.neuroquantum_ws.sources.http: a database with an API that answers queries with
// JSON over HTTP, as a source of queries. Answers are decoded as they come; no more than one row is held at a time.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func init() {
	caddy.RegisterModule(new(Source))
}

const (
	defaultMaxRow      = 1 << 20
	maxMaxRow          = 16 << 20 // no longer row is sent to a client
	defaultTimeout     = 30 * time.Second
	defaultConnections = 16
	maxConnections     = 1000
)

// Dialect is how an API is asked and how it answers.
type Dialect string

// The dialects.
const (
	NeuroQuantum Dialect = "neuroquantum" // POST {"query":"…"}, rows in an envelope
	NDJSON       Dialect = "ndjson"       // rows one behind the other, as objects or arrays
	JSONArray    Dialect = "json_array"   // one array of rows, which are objects or arrays
)

func (d Dialect) valid() bool { return d == NeuroQuantum || d == NDJSON || d == JSONArray }

// Source is a database's HTTP API. It is safe for concurrent use once it is provisioned.
//
// Values are passed on as the API writes them, numbers digit for digit. Redirects are not followed, and the environment's proxy is
// not used.
type Source struct {
	// URL that queries go to which have none of their own, http or https. Placeholders such as {env.API} are replaced when the
	// configuration is loaded.
	URL string `json:"url"`
	// Dialect is neuroquantum, ndjson or json_array. Default: neuroquantum.
	Dialect Dialect `json:"dialect,omitempty"`
	// Header is sent with every request. A value may hold {user}, the name of the user that the query runs for (empty for an anonymous
	// client), and placeholders such as {env.API_KEY}, which are replaced when the configuration is loaded.
	Header http.Header `json:"header,omitempty"`
	// MaxRow is the longest row in bytes; a longer one fails the query. Default: 1 MiB. At most 16 MiB.
	MaxRow int64 `json:"max_row,omitempty"`
	// Timeout is the longest that the answer's first row may take. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Method of the requests. Default: POST where there is a body, else GET.
	Method string `json:"method,omitempty"`
	// MaxConnections is how many connections to one host there may be at once; queries wait for one as part of Timeout. Default: 16.
	// At most 1000.
	MaxConnections int `json:"max_connections,omitempty"`

	url       string // with placeholders replaced
	header    []header
	transport *http.Transport
}

// CaddyModule returns the Caddy module information.
func (*Source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.neuroquantum_ws.sources.http",
		New: func() caddy.Module { return new(Source) },
	}
}

// Provision checks the options. It asks nothing of the API, which need not be there yet.
func (s *Source) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	var err error
	if s.url, err = repl.ReplaceOrErr(s.URL, true, true); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if _, err := parseURL(s.url); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if s.Dialect == "" {
		s.Dialect = NeuroQuantum
	}
	if s.MaxRow == 0 {
		s.MaxRow = defaultMaxRow
	}
	if s.Timeout == 0 {
		s.Timeout = caddy.Duration(defaultTimeout)
	}
	if s.MaxConnections == 0 {
		s.MaxConnections = defaultConnections
	}
	switch {
	case !s.Dialect.valid():
		return fmt.Errorf("unknown dialect %q: must be neuroquantum, ndjson or json_array", s.Dialect)
	case s.MaxRow < 0 || s.MaxRow > maxMaxRow:
		return fmt.Errorf("max_row must be from 1 to %d bytes", maxMaxRow)
	case s.Timeout < 0:
		return errors.New("timeout must be positive")
	case s.MaxConnections < 0 || s.MaxConnections > maxConnections:
		return fmt.Errorf("max_connections must be from 1 to %d", maxConnections)
	case s.Method != "" && !token.MatchString(s.Method):
		return fmt.Errorf("%q is no HTTP method", s.Method)
	case s.Dialect == NeuroQuantum && s.Method != "" && s.Method != http.MethodPost:
		return errors.New("the dialect neuroquantum knows the method POST only")
	}
	if s.header, err = compileHeader(s.Header, repl); err != nil {
		return err
	}
	s.transport = &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		DisableCompression:     true, // gzip is decoded here, where the end of the body can be checked
		MaxConnsPerHost:        s.MaxConnections,
		MaxIdleConnsPerHost:    s.MaxConnections,
		MaxIdleConns:           s.MaxConnections,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return nil
}

// Cleanup closes the connections that nobody uses. A query that still runs goes on to its end.
func (s *Source) Cleanup() error {
	if s.transport != nil {
		s.transport.CloseIdleConnections()
	}
	return nil
}

// Prepare checks that text makes a request in the source's dialect, which uses all params and no others.
func (s *Source) Prepare(_ context.Context, text stream.Text, params []stream.Param) (stream.Statement, error) {
	if s.transport == nil {
		return nil, errors.New("the HTTP source is not provisioned")
	}
	st, err := s.prepare(text, params)
	if err != nil {
		return nil, fmt.Errorf("HTTP: %w", err)
	}
	return st, nil
}

var (
	_ caddy.Module       = (*Source)(nil)
	_ caddy.Provisioner  = (*Source)(nil)
	_ caddy.CleanerUpper = (*Source)(nil)
	_ stream.Source      = (*Source)(nil)
)
