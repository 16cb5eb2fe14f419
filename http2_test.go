package neuroquantumws_test

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// http2Conn is a connection of HTTP/2 without any client, for what none would do.
type http2Conn struct {
	t      testing.TB
	framer *http2.Framer
	next   uint32 // stream
}

func rawHTTP2(t testing.TB, address string) *http2Conn {
	t.Helper()
	config := wstest.Trusting()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(wait.Limit))
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	c := &http2Conn{t: t, framer: http2.NewFramer(conn, conn), next: 1}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := c.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

// in is the connection for a test within the one that opened it.
func (c *http2Conn) in(t testing.TB) *http2Conn { c.t = t; return c }

// connect sends a CONNECT with a header of names and values, and gives the answer's header and, for its Status, its body.
func (c *http2Conn) connect(host string, header ...string) *http.Response {
	c.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fields := append([]string{":method", "CONNECT", ":scheme", "https", ":authority", host, ":path", "/ws"}, header...)
	for i := 0; i < len(fields); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	id := c.next
	c.next += 2
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}); err != nil {
		c.t.Fatal(err)
	}
	response := &http.Response{Header: http.Header{}}
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			c.t.Fatal(err)
		}
		if frame.Header().StreamID != id {
			continue
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			response.StatusCode, _ = strconv.Atoi(f.PseudoValue("status"))
			for _, field := range f.RegularFields() {
				response.Header.Add(field.Name, field.Value)
			}
		case *http2.DataFrame:
			response.Status += string(f.Data())
			if f.StreamEnded() {
				return response
			}
		case *http2.RSTStreamFrame:
			c.t.Fatalf("reset: %v", f.ErrCode)
		}
	}
}
