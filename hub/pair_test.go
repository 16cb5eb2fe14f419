package hub_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/broker/memory"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings are short of everything that a test does not ask for.
func settings(rules ...*hub.Rule) *hub.Settings {
	return &hub.Settings{
		MaxMessageSize: 4096, MaxSubscriptions: 8, HeartbeatInterval: 30 * time.Second, HeartbeatTimeout: 90 * time.Second,
		IdleTimeout: 5 * time.Minute, WriteTimeout: 10 * time.Second, Health: flow.DefaultHealth,
		Rules:    rules,
		Fallback: &hub.Rule{Queue: flow.Class{MaxMessages: 1000, MaxBytes: 1 << 20}, Allow: access.Open},
	}
}

// rule is one that lets anyone do anything.
func rule(t testing.TB, pattern string, history int, class flow.Class) *hub.Rule {
	t.Helper()
	p, err := protocol.ParsePattern(pattern)
	if err != nil {
		t.Fatal(err)
	}
	class.History = history > 0
	return &hub.Rule{Pattern: p, History: hub.Retention{Messages: history}, Queue: class, Allow: access.Open}
}

func newHub(t testing.TB, s *hub.Settings) *hub.Hub {
	t.Helper()
	return newHubOver(t, memory.New(0), s, zap.NewNop())
}

func newHubOver(t testing.TB, broker hub.Broker, s *hub.Settings, log *zap.Logger) *hub.Hub {
	t.Helper()
	h, err := hub.New("test", broker, s, log)
	if err != nil {
		t.Fatal(err)
	}
	h.ParkAtOnce()
	return h
}

// receiver does what its functions say.
type receiver struct {
	conn    *hub.Conn
	receive func(c *hub.Conn, msg []byte)
	busy    bool
	leave   func(ctx context.Context, c *hub.Conn)
	closed  chan struct{}
}

func (r *receiver) Receive(msg []byte) bool {
	if r.receive != nil {
		r.receive(r.conn, append([]byte(nil), msg...))
	}
	return true
}
func (r *receiver) Busy() bool { return r.busy }
func (r *receiver) Leave(ctx context.Context) {
	if r.leave != nil {
		r.leave(ctx, r.conn)
	}
}
func (r *receiver) Close() { close(r.closed) }

// hijack is a ResponseWriter that gives away one end of a connection. What is written to it in HTTP is lost: the peer begins with
// frames.
type hijack struct {
	http.ResponseWriter
	conn  net.Conn
	early int
}

func (h hijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r := bufio.NewReader(h.conn)
	_, err := r.Peek(h.early)
	return h.conn, bufio.NewReadWriter(r, bufio.NewWriter(h.conn)), err
}

// client is who connects, and how.
type client struct {
	address, user string
	subprotocol   string // that it offers
	early         int    // bytes that it sent right behind its request and that net/http has read with it
}

// somebody is who connects where it does not matter: an old client.
var somebody = client{address: "192.0.2.1"}

// upgrade makes a connection of the server's end of a pair.
func upgrade(t testing.TB, h *hub.Hub, server net.Conn, r *receiver, who client) *hub.Conn {
	t.Helper()
	slot, refusal := h.Reserve(who.address, who.user)
	if refusal != hub.Admitted {
		t.Fatalf("refused: %v", refusal)
	}
	return upgradeIn(t, h, slot, server, r, who)
}

func upgradeIn(t testing.TB, h *hub.Hub, slot *hub.Slot, server net.Conn, r *receiver, who client) *hub.Conn {
	t.Helper()
	req := upgradeRequest(who.subprotocol)
	r.closed = make(chan struct{})
	c, err := h.Upgrade(hijack{httptest.NewRecorder(), server, who.early}, req, hub.Upgrade{
		Slot: slot, Identity: &access.Identity{User: who.user}, Meta: hub.Meta{Address: who.address},
		Subprotocols: []string{"neuroquantum.v1"},
		Receiver:     func(c *hub.Conn) hub.Receiver { r.conn = c; return r },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func upgradeRequest(subprotocol string) *http.Request {
	req := httptest.NewRequest(http.MethodGet, "/ws", nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	req.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	if subprotocol != "" {
		req.Header.Set("Sec-WebSocket-Protocol", subprotocol)
	}
	return req
}

// peer is the client's end, without any library: it sees every frame.
type peer struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func newPeer(t testing.TB, conn net.Conn) *peer { return &peer{t, conn, bufio.NewReader(conn)} }

// pipe makes a connection without a raw socket.
func pipe(t testing.TB, h *hub.Hub, r *receiver) (*peer, *hub.Conn) {
	t.Helper()
	return pipeAs(t, h, r, somebody)
}

func pipeAs(t testing.TB, h *hub.Hub, r *receiver, who client) (*peer, *hub.Conn) {
	t.Helper()
	near, far := net.Pipe()
	return newPeer(t, near), upgrade(t, h, far, r, who)
}

// tcp makes a connection with a raw socket.
func tcp(t testing.TB, h *hub.Hub, r *receiver) (*peer, *hub.Conn) {
	t.Helper()
	return tcpAs(t, h, r, somebody)
}

func tcpAs(t testing.TB, h *hub.Hub, r *receiver, who client) (*peer, *hub.Conn) {
	t.Helper()
	near, far := tcpPair(t, 0)
	return newPeer(t, near), upgrade(t, h, far, r, who)
}

// narrow makes one whose buffers in the kernel are small, so that a client that does not read is soon noticed.
func narrow(t testing.TB, h *hub.Hub, r *receiver) (*peer, *hub.Conn) {
	t.Helper()
	near, far := tcpPair(t, 64<<10)
	return newPeer(t, near), upgrade(t, h, far, r, somebody)
}

// tcpPair is a connection over loopback, its client's end and its server's; buffers is the size of the kernel's, 0 for what it likes.
func tcpPair(t testing.TB, buffers int) (near, far net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if buffers > 0 {
		_ = near.(*net.TCPConn).SetReadBuffer(buffers)
		_ = far.(*net.TCPConn).SetWriteBuffer(buffers)
	}
	_ = near.SetDeadline(time.Now().Add(wait.Limit))
	return near, far
}

const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// masked makes a client's frame, masked with zeros.
func masked(op byte, payload []byte) []byte {
	buf := []byte{0x80 | op}
	switch n := len(payload); {
	case n < 126:
		buf = append(buf, 0x80|byte(n))
	case n < 1<<16:
		buf = binary.BigEndian.AppendUint16(append(buf, 0x80|126), uint16(n))
	default:
		buf = binary.BigEndian.AppendUint64(append(buf, 0x80|127), uint64(n))
	}
	return append(append(buf, 0, 0, 0, 0), payload...)
}

func (p *peer) send(op byte, payload []byte) {
	p.t.Helper()
	if _, err := p.Write(masked(op, payload)); err != nil {
		p.t.Fatalf("sending: %v", err)
	}
}

func (p *peer) text(msg string) { p.t.Helper(); p.send(opText, []byte(msg)) }

// frame reads one frame.
func (p *peer) frame() (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(p.r, b[:])
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(p.r, b[:])
		n = binary.BigEndian.Uint64(b[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(p.r, payload)
	return head[0] & 0x0f, payload, err
}

// next reads the next text message and answers pings on the way.
func (p *peer) next() map[string]any {
	p.t.Helper()
	for {
		op, payload, err := p.frame()
		switch {
		case err != nil:
			p.t.Fatalf("reading: %v", err)
		case op == opPing:
			p.send(opPong, payload)
		case op == opClose:
			p.t.Fatalf("closed: %d %s", binary.BigEndian.Uint16(payload), payload[2:])
		case op == opText:
			var m map[string]any
			if err := json.Unmarshal(payload, &m); err != nil {
				p.t.Fatalf("%v: %s", err, payload)
			}
			return m
		}
	}
}

// closed reads until the close frame, answers it and gives its code; messages on the way are dropped.
func (p *peer) closedWith() int {
	p.t.Helper()
	for {
		op, payload, err := p.frame()
		if err != nil {
			p.t.Fatalf("reading: %v", err)
		}
		if op == opClose {
			p.send(opClose, payload[:2])
			return int(binary.BigEndian.Uint16(payload))
		}
	}
}

func patterns(t testing.TB, texts ...string) []protocol.Pattern {
	t.Helper()
	out := make([]protocol.Pattern, len(texts))
	for i, text := range texts {
		p, err := protocol.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = p
	}
	return out
}

// subscribe does for all channels what a session would.
func subscribe(t testing.TB, h *hub.Hub, c *hub.Conn, since *protocol.Position, last int, channels ...string) {
	t.Helper()
	req := hub.Subscribe{Patterns: patterns(t, channels...), Since: since, Last: last}
	for _, p := range req.Patterns {
		req.Rules = append(req.Rules, h.Settings().RuleOf(p, protocol.NewWork(protocol.MaxWork)))
	}
	c.Subscribe(t.Context(), req)
}

// leave closes the client's end and waits until the server's has ended.
func (p *peer) leave(c *hub.Conn) {
	p.Close()
	<-c.Ended()
}

func publish(t testing.TB, h *hub.Hub, channel, data string) hub.Receipt {
	t.Helper()
	receipt, err := h.Publish(t.Context(), hub.Publication{Channel: channel, Data: []byte(data)})
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}
