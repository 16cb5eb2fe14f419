package wstest

import (
	"context"
	"crypto/sha1" //nolint:gosec // the WebSocket handshake's
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
)

// Trusting is the TLS configuration of clients that take any certificate.
func Trusting() *tls.Config { return &tls.Config{InsecureSkipVerify: true} } //nolint:gosec // of a server of the test's

// HTTP2 gives a transport for Options whose WebSockets are streams of one connection of HTTP/2 (RFC 8441). It is closed at the end of
// the test.
func HTTP2(t testing.TB) http.RoundTripper {
	return overHTTP2(t, func(address string, config *tls.Config) (net.Conn, error) {
		config = config.Clone()
		config.InsecureSkipVerify = true
		return tls.Dial("tcp", address, config)
	})
}

// PlainHTTP2 is HTTP2 without TLS.
func PlainHTTP2(t testing.TB) http.RoundTripper {
	return overHTTP2(t, func(address string, _ *tls.Config) (net.Conn, error) { return net.Dial("tcp", address) })
}

func overHTTP2(t testing.TB, dial func(string, *tls.Config) (net.Conn, error)) http.RoundTripper {
	var mu sync.Mutex
	var conns []net.Conn
	dialTLS := func(_ context.Context, _, address string, config *tls.Config) (net.Conn, error) {
		conn, err := dial(address, config)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, conn)
		}
		return conn, err
	}
	transport := &http2.Transport{AllowHTTP: true, DialTLSContext: dialTLS} //nolint:staticcheck // net/http's refuses :protocol
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			_ = conn.Close()
		}
	})
	return tunneling{transport, func(r *http.Request) { r.Header[":protocol"] = []string{"websocket"} }}
}

// HTTP3 is HTTP2 for HTTP/3 (RFC 9220). config may be nil.
func HTTP3(t testing.TB, config *quic.Config) http.RoundTripper {
	var mu sync.Mutex
	var conns []*quic.Conn
	dial := func(ctx context.Context, address string, tls *tls.Config, config *quic.Config) (*quic.Conn, error) {
		conn, err := quic.DialAddrEarly(ctx, address, tls, config)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, conn)
		}
		return conn, err
	}
	transport := &http3.Transport{TLSClientConfig: Trusting(), QUICConfig: config, Dial: dial}
	t.Cleanup(func() {
		_ = transport.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			_ = conn.CloseWithError(0, "")
		}
	})
	return tunneling{transport, func(r *http.Request) { r.Proto = "websocket" }}
}

// tunneling makes extended CONNECTs of the WebSocket library's upgrades.
type tunneling struct {
	http.RoundTripper
	mark func(*http.Request)
}

// RoundTrip implements http.RoundTripper.
func (t tunneling) RoundTrip(upgrade *http.Request) (*http.Response, error) {
	if upgrade.Header.Get("Upgrade") == "" {
		return t.RoundTripper.RoundTrip(upgrade)
	}
	// Once open, it lives as long as it is not closed.
	ctx, cancel := context.WithCancel(context.WithoutCancel(upgrade.Context()))
	stop := context.AfterFunc(upgrade.Context(), cancel)
	up, down := io.Pipe()
	connect := upgrade.Clone(ctx)
	connect.Method, connect.Body, connect.ContentLength = http.MethodConnect, up, -1
	for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Key"} {
		connect.Header.Del(name)
	}
	t.mark(connect)
	response, err := t.RoundTripper.RoundTrip(connect)
	if err != nil {
		cancel()
		_ = up.Close()
		return nil, err
	}
	stop()
	response.Body = &stream{response.Body, down, down, cancel}
	if response.StatusCode != http.StatusOK {
		return response, nil
	}
	accept := sha1.Sum([]byte(upgrade.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	response.StatusCode = http.StatusSwitchingProtocols
	response.Header.Set("Connection", "Upgrade")
	response.Header.Set("Upgrade", "websocket")
	response.Header.Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(accept[:]))
	return response, nil
}

// stream is what the WebSocket library writes to and reads from.
type stream struct {
	io.ReadCloser
	io.Writer
	pipe   *io.PipeWriter
	cancel context.CancelFunc
}

// Close resets the stream.
func (s *stream) Close() error {
	s.cancel()
	_ = s.pipe.CloseWithError(io.ErrClosedPipe)
	return s.ReadCloser.Close()
}
