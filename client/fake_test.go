package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
)

// fake is a server that says what a test wants. It lives in memory, so that time can be the test's own.
type fake struct {
	t     *testing.T
	conns chan net.Conn // that clients make
	tries chan *try
	quit  chan struct{}
}

// try is a client's handshake.
type try struct {
	request  *http.Request
	at       time.Time
	response http.ResponseWriter
	over     chan struct{} // the handler may return
}

// bubble runs a test with a fake server under synctest.
func bubble(t *testing.T, test func(t *testing.T, f *fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, conns: make(chan net.Conn), tries: make(chan *try), quit: make(chan struct{})}
		server := &http.Server{Handler: f}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(f) })
		defer serving.Wait()
		defer server.Close()
		defer close(f.quit)
		test(t, f)
	})
}

// Accept, Close and Addr make it a net.Listener.
func (f *fake) Accept() (net.Conn, error) {
	select {
	case conn := <-f.conns:
		return conn, nil
	case <-f.quit:
		return nil, net.ErrClosed
	}
}

func (*fake) Close() error   { return nil }
func (*fake) Addr() net.Addr { return &net.TCPAddr{} }

func (f *fake) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case f.conns <- theirs:
		return ours, nil
	case <-f.quit:
	case <-ctx.Done():
	}
	return nil, errors.New("nobody there")
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	y := &try{request: r, at: time.Now(), response: w, over: make(chan struct{})}
	select {
	case f.tries <- y:
		<-y.over
	case <-f.quit:
	}
}

// next waits for the next handshake.
func (f *fake) next() *try {
	f.t.Helper()
	select {
	case y := <-f.tries:
		return y
	case <-time.After(time.Hour):
		f.t.Fatal("no client comes")
	}
	return nil
}

// none checks that no client comes any more.
func (f *fake) none() {
	f.t.Helper()
	select {
	case <-f.tries:
		f.t.Fatal("a client comes")
	case <-time.After(time.Hour):
	}
}

// refuse answers with a status.
func (y *try) refuse(status int, header ...string) {
	for i := 0; i < len(header); i += 2 {
		y.response.Header().Set(header[i], header[i+1])
	}
	y.response.Header().Set("Connection", "close")
	y.response.WriteHeader(status)
	fmt.Fprintf(y.response, `{"error":"…","code":"CODE_%d"}`, status)
	close(y.over)
}

// line is a connection on the server's side.
type line struct {
	t     *testing.T
	ws    *websocket.Conn
	ahead []string // came in one frame with the last
}

// welcome accepts the client. More members may be added to the welcome.
func (f *fake) welcome(more ...string) *line {
	f.t.Helper()
	return f.accept(f.next(), more...)
}

func (f *fake) accept(y *try, more ...string) *line {
	f.t.Helper()
	ws, err := websocket.Accept(y.response, y.request, &websocket.AcceptOptions{Subprotocols: []string{"neuroquantum.v1.ndjson"}})
	if err != nil {
		f.t.Fatal(err)
	}
	close(y.over)
	l := &line{t: f.t, ws: ws}
	fields := strings.Join(append([]string{`"type":"welcome","connection_id":"c","max_message_bytes":65536,"epoch":"e","offset":100`}, more...), ",")
	l.send("{" + fields + "}")
	return l
}

func (l *line) send(messages ...string) {
	l.t.Helper()
	if err := l.ws.Write(context.Background(), websocket.MessageText, []byte(strings.Join(messages, "\n"))); err != nil {
		l.t.Fatalf("sending: %v", err)
	}
}

// expect takes the client's next message, which must be of a type, and gives its members.
func (l *line) expect(typ string) map[string]any {
	l.t.Helper()
	m := l.any()
	if m["type"] != typ {
		l.t.Fatalf("got %v, want a %s", m, typ)
	}
	return m
}

// any takes the client's next message but for pings without id.
func (l *line) any() map[string]any {
	l.t.Helper()
	for {
		if len(l.ahead) == 0 {
			_, text, err := l.ws.Read(context.Background())
			if err != nil {
				l.t.Fatalf("waiting for a message: %v", err)
			}
			l.ahead = strings.Split(string(text), "\n")
		}
		text := l.ahead[0]
		l.ahead = l.ahead[1:]
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			l.t.Fatalf("%s: %v", text, err)
		}
		if m["type"] != "ping" || m["id"] != nil {
			return m
		}
	}
}

// confirm answers a subscribe: more is added to each confirmation.
func (l *line) confirm(more string) map[string]any {
	l.t.Helper()
	m := l.expect("subscribe")
	var answers []string
	for _, channel := range m["channels"].([]any) {
		answers = append(answers, fmt.Sprintf(`{"type":"subscription_confirmed","channel":%q,"timestamp":"2026-01-01T00:00:00Z","id":%v%s}`,
			channel, m["id"], more))
	}
	l.send(answers...)
	return m
}

// answer answers with a message that bears the request's id.
func (l *line) answer(request map[string]any, format string, args ...any) {
	l.t.Helper()
	l.send(fmt.Sprintf(`{"id":%v,%s}`, request["id"], fmt.Sprintf(format, args...)))
}

func (l *line) message(channel string, n, offset int) {
	l.t.Helper()
	at := ""
	if offset > 0 {
		at = fmt.Sprintf(`,"offset":%d`, offset)
	}
	l.send(fmt.Sprintf(`{"type":"channel_message","channel":%q,"data":%d,"timestamp":"2026-01-01T00:00:00Z"%s}`, channel, n, at))
}

func (l *line) close(code int, reason string) { _ = l.ws.Close(websocket.StatusCode(code), reason) }
func (l *line) cut()                          { _ = l.ws.CloseNow() }

// client makes a client of the fake server.
func (f *fake) client(o client.Options) *client.Client {
	f.t.Helper()
	o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: f.dial}}
	c, err := client.New("ws://server/ws", o)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// later runs something that waits for the server, and gives a function that waits for its end.
func later(f func()) (wait func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return func() { <-done }
}
