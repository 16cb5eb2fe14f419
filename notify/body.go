package notify

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/go-json-experiment/json/jsontext"
)

// copiedBody is a request's body, which keeps a copy of what is read from it. A proxy may go on reading after it has answered.
type copiedBody struct {
	io.ReadCloser

	mu    sync.Mutex
	copy  []byte
	long  bool // there was more than is copied
	ended bool
}

// copyBody puts a copiedBody in the place of the request's body.
func copyBody(r *http.Request) *copiedBody {
	c := &copiedBody{ReadCloser: r.Body}
	if r.Body == nil || r.Body == http.NoBody {
		c.ended = true // transports know http.NoBody by its identity
		return c
	}
	c.long = r.ContentLength > maxNotifyBody
	r.Body = c
	return c
}

// Read implements io.Reader.
func (c *copiedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.long:
	case len(c.copy)+n > maxNotifyBody:
		c.long, c.copy = true, nil
	default:
		c.copy = append(c.copy, p[:n]...)
	}
	c.ended = c.ended || err == io.EOF
	return n, err
}

// query is the statement in a body {"query":"…"} whose header promised length bytes, -1 if nothing.
func (c *copiedBody) query(length int64, encoding string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case encoding != "":
		return "", errors.New("it is encoded")
	case c.long:
		return "", errors.New("it is too long")
	case !c.ended && int64(len(c.copy)) != length:
		return "", errors.New("it was not read to its end")
	}
	return queryOf(c.copy)
}

var errNoQuery = errors.New(`it is no JSON object with one "query"`)

// queryOf is the member "query" of a JSON object.
func queryOf(body []byte) (query string, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return "", errNoQuery
	}
	found := false
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return "", errNoQuery
		}
		if name.String() != "query" {
			if err := d.SkipValue(); err != nil {
				return "", errNoQuery
			}
			continue
		}
		value, err := d.ReadToken()
		if err != nil || value.Kind() != '"' {
			return "", errNoQuery
		}
		query, found = value.String(), true
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '}' || !found {
		return "", errNoQuery
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return "", errNoQuery
	}
	return query, nil
}

// statusWriter sees the status of a response that it passes on.
type statusWriter struct {
	*caddyhttp.ResponseWriterWrapper
	status   int // 0: none was written, which means 200
	hijacked bool
}

func (s *statusWriter) succeeded() bool {
	return !s.hijacked && (s.status == 0 || s.status >= 200 && s.status < 300)
}

// WriteHeader implements http.ResponseWriter.
func (s *statusWriter) WriteHeader(status int) {
	// Others of 1xx are not final.
	if s.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		s.status = status
	}
	s.ResponseWriterWrapper.WriteHeader(status)
}

// Write implements io.Writer.
func (s *statusWriter) Write(data []byte) (int, error) {
	s.written()
	return s.ResponseWriterWrapper.Write(data)
}

// ReadFrom implements io.ReaderFrom.
func (s *statusWriter) ReadFrom(r io.Reader) (int64, error) {
	s.written()
	return s.ResponseWriterWrapper.ReadFrom(r)
}

func (s *statusWriter) written() {
	if s.status == 0 {
		s.status = http.StatusOK
	}
}

// Hijack implements http.Hijacker. All else that a writer may do is found by Unwrap.
func (s *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(s.ResponseWriter).Hijack()
	s.hijacked = s.hijacked || err == nil
	return conn, buffered, err
}

// Interface guards.
var (
	_ http.Hijacker = (*statusWriter)(nil)
	_ io.ReaderFrom = (*statusWriter)(nil)
)
