// Package sitetest starts a Caddy with this module within the test's process, and a proxy that cuts connections, for tests of clients. Caddy
// runs once a process: a test has one site at a time.
package sitetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"    // the Caddyfile
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver" // of the demo
	"go.uber.org/goleak"

	_ "github.com/neuroquantumdb/neuroquantum-ws" // the module
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
)

// strangers are goroutines that are not ours and end by themselves: Caddy locks its storage while it cleans it up.
var strangers = []goleak.Option{goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh")}

// Main runs a package's tests. Caddy keeps its configuration and certificates in folders of the user's, which a test must not touch. No
// goroutine may be left at the end.
func Main(m *testing.M) {
	home, err := os.MkdirTemp("", "neuroquantum-ws-site")
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

// Site is a Caddy on a port of its own.
type Site struct {
	Address string // 127.0.0.1:port
	t       testing.TB
	whole   func(address string) string // nil: Start's
}

// Start starts a Caddy whose site has these directives; it stops with the test.
func Start(t testing.TB, directives string) *Site {
	t.Helper()
	s := &Site{t: t}
	s.start(directives)
	return s
}

// StartWhole starts a Caddy with all that follows the global options of a Caddyfile: snippets, named routes, and sites, among which
// one must be http://ADDRESS. whole returns it for an address.
func StartWhole(t testing.TB, whole func(address string) string) *Site {
	t.Helper()
	s := &Site{t: t, whole: whole}
	s.start("")
	return s
}

func (s *Site) start(directives string) {
	t := s.t
	t.Helper()
	Explain(t)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	for try := 0; ; try++ {
		s.Address = freeAddress(t)
		err := s.load(directives)
		if err == nil {
			return
		}
		// Another process may have taken the port meanwhile. Caddy does not wrap the error.
		if try == 3 || !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
			t.Fatalf("starting Caddy: %v", err)
		}
	}
}

// URL is the address of the WebSocket, where the directives have it at /ws.
func (s *Site) URL() string { return "ws://" + s.Address + "/ws" }

// Reload gives the Caddy other directives.
func (s *Site) Reload(directives string) {
	s.t.Helper()
	if err := s.load(directives); err != nil {
		s.t.Fatalf("loading the configuration: %v", err)
	}
}

func (s *Site) load(directives string) error {
	sites := fmt.Sprintf("http://%s {\n\t%s\n}\n", s.Address, directives)
	if s.whole != nil {
		sites = s.whole(s.Address)
	}
	text := `{
	admin off
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	grace_period 1s
	log {
		output newest
	}
}
` + sites
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	return Load(config, s.Address)
}

// Load has Caddy run a configuration, as JSON, that listens on an address, and waits until only one server does: that of the configuration, or
// if it is refused that of the one before. [caddy.Load] returns a little earlier, when some connections to the address still reach the other
// one, which closes them unread or answers as it was configured.
func Load(config []byte, address string) error {
	err := caddy.Load(config, true)
	return errors.Join(err, settled(address))
}

// settled waits until at most one socket listens on an address.
func settled(address string) error {
	for limit := time.Now().Add(wait.Limit); ; time.Sleep(time.Millisecond) {
		n, err := listeners(address)
		if err != nil || n <= 1 {
			return err
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%d servers listen on %s\n%s", n, address, wait.State())
		}
	}
}

// listeners returns the number of sockets that listen on an IPv4 address. Caddy's servers share it with SO_REUSEPORT.
func listeners(address string) (n int, err error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, err
	}
	table, err := os.ReadFile("/proc/self/net/tcp")
	if errors.Is(err, fs.ErrNotExist) { // not Linux: the count of Caddy, which it lowers a moment before it closes the socket
		return caddy.ListenerUsage("tcp", address), nil
	}
	if err != nil {
		return 0, err
	}
	ip := at.Addr().As4()
	local := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip[:]), at.Port())
	for line := range strings.Lines(string(table)) { // sl local_address rem_address st …
		if fields := strings.Fields(line); len(fields) > 3 && fields[1] == local && fields[3] == "0A" {
			n++
		}
	}
	return n, nil
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

// Demo starts a Caddy with the demo's own Caddyfile, from the repository's root, on a port of its own and without its admin endpoint.
func Demo(t testing.TB, root string) *Site {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "xcaddy.Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, site, found := strings.Cut(string(text), "http://localhost:8080 {\n")
	end := strings.LastIndex(site, "}")
	if !found || end < 0 {
		t.Fatal("the demo's Caddyfile has no site http://localhost:8080")
	}
	return Start(t, strings.NewReplacer(" demo/demo.db", " "+root+"/demo/demo.db", " demo/site", " "+root+"/demo/site").Replace(site[:end]))
}
