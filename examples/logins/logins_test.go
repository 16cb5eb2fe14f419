// Package logins tests the examples of docs/logins.md: whole Caddyfiles, and backends for them.
package logins

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	_ "github.com/caddyserver/caddy/v2/modules/standard" // the directives of the examples

	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

func TestMain(m *testing.M) { sitetest.Main(m) }

const (
	password = "secret"
	hash     = "$2a$04$n/24lJzLDQQvToLI8DN0lOGYPie4xgfEDYbpx2qTT2SIX5Zs3S58y" // of the password
	secret   = "0b5a4b1d2f7c8e9ab0c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f4051627"
)

// start starts a Caddy with the Caddyfile of an example. The environment stands for what a reader fills in.
func start(t *testing.T, example string) *sitetest.Site {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(example, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	return sitetest.StartWhole(t, func(address string) string {
		t.Setenv("SITE", "http://"+address)
		return string(text)
	})
}

// run starts a backend on a port of its own, and returns its address.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(), "PORT=0")
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	port, found := strings.CutPrefix(strings.TrimSpace(line), "listening on port ")
	if err != nil || !found {
		t.Fatalf("%s %v says %q: %v", program, args, line, err)
	}
	return "127.0.0.1:" + port
}

// post sends an empty POST and returns the answer's cookie and body.
func post(t *testing.T, url string, change func(r *http.Request)) (status int, cookie, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait.Limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	change(r)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	cookie, _, _ = strings.Cut(response.Header.Get("Set-Cookie"), ";")
	return response.StatusCode, cookie, string(text)
}

func login(r *http.Request) { r.SetBasicAuth("ann", "wonderland") }

// isAnn checks that a client is ann: it has its own channel, and no other's.
func isAnn(t *testing.T, url string, o wstest.Options) {
	t.Helper()
	c := wstest.Dial(t, url, o)
	if user := c.Welcome.Text("user"); user != "ann" {
		t.Errorf("the client is %q", user)
	}
	c.Subscribe("users/ann/news")
	c.Refused("FORBIDDEN", wstest.Message{"type": "subscribe", "channel": "users/bob/news"})
	c.Close()
}

// refused checks that a client is refused before the upgrade.
func refused(t *testing.T, url string, status int, o wstest.Options) {
	t.Helper()
	c, response, err := wstest.TryDial(t, url, o)
	if err == nil {
		c.Cut()
		t.Error("the client is let in")
	} else if response == nil || response.StatusCode != status {
		t.Errorf("got %v, want the status %d", err, status)
	}
}

func TestSessions(t *testing.T) {
	t.Setenv("BACKEND", run(t, "node", "sessions/backend.mjs"))
	site := start(t, "sessions")
	url := "http://" + site.Address
	if status, _, _ := post(t, url+"/login", func(r *http.Request) { r.SetBasicAuth("ann", "guess") }); status != http.StatusUnauthorized {
		t.Errorf("a wrong password gets %d", status)
	}
	status, cookie, _ := post(t, url+"/login", login)
	if status != http.StatusNoContent {
		t.Fatalf("the login gets %d", status)
	}
	isAnn(t, site.URL(), wstest.Options{Header: http.Header{"Cookie": {cookie}, "Origin": {url}}})
	isAnn(t, site.URL(), wstest.Options{Header: http.Header{"Cookie": {cookie}, "X-User": {"bob"}}})
	refused(t, site.URL(), http.StatusForbidden, wstest.Options{Header: http.Header{"Cookie": {cookie}, "Origin": {"https://evil.example"}}})
	refused(t, site.URL(), http.StatusUnauthorized, wstest.Options{Header: http.Header{"X-User": {"ann"}}})
	refused(t, site.URL(), http.StatusUnauthorized, wstest.Options{Header: http.Header{"Cookie": {"session=guess"}}})
}

func TestTokens(t *testing.T) {
	t.Setenv("JWT_SECRET", secret)
	t.Setenv("BACKEND", run(t, "node", "tokens/backend.mjs"))
	site := start(t, "tokens")
	url := "http://" + site.Address
	status, cookie, body := post(t, url+"/token", login)
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	isAnn(t, site.URL(), wstest.Options{Header: http.Header{"Authorization": {"Bearer " + answer.Token}}})
	isAnn(t, site.URL(), wstest.Options{Subprotocols: []string{"neuroquantum.v1", "bearer." + answer.Token}})
	isAnn(t, site.URL(), wstest.Options{Header: http.Header{"Cookie": {cookie}, "Origin": {url}}})
	refused(t, site.URL(), http.StatusUnauthorized, wstest.Options{})
	refused(t, site.URL(), http.StatusUnauthorized, wstest.Options{Header: http.Header{"Cookie": {cookie}}}) // no page of the site
	refused(t, site.URL(), http.StatusUnauthorized, wstest.Options{Header: http.Header{"Authorization": {"Bearer " + answer.Token + "x"}}})
	c := wstest.Dial(t, site.URL(), wstest.Options{Header: http.Header{"Authorization": {"Bearer " + answer.Token}}})
	c.Subscribe("teams/red/board")
	c.Publish("teams/red/board", "hello")
	c.Refused("FORBIDDEN", wstest.Message{"type": "subscribe", "channel": "teams/blue/board"})
	c.Close()
}

func TestTickets(t *testing.T) {
	t.Setenv("BACKEND_HASH", hash)
	t.Setenv("BACKEND_PASSWORD", password)
	var backend atomic.Value // of the language at hand: it starts after the site, which it asks for tickets
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: backend.Load().(string)}) },
		Transport: &http.Transport{DisableKeepAlives: true},
	})
	defer front.Close()
	t.Setenv("BACKEND", strings.TrimPrefix(front.URL, "http://"))
	site := start(t, "tickets")
	api := "http://" + site.Address + "/rt"
	t.Setenv("API", api)

	// once lets a client in with a ticket, and no second one.
	once := func(t *testing.T, answer string) {
		t.Helper()
		var got struct{ Ticket string }
		if err := json.Unmarshal([]byte(answer), &got); err != nil || got.Ticket == "" {
			t.Fatalf("%s: %v", answer, err)
		}
		isAnn(t, site.URL()+"?ticket="+got.Ticket, wstest.Options{})
		refused(t, site.URL()+"?ticket="+got.Ticket, http.StatusUnauthorized, wstest.Options{})
	}
	if status, _, _ := post(t, api+"/tickets", func(r *http.Request) { r.SetBasicAuth("backend", "guess") }); status != http.StatusUnauthorized {
		t.Errorf("who is not the backend gets %d", status)
	}
	t.Run("curl", func(t *testing.T) {
		out, err := exec.Command("sh", "tickets/ticket.sh").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		once(t, string(out))
	})
	backends := [][]string{{"node", "tickets/backend.mjs"}}
	if _, err := exec.LookPath("python3"); err == nil { // a fresh machine has none
		backends = append(backends, []string{"python3", "tickets/backend.py"})
	}
	for _, command := range backends {
		t.Run(command[0], func(t *testing.T) {
			backend.Store(run(t, command[0], command[1:]...))
			ask := "http://" + site.Address + "/ticket"
			if status, _, _ := post(t, ask, func(*http.Request) {}); status != http.StatusUnauthorized {
				t.Errorf("a stranger gets %d", status)
			}
			status, _, body := post(t, ask, func(r *http.Request) { r.Header.Set("X-Key", "key-of-ann") })
			if status != http.StatusOK {
				t.Fatalf("%d %s", status, body)
			}
			once(t, body)
		})
	}
}

// TestForward has a login portal that knows ann by a cookie, in place of Authelia and the like.
func TestForward(t *testing.T) {
	portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("portal")
		if r.URL.Path != "/api/authz/forward-auth" || err != nil || cookie.Value != "ann" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Remote-User", "ann")
	}))
	defer portal.Close()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Remote-User"))
	}))
	defer backend.Close()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "index.html"), []byte("the page"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PORTAL", strings.TrimPrefix(portal.URL, "http://"))
	t.Setenv("BACKEND", strings.TrimPrefix(backend.URL, "http://"))
	t.Setenv("ROOT", root)
	site := start(t, "forward")
	header := http.Header{"Cookie": {"portal=ann"}, "Remote-User": {"bob"}}
	isAnn(t, site.URL(), wstest.Options{Header: header})
	refused(t, site.URL(), http.StatusUnauthorized, wstest.Options{Header: http.Header{"Remote-User": {"ann"}}})
	for path, want := range map[string]string{"/api/me": "ann", "/some/page": "the page"} {
		if _, _, body := post(t, "http://"+site.Address+path, func(r *http.Request) { r.Method, r.Header = http.MethodGet, header.Clone() }); body != want {
			t.Errorf("%s answers %q", path, body)
		}
	}
}

func TestBasic(t *testing.T) {
	t.Setenv("ANN_HASH", hash)
	site := start(t, "basic")
	var r http.Request
	r.Header = make(http.Header)
	r.SetBasicAuth("ann", password)
	isAnn(t, site.URL(), wstest.Options{Header: r.Header})
	refused(t, site.URL(), http.StatusUnauthorized, wstest.Options{})
}

// TestPage holds the blocks of docs/logins.md against the files that they name: each file is there, whole.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/logins.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, pattern := range []string{"*/Caddyfile", "*/*.mjs", "*/*.py", "*/*.sh"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	block := regexp.MustCompile("(?ms)^\\[examples/logins/([^\\]]+)\\]\\(\\.\\./examples/logins/([^)]+)\\):\n\n```[a-z]*\n(.*?)^```$")
	var shown []string
	for _, found := range block.FindAllStringSubmatch(string(page), -1) {
		shown = append(shown, found[1])
		text, err := os.ReadFile(found[1])
		if err != nil {
			t.Error(err)
		}
		if found[1] != found[2] || string(text) != found[3] {
			t.Errorf("the page does not show %s as it is", found[1])
		}
	}
	slices.Sort(files)
	slices.Sort(shown)
	if !slices.Equal(files, shown) {
		t.Errorf("the page shows %q, and there are %q", shown, files)
	}
}
