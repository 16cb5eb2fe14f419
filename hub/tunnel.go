package hub

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// WebSockets over HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220) are streams of their client's connection, opened by an extended CONNECT:
// frames go up in the request's body and down in the response's. There is nothing to hijack; a tunnel makes a net.Conn of the two.
// It is there only until the request has been served, so that Upgrade reads on the request's own goroutine and returns at the end.

// quicPing is the longest time between two pings over HTTP/3: QUIC ends a connection on which nothing moved for 30 seconds, the
// default of servers and browsers, and a lost packet must not be the end.
const quicPing = 10 * time.Second

// ConnectProtocol is what an extended CONNECT asks for, such as websocket; empty for any other request. net/http keeps the
// :protocol among the header fields, quic-go puts it into Proto; neither lets a client do so by other means.
func ConnectProtocol(r *http.Request) string {
	switch {
	case r.Method != http.MethodConnect:
	case r.ProtoMajor == 2:
		return r.Header.Get(":protocol")
	case r.ProtoMajor == 3 && !strings.HasPrefix(r.Proto, "HTTP/"):
		return r.Proto
	}
	return ""
}

// asUpgrade is the upgrade of HTTP/1.1 that says the same as an extended CONNECT, for the WebSocket library. The key is any: it is
// there to show that a server knows WebSocket, as :protocol does.
func asUpgrade(r *http.Request) *http.Request {
	upgrade := r.WithContext(r.Context())
	upgrade.Method, upgrade.Proto, upgrade.ProtoMajor, upgrade.ProtoMinor = http.MethodGet, "HTTP/1.1", 1, 1
	upgrade.Header = r.Header.Clone()
	upgrade.Header.Set("Connection", "Upgrade")
	upgrade.Header.Set("Upgrade", "websocket")
	upgrade.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	return upgrade
}

// tunnel is the net.Conn of an extended CONNECT. One goroutine may read and one may write; Close may be called by any, also when
// the request has been served.
type tunnel struct {
	body          io.ReadCloser
	w             io.Writer                // of the HTTP server itself
	control       *http.ResponseController // of the same
	local, remote net.Addr

	mu       sync.Mutex
	writing  bool
	closed   bool
	released bool           // the request has been served: body and w are not to be touched
	users    sync.WaitGroup // of control, but for the goroutine that writes
}

// openTunnel sends the response's header and takes request and response over. Middleware sees the header, as it sees an upgrade's,
// and nothing of what follows: it must not compress, buffer, count or time the frames.
func openTunnel(w http.ResponseWriter, r *http.Request) (*tunnel, error) {
	inner := unwrapped(w)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	network := "tcp"
	if r.ProtoMajor == 3 {
		network = "udp"
	}
	t := &tunnel{
		body: r.Body, w: inner, control: http.NewResponseController(inner), local: local, remote: peerAddr{network, r.RemoteAddr},
	}
	// The server's own timeouts for reading a request and writing a response do not hold for a WebSocket.
	if err := t.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	w.WriteHeader(http.StatusOK)
	return t, t.control.Flush()
}

// unwrapped goes through the writers that middleware has put around the HTTP server's own and gives that.
func unwrapped(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// Read implements net.Conn.
func (t *tunnel) Read(p []byte) (int, error) { return t.body.Read(p) }

// Write implements net.Conn. What was written is on its way to the client when it returns.
func (t *tunnel) Write(p []byte) (int, error) {
	t.mu.Lock()
	if t.closed || t.released {
		t.mu.Unlock()
		return 0, net.ErrClosed
	}
	t.writing = true
	t.mu.Unlock()
	n, err := t.w.Write(p)
	if err == nil {
		err = t.control.Flush()
	}
	t.mu.Lock()
	t.writing = false
	t.mu.Unlock()
	return n, err
}

// Close implements net.Conn. It ends a Read and a Write that wait. The stream itself ends with the request: in order, unless a Write
// was cut off.
func (t *tunnel) Close() error {
	if !t.use() {
		return nil
	}
	defer t.users.Done()
	t.mu.Lock()
	cutOff := t.writing && !t.closed
	t.closed = true
	t.mu.Unlock()
	err := t.body.Close()
	if cutOff {
		err = t.control.SetWriteDeadline(longAgo)
	}
	return err
}

// use tells whether the request is still being served, and holds its end up until users.Done.
func (t *tunnel) use() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.released {
		return false
	}
	t.users.Add(1)
	return true
}

// release ends the use of the request, which has been served.
func (t *tunnel) release() {
	t.mu.Lock()
	t.released = true
	t.mu.Unlock()
	t.users.Wait()
}

// LocalAddr implements net.Conn.
func (t *tunnel) LocalAddr() net.Addr { return t.local }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return t.remote }

// SetDeadline implements net.Conn. Over HTTP/2 a deadline that has passed is final.
func (t *tunnel) SetDeadline(at time.Time) error {
	if err := t.SetReadDeadline(at); err != nil {
		return err
	}
	return t.SetWriteDeadline(at)
}

// SetReadDeadline implements net.Conn; see SetDeadline.
func (t *tunnel) SetReadDeadline(at time.Time) error {
	if !t.use() {
		return net.ErrClosed
	}
	defer t.users.Done()
	return t.control.SetReadDeadline(at)
}

// SetWriteDeadline implements net.Conn; see SetDeadline.
func (t *tunnel) SetWriteDeadline(at time.Time) error {
	if !t.use() {
		return net.ErrClosed
	}
	defer t.users.Done()
	return t.control.SetWriteDeadline(at)
}

// peerAddr is a client's address as the HTTP server names it.
type peerAddr struct{ network, text string }

// Network implements net.Addr.
func (a peerAddr) Network() string { return a.network }

// String implements net.Addr.
func (a peerAddr) String() string { return a.text }

// serve reads from a client whose connection is a tunnel until it ends.
func (c *Conn) serve(t *tunnel) {
	defer t.release()
	ended := false
	defer func() {
		if !ended { // a panic, which net/http survives: the hub must not keep the connection
			c.end(nil)
		}
	}()
	c.run()
	ended = true
}

// SendAway asks the client to come back and closes the connection with 1001, behind all that waits for it.
func (c *Conn) SendAway(reason string) {
	if c.subprotocol != "" {
		c.pushReply(frame(protocol.AppendReconnect(nil, reconnectAfter, reason)))
	}
	c.Close(protocol.CloseGoingAway, reason)
}

// Interface guard.
var _ net.Conn = (*tunnel)(nil)
