package neuroquantumws_test

import (
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/goleak"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// M is short for what is said most.
type M = wstest.Message

func TestMain(m *testing.M) {
	if config := os.Getenv(childConfig); config != "" {
		runChild(config)
		return
	}
	// net/http serves WebSockets over HTTP/2 only if this stands in the environment of the process that begins.
	if debug := os.Getenv("GODEBUG"); !strings.Contains(debug, "http2xconnect=1") {
		os.Setenv("GODEBUG", strings.TrimPrefix(debug+",http2xconnect=1", ","))
		panic(syscall.Exec(os.Args[0], os.Args, os.Environ()))
	}
	// Caddy keeps its configuration and certificates in folders of the user's; a test must not touch them.
	home, err := os.MkdirTemp("", "neuroquantum-ws-test")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		os.Setenv(name, home)
	}
	goleak.VerifyTestMain(m, append(strangers, goleak.Cleanup(func(code int) {
		os.RemoveAll(home)
		os.Exit(code)
	}))...)
}

// strangers are goroutines that are not ours and end by themselves. Caddy locks its storage while it cleans it up; the goroutine
// that keeps the lock fresh sees only once in five seconds that the lock is gone.
var strangers = []goleak.Option{goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh")}

// site is a Caddy with one site on a port of its own. Caddy runs once a process: a test has one site at a time.
type site struct {
	t       testing.TB
	address string // 127.0.0.1:port
	tls     bool   // HTTP/1.1, 2 and 3 with a certificate of Caddy's own, and not plain HTTP/1.1
	global  string // further options of Caddy's
}

// wrap makes a Caddyfile of a site's directives.
func (s *site) wrap(directives string) string {
	scheme, tls, global := "http", "", "auto_https off\ngrace_period 1s\n"+s.global
	if s.tls {
		scheme, tls, global = "https", "tls "+certificate(s.t), "auto_https disable_redirects\n"+s.global
	}
	return fmt.Sprintf(`{
	admin off
	persist_config off
	%s
	log {
		output newest
	}
}
%s://%s {
	bind 127.0.0.1
	%s
	%s
}
`, global, scheme, s.address, tls, directives)
}

// ws is the directive with these options.
func ws(options string) string { return "neuroquantum_ws /ws {\n" + options + "\n}\n" }

// serve starts a Caddy with the directive and these options; it stops with the test.
func serve(t testing.TB, options string) *site { t.Helper(); return serveSite(t, ws(options)) }

// serveSite starts a Caddy with these directives. Another process may take the port that was found free, so it tries again.
func serveSite(t testing.TB, directives string) *site {
	t.Helper()
	s := &site{t: t}
	s.start(directives)
	return s
}

func (s *site) start(directives string) {
	t := s.t
	t.Helper()
	sitetest.Explain(t)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
		if err := goleak.Find(strangers...); err != nil {
			t.Errorf("after the end: %v", err)
		}
	})
	for try := 0; ; try++ {
		s.address = freeAddress(t)
		err := s.load(directives)
		if err == nil {
			return
		}
		// Caddy does not wrap the error.
		if try == 3 || !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
			t.Fatalf("starting Caddy: %v", err)
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// load gives Caddy a configuration with these directives.
func (s *site) load(directives string) error {
	config, err := adapt(s.wrap(directives))
	if err != nil {
		return err
	}
	return sitetest.Load(config, s.address)
}

// reload is load that must work.
func (s *site) reload(directives string) {
	s.t.Helper()
	if err := s.load(directives); err != nil {
		s.t.Fatalf("loading the configuration: %v", err)
	}
}

func adapt(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// in is the site for a test within the one that started it.
func (s *site) in(t testing.TB) *site {
	return &site{t: t, address: s.address, tls: s.tls, global: s.global}
}

func (s *site) url() string {
	if s.tls {
		return "wss://" + s.address + "/ws"
	}
	return "ws://" + s.address + "/ws"
}

// dial connects a client with the subprotocol.
func (s *site) dial() *wstest.Client {
	s.t.Helper()
	return wstest.Dial(s.t, s.url(), wstest.Options{})
}

// raw connects a client without library and without subprotocol.
func (s *site) raw() *wstest.Raw {
	s.t.Helper()
	raw := wstest.DialRaw(s.t, s.address, wstest.Handshake(s.address, "/ws"), 0)
	if raw.Response.StatusCode != http.StatusSwitchingProtocols {
		s.t.Fatalf("upgrade: %s", raw.Response.Status)
	}
	return raw
}

// get makes a request that is no upgrade unless its header makes it one.
func (s *site) get(header http.Header) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.address+"/ws", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header = header
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return response, "" // its body is the connection
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response, string(body)
}

// hubOf is the hub of a name, for what no client can see: what it holds.
func hubOf(t testing.TB, name string) *hub.Hub {
	t.Helper()
	found := instance.Find(name)
	if found == nil {
		t.Fatalf("there is no hub %s", name)
	}
	return found.Hub
}

// until asks something of the server, over and over, until a condition holds that only the server's own work brings about.
func until(c *wstest.Client, what string, holds func() bool) {
	c.T().Helper()
	check := wait.Check(c.T(), what)
	for !holds() {
		check()
		c.Ping()
	}
}

// demoDB is the path of the database that ships with the project.
func demoDB(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("demo/demo.db")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
