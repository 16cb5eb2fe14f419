package hub

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// tunneled has an HTTP/2 server open a tunnel in the place of an answer and serve it; the client's ends of request and response are
// given. It all ends with the test.
func tunneled(t *testing.T, wrap func(http.ResponseWriter) http.ResponseWriter, serve func(*tunnel)) (up *io.PipeWriter, r *http.Response) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", "before")
		tunnel, err := openTunnel(wrap(w), r)
		if err != nil {
			t.Error(err)
			return
		}
		defer tunnel.release()
		serve(tunnel)
	}))
	server.EnableHTTP2 = true
	server.Config.ReadTimeout, server.Config.WriteTimeout = 200*time.Millisecond, 200*time.Millisecond
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	down, up := io.Pipe()
	t.Cleanup(func() { _ = up.Close() })
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, down)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", response.Proto, response.Status)
	}
	return up, response
}

func bare(w http.ResponseWriter) http.ResponseWriter { return w }

// holding is middleware that sees the header and holds everything else back.
type holding struct{ http.ResponseWriter }

func (h holding) Unwrap() http.ResponseWriter { return h.ResponseWriter }
func (h holding) WriteHeader(int)             { h.Header().Set("X-Middleware", "was here") }
func (h holding) Write(p []byte) (int, error) { return len(p), nil }
func (h holding) FlushError() error           { return nil }

// The server's timeouts for requests are over long before the last byte, and middleware holds nothing back.
func TestTunnelCarriesBytes(t *testing.T) {
	up, response := tunneled(t, func(w http.ResponseWriter) http.ResponseWriter { return holding{w} }, func(tunnel *tunnel) {
		if tunnel.LocalAddr() == nil || tunnel.RemoteAddr().String() == "" || tunnel.RemoteAddr().Network() != "tcp" {
			t.Errorf("addresses %v, %v", tunnel.LocalAddr(), tunnel.RemoteAddr())
		}
		_, _ = io.Copy(tunnel, tunnel)
	})
	if response.Header.Get("X-Middleware") == "" || response.Header.Get("X-Seen") == "" {
		t.Errorf("header %v", response.Header)
	}
	late := time.After(time.Second)
	for n, over := 0, false; !over; n++ {
		select {
		case <-late:
			over = true
		case <-time.After(50 * time.Millisecond):
		}
		sent := []byte{byte(n), 1, 2}
		if _, err := up.Write(sent); err != nil {
			t.Fatal(err)
		}
		var got [3]byte
		if _, err := io.ReadFull(response.Body, got[:]); err != nil || got[0] != byte(n) {
			t.Fatalf("got %x %v", got, err)
		}
	}
	_ = up.Close()
	if rest, err := io.ReadAll(response.Body); err != nil || len(rest) > 0 {
		t.Errorf("at the end: %x %v", rest, err)
	}
}

// Close ends a Read and a Write that wait.
func TestTunnelClose(t *testing.T) {
	for name, blocked := range map[string]func(*tunnel) error{
		"reading": func(tunnel *tunnel) error {
			_, err := tunnel.Read(make([]byte, 1))
			return err
		},
		"writing": func(tunnel *tunnel) (err error) { // the client does not read, and its window is finite
			for err == nil {
				_, err = tunnel.Write(make([]byte, 16<<10))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			_, response := tunneled(t, bare, func(tunnel *tunnel) {
				begun := make(chan error, 1)
				go func() { begun <- blocked(tunnel) }()
				select {
				case err := <-begun:
					t.Errorf("it ends by itself: %v", err)
				case <-time.After(300 * time.Millisecond): // time enough to come to wait
				}
				_ = tunnel.Close()
				ended <- <-begun
				_ = tunnel.Close()
				if _, err := tunnel.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
					t.Errorf("writing then: %v", err)
				}
			})
			select {
			case err := <-ended:
				if err == nil {
					t.Error("no error")
				}
			case <-time.After(30 * time.Second):
				t.Fatal("it waits on")
			}
			_, err := io.Copy(io.Discard, response.Body)
			if cutOff := err != nil; cutOff != (name == "writing") {
				t.Errorf("the client's end: %v", err)
			}
		})
	}
}

// The timer that cuts a connection may fire when the request has just been served.
func TestTunnelClosedLate(t *testing.T) {
	var late sync.WaitGroup
	for range 50 {
		tunnels := make(chan *tunnel, 1)
		_, response := tunneled(t, bare, func(tunnel *tunnel) {
			tunnels <- tunnel
			late.Go(func() { _ = tunnel.Close() })
			late.Go(func() { _ = tunnel.SetDeadline(time.Time{}) })
		})
		_, _ = io.Copy(io.Discard, response.Body)
		tunnel := <-tunnels
		if err := tunnel.Close(); err != nil {
			t.Error(err)
		}
		if err := tunnel.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if _, err := tunnel.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	late.Wait()
}

// What cannot be flushed or timed cannot carry frames: the client is told before anything else.
func TestTunnelNeedsAStream(t *testing.T) {
	recorder := struct{ http.ResponseWriter }{httptest.NewRecorder()}
	if _, err := openTunnel(recorder, httptest.NewRequest(http.MethodConnect, "/", http.NoBody)); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("got %v", err)
	}
}

func TestFramesAreOver(t *testing.T) {
	closing := []byte{0x88, 0x82, 0, 0, 0, 0, 3, 232}
	text := []byte{0x81, 0x82, 0, 0, 0, 0, '{', '}'}
	for _, test := range []struct {
		bytes []byte
		over  bool
	}{
		{nil, false}, {text, false}, {closing, true}, {append(append([]byte(nil), text...), closing...), true},
		{closing[:7], false}, {closing[:1], false}, {[]byte{0x88, 0x80, 0, 0, 0, 0}, true},
		{append([]byte{0x81, 0x88, 0, 0, 0, 0}, closing...), false}, // within a message
	} {
		var f frames
		for _, b := range test.bytes {
			f.feed([]byte{b})
		}
		if f.over() != test.over {
			t.Errorf("%x: over is %v", test.bytes, f.over())
		}
	}
}
