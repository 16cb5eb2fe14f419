package hub_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

func TestConnectProtocol(t *testing.T) {
	for _, test := range []struct {
		method, proto string
		major         int
		header, want  string
	}{
		{"CONNECT", "HTTP/2.0", 2, "websocket", "websocket"},
		{"CONNECT", "websocket", 3, "", "websocket"},
		{"CONNECT", "connect-udp", 3, "", "connect-udp"},
		{"CONNECT", "HTTP/2.0", 2, "", ""},
		{"CONNECT", "HTTP/3.0", 3, "", ""},
		{"CONNECT", "HTTP/1.1", 1, "websocket", ""},
		{"GET", "HTTP/2.0", 2, "websocket", ""},
		{"GET", "websocket", 3, "", ""},
	} {
		r := &http.Request{Method: test.method, Proto: test.proto, ProtoMajor: test.major, Header: http.Header{}}
		if test.header != "" {
			r.Header[":protocol"] = []string{test.header}
		}
		if got := hub.ConnectProtocol(r); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

// streamWriter is the response's writer of a stream that is one end of a connection; its header goes nowhere.
type streamWriter struct {
	net.Conn
	header http.Header
	status int
}

func (w *streamWriter) Header() http.Header    { return w.header }
func (w *streamWriter) WriteHeader(status int) { w.status = status }
func (w *streamWriter) FlushError() error      { return nil }

// connect makes a connection of an extended CONNECT over a version of HTTP. served gives what Upgrade did in the end, a panic too.
func connect(t testing.TB, h *hub.Hub, r *receiver, major int) (_ *peer, _ *hub.Conn, served chan error) {
	t.Helper()
	slot, refusal := h.Reserve(somebody.address, "")
	if refusal != hub.Admitted {
		t.Fatalf("refused: %v", refusal)
	}
	near, far := net.Pipe()
	w := &streamWriter{Conn: far, header: http.Header{}}
	request := httptest.NewRequest(http.MethodConnect, "https://localhost/ws", nil)
	request.Body, request.ProtoMajor, request.Proto = far, major, "websocket"
	request.Header[":protocol"] = []string{"websocket"}
	request.Header.Set("Sec-WebSocket-Version", "13")
	opened := make(chan *hub.Conn, 1)
	r.closed = make(chan struct{})
	served = make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
			served <- err
		}()
		_, err = h.Upgrade(w, request, hub.Upgrade{Slot: slot, Receiver: func(c *hub.Conn) hub.Receiver {
			r.conn = c
			opened <- c
			return r
		}})
	}()
	c := <-opened
	if w.status != http.StatusOK || len(w.header) > 0 {
		t.Errorf("answered with %d %v", w.status, w.header)
	}
	return newPeer(t, near), c, served
}

// The request is served as long as the connection lives.
func TestTunnelIsServedToItsEnd(t *testing.T) {
	ends := map[string]func(*peer, *hub.Conn){
		"the client leaves": func(p *peer, _ *hub.Conn) { p.send(opClose, []byte{3, 232}); p.expectClose(1000) },
		"the client breaks": func(p *peer, _ *hub.Conn) { p.Close() },
		"it is closed":      func(p *peer, c *hub.Conn) { c.Close(4100, "go"); p.closedWith() },
		"it is sent away":   func(p *peer, c *hub.Conn) { c.SendAway("go"); p.closedWith() },
		"it is cut":         func(_ *peer, c *hub.Conn) { c.Cut() },
		"it is cut while it writes": func(_ *peer, c *hub.Conn) {
			c.Reply([]byte(`{"type":"unread"}`))
			synctest.Wait()
			c.Cut()
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, settings())
				r := &receiver{}
				p, c, served := connect(t, h, r, 2)
				p.text("{}")
				synctest.Wait()
				select {
				case err := <-served:
					t.Fatalf("served at once: %v", err)
				default:
				}
				begin := time.Now()
				end(p, c)
				if err := <-served; err != nil {
					t.Error(err)
				}
				<-c.Ended()
				<-r.closed
				if waited := time.Since(begin); waited > 0 {
					t.Errorf("it waited for %v", waited)
				}
				p.Close()
				c.Cut() // what comes late finds nothing to touch
				if h.Stats().Connections != 0 {
					t.Error("the hub keeps it")
				}
				if err := h.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// expectClose takes the server's close frame and does not answer it.
func (p *peer) expectClose(want int) {
	p.t.Helper()
	op, payload, err := p.frame()
	if err != nil || op != opClose || len(payload) < 2 || int(payload[0])<<8|int(payload[1]) != want {
		p.t.Errorf("got %d %x %v", op, payload, err)
	}
}

// A server that speaks HTTP/2 or 3 resets a stream that its client still sends on: the client's close frame is waited for, so that it
// has read the server's.
func TestTunnelLingersForTheCloseFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, settings())
		p, c, served := connect(t, h, &receiver{}, 2)
		p.send(2, []byte("binary"))
		p.expectClose(1003)
		begin := time.Now()
		p.text("said before the close frame came")
		time.Sleep(time.Second) // the client is slow
		select {
		case err := <-served:
			t.Fatalf("served: %v", err)
		default:
		}
		p.send(opClose, []byte{3, 235})
		if err := <-served; err != nil {
			t.Error(err)
		}
		if waited := time.Since(begin); waited != time.Second {
			t.Errorf("it waited for %v", waited)
		}
		<-c.Ended()
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// HTTP servers survive a panic of a handler, so that the hub must not be left with its connection.
func TestTunnelAfterAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, settings())
		r := &receiver{receive: func(*hub.Conn, []byte) { panic("a fault") }}
		p, c, served := connect(t, h, r, 2)
		p.text("{}")
		if err := <-served; err == nil {
			t.Error("no panic")
		}
		<-c.Ended()
		<-r.closed
		if n := h.Stats().Connections; n != 0 {
			t.Errorf("%d connections", n)
		}
		p.Close()
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// QUIC ends what is idle for 30 seconds.
func TestPingsOverQUIC(t *testing.T) {
	for major, want := range map[int]int{2: 2, 3: 12} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := settings()
				s.HeartbeatInterval, s.HeartbeatTimeout = time.Minute, 10*time.Minute
				h := newHub(t, s)
				p, c, served := connect(t, h, &receiver{}, major)
				pings := 0
				go func() {
					for {
						op, _, err := p.frame()
						if err != nil {
							return
						}
						if op == opPing {
							pings++
						}
					}
				}()
				time.Sleep(2*time.Minute + 5*time.Second)
				synctest.Wait()
				if pings != want {
					t.Errorf("%d pings in two minutes", pings)
				}
				// A shorter heartbeat holds, and the longer one after it.
				s = settings()
				s.HeartbeatInterval, s.HeartbeatTimeout = 5*time.Second, 10*time.Minute
				h.Configure(s)
				time.Sleep(61 * time.Second)
				synctest.Wait()
				if pings -= want; pings != 12 {
					t.Errorf("%d pings in a minute", pings)
				}
				p.Close()
				<-served
				<-c.Ended()
				if err := h.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
