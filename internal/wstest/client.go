// Package wstest has clients for tests: Client speaks the protocol through a WebSocket library, Raw writes and reads frames by hand
// for what no library would do. Both wait for what should come, never for a time, and give up after [wait.Limit].
package wstest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/coder/websocket"
)

// Message is a message of the server.
type Message map[string]any

// Type is what kind of message it is.
func (m Message) Type() string { return m.Text("type") }

// Text is a member that is a string, empty where it is not there.
func (m Message) Text(name string) string { s, _ := m[name].(string); return s }

// Int is a member that is an integer, -1 where it is not there.
func (m Message) Int(name string) int {
	if f, ok := m[name].(float64); ok && f == float64(int(f)) {
		return int(f)
	}
	return -1
}

// Has tells whether there is such a member.
func (m Message) Has(name string) bool { _, ok := m[name]; return ok }

// Bool is a member that is true.
func (m Message) Bool(name string) bool { b, _ := m[name].(bool); return b }

// List is a member that is an array.
func (m Message) List(name string) []any { l, _ := m[name].([]any); return l }

// Options say how a Client connects.
type Options struct {
	Subprotocols []string // nil: neuroquantum.v1; empty: none
	Header       http.Header
	ReadBuffer   int               // of the socket in the kernel, in bytes; 0 leaves it to the system
	Transport    http.RoundTripper // nil: a connection of HTTP/1.1 of its own; see HTTP2 and HTTP3
}

// Client is a connection to a server.
type Client struct {
	Welcome Message // empty for a client without subprotocol

	t       testing.TB
	ws      *websocket.Conn
	backlog []Message // read while waiting for something else
	ids     int
}

// Dial connects and takes the welcome; the connection is cut at the end of the test.
func Dial(t testing.TB, url string, o Options) *Client {
	t.Helper()
	c, response, err := TryDial(t, url, o)
	if err != nil {
		status := "no response"
		if response != nil {
			status = response.Status
		}
		t.Fatalf("connecting to %s: %v (%s)", url, err, status)
	}
	return c
}

// TryDial connects where the server lets it. It may be called from any goroutine.
func TryDial(t testing.TB, url string, o Options) (*Client, *http.Response, error) {
	dialer := net.Dialer{}
	if o.ReadBuffer > 0 {
		dialer.Control = smallBuffer(o.ReadBuffer)
	}
	if o.Subprotocols == nil {
		o.Subprotocols = []string{"neuroquantum.v1"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
	defer cancel()
	if o.Transport == nil {
		o.Transport = &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, TLSClientConfig: Trusting()}
	}
	ws, response, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: o.Transport},
		HTTPHeader:   o.Header,
		Subprotocols: o.Subprotocols,
	})
	if err != nil {
		return nil, response, err
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	ws.SetReadLimit(64 << 20)
	c := &Client{t: t, ws: ws}
	if ws.Subprotocol() == "" {
		return c, response, nil
	}
	if c.Welcome, err = c.Read(); err == nil && c.Welcome.Type() != "welcome" {
		err = fmt.Errorf("the first message is %v", c.Welcome)
	}
	return c, response, err
}

func smallBuffer(bytes int) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes)
		}); e != nil {
			return e
		}
		return err
	}
}

// Write sends a message: a string as it stands, anything else as JSON. It may be called from any goroutine.
func (c *Client) Write(msg any) error {
	text, ok := msg.(string)
	if !ok {
		encoded, err := json.Marshal(msg)
		if err != nil {
			return err
		}
		text = string(encoded)
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageText, []byte(text))
}

// Read takes the next message. Where the connection is closed the error says so, see CodeOf. One goroutine at a time may read.
func (c *Client) Read() (Message, error) {
	if len(c.backlog) > 0 {
		m := c.backlog[0]
		c.backlog = c.backlog[1:]
		return m, nil
	}
	return c.readSocket()
}

func (c *Client) readSocket() (Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
	defer cancel()
	kind, text, err := c.ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	var m Message
	if err := json.Unmarshal(text, &m); err != nil || kind != websocket.MessageText {
		return nil, fmt.Errorf("a %v that is no JSON object: %q", kind, text)
	}
	return m, nil
}

// CodeOf is the close code in an error of Read, -1 where there was none.
func CodeOf(err error) int { return int(websocket.CloseStatus(err)) }

// Send is Write that must work.
func (c *Client) Send(msg any) {
	c.t.Helper()
	if err := c.Write(msg); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

// Next is Read that must work.
func (c *Client) Next() Message {
	c.t.Helper()
	m, err := c.Read()
	if err != nil {
		c.t.Fatalf("reading: %v", err)
	}
	return m
}

// Expect takes the next message, which must be of a type.
func (c *Client) Expect(typ string) Message {
	c.t.Helper()
	m := c.Next()
	if m.Type() != typ {
		c.t.Fatalf("got %v, want a %s", m, typ)
	}
	return m
}

// ExpectError takes the next message, which must be an error with a code.
func (c *Client) ExpectError(code string) Message {
	c.t.Helper()
	m := c.Next()
	if m.Type() != "error" || m.Text("code") != code {
		c.t.Fatalf("got %v, want an error %s", m, code)
	}
	return m
}

// Collect takes messages up to and with the first for which last holds.
func (c *Client) Collect(last func(Message) bool) []Message {
	c.t.Helper()
	var all []Message
	for {
		m := c.Next()
		all = append(all, m)
		if last(m) {
			return all
		}
	}
}

// Until takes messages up to the first of a type, which it gives.
func (c *Client) Until(typ string) Message {
	c.t.Helper()
	all := c.Collect(func(m Message) bool { return m.Type() == typ })
	return all[len(all)-1]
}

// TryAsk sends a request with an id of its own and waits for the answer that bears it. What comes before is kept for Read.
func (c *Client) TryAsk(request Message) (Message, error) {
	c.ids++
	id := "ask-" + strconv.Itoa(c.ids)
	request["id"] = id
	if err := c.Write(request); err != nil {
		return nil, err
	}
	for {
		m, err := c.readSocket()
		if err != nil {
			return nil, err
		}
		if m["id"] == id {
			return m, nil
		}
		c.backlog = append(c.backlog, m)
	}
}

// Ask is TryAsk that must work.
func (c *Client) Ask(request Message) Message {
	c.t.Helper()
	m, err := c.TryAsk(request)
	if err != nil {
		c.t.Fatalf("asking %v: %v", request, err)
	}
	return m
}

// AskFor is Ask whose answer must be of a type.
func (c *Client) AskFor(typ string, request Message) Message {
	c.t.Helper()
	m := c.Ask(request)
	if m.Type() != typ {
		c.t.Fatalf("the answer to %v is %v, want a %s", request, m, typ)
	}
	return m
}

// Refused is Ask whose answer must be an error with a code.
func (c *Client) Refused(code string, request Message) Message {
	c.t.Helper()
	m := c.AskFor("error", request)
	if m.Text("code") != code {
		c.t.Fatalf("the answer to %v is %v, want the code %s", request, m, code)
	}
	return m
}

// Ping shows that the server still listens to this client.
func (c *Client) Ping() { c.t.Helper(); c.AskFor("pong", Message{"type": "ping"}) }

// Subscribe subscribes to channels, one after the other; the last confirmation is given.
func (c *Client) Subscribe(channels ...string) (confirmed Message) {
	c.t.Helper()
	for _, channel := range channels {
		confirmed = c.AskFor("subscription_confirmed", Message{"type": "subscribe", "channel": channel})
	}
	return confirmed
}

// Publish publishes and waits until it is published.
func (c *Client) Publish(channel string, data any) Message {
	c.t.Helper()
	return c.AskFor("published", Message{"type": "publish", "channel": channel, "data": data})
}

// Backlog is how many messages were read while Ask waited and were not taken yet.
func (c *Client) Backlog() int { return len(c.backlog) }

// Closed takes messages until the connection is closed and gives them and the close code.
func (c *Client) Closed() (rest []Message, code int) {
	for {
		m, err := c.Read()
		if err != nil {
			return rest, CodeOf(err)
		}
		rest = append(rest, m)
	}
}

// Close leaves in order.
func (c *Client) Close() { _ = c.ws.Close(websocket.StatusNormalClosure, "") }

// Cut leaves without a word.
func (c *Client) Cut() { _ = c.ws.CloseNow() }

// WebSocket is the connection itself.
func (c *Client) WebSocket() *websocket.Conn { return c.ws }

// T is the test that the client belongs to.
func (c *Client) T() testing.TB { return c.t }
