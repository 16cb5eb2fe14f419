package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(wait.Limit) {
		t.Fatal("NATS does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// told records what a node is told.
type told struct {
	node string

	mu  sync.Mutex
	all []string
}

func (l *told) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, fmt.Sprintf(format, args...))
}

func (l *told) has(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.all, what)
}

func (l *told) Joined(node string)                   { l.add("%s joined", node) }
func (l *told) Left(node string)                     { l.add("%s left", node) }
func (l *told) Told(node, topic string, data []byte) { l.add("%s says %s %s", node, topic, data) }
func (l *told) Remembered(key string, data []byte)   { l.add("remembers %s %s", key, data) }
func (l *told) Asked(node, topic string, data []byte) []byte {
	if topic == "large" {
		return bytes.Repeat(data, 1<<20)
	}
	if topic == "none" {
		return nil
	}
	return fmt.Appendf(nil, "%s to %s: %s %s", l.node, node, topic, data)
}

// node is one at work.
type node struct {
	*Peers
	*told
	conn *nats.Conn
}

func join(t testing.TB, url, name string, options ...nats.Option) *node {
	t.Helper()
	options = append(options, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.RetryOnFailedConnect(true))
	conn, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{New(Options{Node: name, Subject: "nq.hub.peers", Bucket: "nq_hub", Replicas: 1, Lease: time.Second, Log: zap.NewNop()}), &told{node: name}, conn}
	if err := n.Start(n.told); err != nil {
		t.Fatal(err)
	}
	if err := n.Connect(conn, js); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.part)
	return n
}

// part leaves in order.
func (n *node) part() { n.Close(); n.conn.Close() }

// crash leaves without a word.
func (n *node) crash() {
	n.conn.Close()
	n.Close()
}

func hears(t testing.TB, n *node, what string) {
	t.Helper()
	wait.Until(t, n.Node()+": "+what, func() bool { return n.has(what) })
}

func TestNodesFindEachOther(t *testing.T) {
	url := serve(t, t.TempDir(), server.RANDOM_PORT).ClientURL()
	a, b := join(t, url, "a"), join(t, url, "b")
	hears(t, a, "b joined")
	hears(t, b, "a joined")
	c := join(t, url, "c")
	hears(t, c, "a joined")
	hears(t, c, "b joined")
	hears(t, a, "c joined")
	if got := fmt.Sprint(a.Nodes(), b.Nodes(), c.Nodes()); got != "[b c] [a c] [a b]" {
		t.Errorf("got %s", got)
	}
	c.part()
	hears(t, a, "c left")
	b.crash()
	hears(t, a, "b left")
	if len(a.Nodes()) > 0 {
		t.Errorf("got %v", a.Nodes())
	}
	if a.has("a joined") || a.has("a left") {
		t.Error("it hears of itself")
	}
}

func TestTellAndAsk(t *testing.T) {
	url := serve(t, t.TempDir(), server.RANDOM_PORT).ClientURL()
	a, b, c := join(t, url, "a"), join(t, url, "b"), join(t, url, "c")
	hears(t, a, "b joined")
	hears(t, a, "c joined")
	for i := range 100 {
		a.Tell("news", fmt.Append(nil, i))
	}
	for _, n := range []*node{b, c} {
		hears(t, n, "a says news 99")
		n.told.mu.Lock()
		news := slices.DeleteFunc(slices.Clone(n.all), func(s string) bool { return !strings.Contains(s, "says") })
		n.told.mu.Unlock()
		if len(news) != 100 || news[0] != "a says news 0" || news[57] != "a says news 57" {
			t.Errorf("%s hears %v", n.Node(), news)
		}
	}
	if a.has("a says news 0") {
		t.Error("it hears itself")
	}
	ask := func(node, topic string) string {
		ctx, cancel := context.WithTimeout(t.Context(), wait.Limit)
		if node == "" {
			ctx, cancel = context.WithTimeout(t.Context(), time.Second) // what was on its way to a node that has crashed is not answered
		}
		defer cancel()
		answers, missing := a.Ask(ctx, node, topic, []byte("x"))
		var out []string
		for _, answer := range answers {
			text := string(answer.Data)
			if len(text) > 100 {
				text = fmt.Sprint(len(text))
			}
			out = append(out, answer.Node+"="+text)
		}
		slices.Sort(out)
		return fmt.Sprint(out, missing)
	}
	for _, test := range []struct{ node, topic, want string }{
		{"", "q", "[b=b to a: q x c=c to a: q x] []"},
		{"c", "q", "[c=c to a: q x] []"},
		{"nobody", "q", "[] [nobody]"},
		{"b", "large", "[b=1048576] []"},
		{"b", "none", "[b=] []"},
	} {
		if got := ask(test.node, test.topic); got != test.want {
			t.Errorf("%v: got %s", test, got)
		}
	}
	b.crash()
	if got := ask("", "q"); got != "[c=c to a: q x] [b]" && got != "[c=c to a: q x] []" {
		t.Errorf("got %s", got)
	}
}

func TestRemember(t *testing.T) {
	url := serve(t, t.TempDir(), server.RANDOM_PORT).ClientURL()
	a, b := join(t, url, "a"), join(t, url, "b")
	wait.Until(t, "it can remember", func() bool { return a.Remember(t.Context(), "revoked/ann > *.$ 你", []byte("1")) == nil })
	for _, n := range []*node{a, b, join(t, url, "c")} {
		hears(t, n, "remembers revoked/ann > *.$ 你 1")
	}
	a.conn.Close()
	if a.Remember(t.Context(), "revoked/bob", nil) == nil {
		t.Error("it remembers without NATS")
	}
}

// silence is a dialer of connections over which nothing comes while it is locked.
type silence struct{ sync.RWMutex }

func (s *silence) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return silenced{conn, s}, err
}

type silenced struct {
	net.Conn
	silence *silence
}

func (c silenced) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.silence.RLock()
	defer c.silence.RUnlock()
	return n, err
}

// TestServerIsSilent: a node that hears nothing, itself included, does not take the others for gone.
func TestServerIsSilent(t *testing.T) {
	url := serve(t, t.TempDir(), server.RANDOM_PORT).ClientURL()
	var s silence
	a, b := join(t, url, "a", nats.SetCustomDialer(&s)), join(t, url, "b")
	hears(t, a, "b joined")
	hears(t, b, "a joined")
	s.Lock()
	<-time.After(3 * a.options.Lease)
	if nodes := a.Nodes(); a.has("b left") || len(nodes) != 1 {
		t.Errorf("b has left; there are %v", nodes)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if answers, missing := a.Ask(ctx, "", "q", nil); len(answers) > 0 || fmt.Sprint(missing) != "[b]" {
		t.Errorf("got %v, missing %v", answers, missing)
	}
	s.Unlock()
	wait.Until(t, "they speak again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		answers, _ := a.Ask(ctx, "", "q", nil)
		return len(answers) == 1
	})
}

// TestServerRestarts: nobody leaves for that NATS is away, and all goes on when it is back.
func TestServerRestarts(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, server.RANDOM_PORT)
	a, b := join(t, s.ClientURL(), "a"), join(t, s.ClientURL(), "b")
	hears(t, a, "b joined")
	hears(t, b, "a joined")
	port := s.Addr().String()[strings.LastIndexByte(s.Addr().String(), ':')+1:]
	s.Shutdown()
	s.WaitForShutdown()
	<-time.After(2 * time.Second) // twice their lease
	if a.has("b left") || b.has("a left") {
		t.Error("they have left without NATS")
	}
	var number int
	fmt.Sscan(port, &number)
	serve(t, dir, number)
	wait.Until(t, "they speak again", func() bool {
		a.Tell("again", nil)
		return b.has("a says again ")
	})
	wait.Until(t, "it can remember", func() bool { return a.Remember(t.Context(), "x/y", []byte("1")) == nil })
	hears(t, b, "remembers x/y 1")
	<-time.After(3 * a.options.Lease)
	if a.has("b left") || b.has("a left") {
		t.Error("they have left after the restart")
	}
	b.part()
	hears(t, a, "b left")
}

// TestOneLeads: at most one node leads at a time, and when it is gone another does.
func TestOneLeads(t *testing.T) {
	url := serve(t, t.TempDir(), server.RANDOM_PORT).ClientURL()
	var leading, most atomic.Int32
	leaders := make(chan string, 100)
	var all sync.WaitGroup
	defer all.Wait()
	lead := func(n *node) context.CancelFunc {
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(func() {
			n.Lead(ctx, "the task/é", func(ctx context.Context) {
				if now := leading.Add(1); now > most.Load() {
					most.Store(now)
				}
				leaders <- n.Node()
				<-ctx.Done()
				leading.Add(-1)
			})
		})
		return cancel
	}
	nodes := map[string]*node{}
	stop := map[string]context.CancelFunc{}
	for _, name := range []string{"a", "b", "c"} {
		nodes[name] = join(t, url, name)
		stop[name] = lead(nodes[name])
		defer stop[name]()
	}
	first := <-leaders
	stop[first]() // another takes over at once
	second := <-leaders
	if second == first {
		t.Errorf("%s leads again", second)
	}
	nodes[second].crash() // another takes over when its lease has run out
	if third := <-leaders; third == first || third == second {
		t.Errorf("then %s leads", third)
	}
	if most.Load() != 1 {
		t.Errorf("%d led at once", most.Load())
	}
}
