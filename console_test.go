package neuroquantumws_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/console"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

const consoleSite = "neuroquantum_ws_console /console/*\n"

// page asks for something below the site, as a browser's address bar would.
func (s *site) page(method, path string, header http.Header) answer {
	s.t.Helper()
	return request(s.t, method, "http://"+s.address+path, "", header)
}

// loads finds what a page loads.
var loads = regexp.MustCompile(`(?:src|href)="([^"]*)"`)

func TestConsolePage(t *testing.T) {
	s := serveSite(t, consoleSite+ws(apiChannels))
	page := s.page("GET", "/console/", nil).want(200)
	if page.header.Get("Content-Type") != "text/html; charset=utf-8" || page.header.Get("Cache-Control") != "no-cache" || page.header.Get("ETag") == "" {
		t.Errorf("got %v", page.header)
	}
	if inline := regexp.MustCompile(`<script>|<style|style=| on[a-z]+=|https?://`).FindString(page.text); inline != "" {
		t.Errorf("the page has %s, which its policy forbids", inline)
	}
	found := loads.FindAllStringSubmatch(page.text, -1)
	if len(found) < 3 {
		t.Fatalf("the page loads only %v", found)
	}
	for _, one := range found {
		path := "/console/" + one[1]
		a := s.page("GET", path, nil).want(200)
		if !strings.HasPrefix(one[1], "assets/") || a.header.Get("Cache-Control") != "max-age=31536000, immutable" || a.header.Get("Content-Type") == "" {
			t.Errorf("%s: got %v", path, a.header)
		}
		// What has not changed is not sent again, and HEAD tells the same.
		tag := a.header.Get("ETag")
		if b := s.page("GET", path, http.Header{"If-None-Match": {tag}}); b.status != 304 || b.text != "" || b.header.Get("ETag") != tag {
			t.Errorf("%s: got %d %v", path, b.status, b.header)
		}
		if b := s.page("HEAD", path, nil).want(200); b.text != "" || b.header.Get("ETag") != tag || b.header.Get("Content-Type") != a.header.Get("Content-Type") {
			t.Errorf("%s: got %v", path, b.header)
		}
		if b := s.page("GET", path, http.Header{"If-None-Match": {`"other"`}}).want(200); b.text != a.text {
			t.Errorf("%s: got another text", path)
		}
	}
	for _, path := range []string{"/console/nothing", "/console/assets/", "/console/assets/app.js", "/console//", "/console/api", "/console/ws/x"} {
		if a := s.page("GET", path, nil); a.status != 404 || strings.Contains(a.text, "console.go") {
			t.Errorf("%s: got %d %s", path, a.status, a.text)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		for _, path := range []string{"/console", "/console/", "/console/" + found[0][1]} {
			if a := s.page(method, path, nil); a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: got %d %v", method, path, a.status, a.header)
			}
		}
	}
}

// TestConsoleHeaders: every answer below the page is protected, those of the API and refusals included.
func TestConsoleHeaders(t *testing.T) {
	s := serveSite(t, consoleSite+ws(apiChannels))
	for _, path := range []string{"/console", "/console/", "/console/nothing", "/console/api/stats", "/console/api/nothing"} {
		a := s.page("GET", path, nil)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if a.header.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, a.header.Get(name))
			}
		}
		policy := a.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(policy+";", want+";") {
				t.Errorf("%s: the policy lacks %s: %s", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || len(a.header.Values("Access-Control-Allow-Origin")) > 0 {
			t.Errorf("%s: got %v", path, a.header)
		}
	}
}

// The page and what hangs below it are where the site puts them.
func TestConsolePaths(t *testing.T) {
	for directives, paths := range map[string]string{
		"neuroquantum_ws_console /console/* default":                              "/console/ /CONSOLE/ /c%6fnsole/ !/console/x/ !/consoles/",
		"neuroquantum_ws_console /console*":                                       "/console/ !/consoles/",
		"neuroquantum_ws_console /a/b/*":                                          "/a/b/ !/a/",
		"@c path /c/* /d/*\nneuroquantum_ws_console @c":                           "/c/ /d/",
		"handle_path /c/* {\nneuroquantum_ws_console default\n}":                  "/c/",
		"handle /c/* {\nneuroquantum_ws_console\n}":                               "/c/",
		"route /api/* {\nneuroquantum_ws_console {\nprefix /api/\n}\n}":           "/api/",
		"neuroquantum_ws_console":                                                 "/",
		"neuroquantum_ws_console {\nprefix /\n}":                                  "/",
		"neuroquantum_ws_console /c/* {\nprefix /c/d%20e\n}":                      "/c/d%20e/ !/c/",
		"neuroquantum_ws_console /c/*\nneuroquantum_ws_console /d/* default {\n}": "/c/ /d/",
	} {
		t.Run("", func(t *testing.T) {
			s := serveSite(t, ws("")+directives)
			for path := range strings.FieldsSeq(paths) {
				path, missing := strings.CutPrefix(path, "!")
				a := s.page("GET", path, nil)
				if ours := a.status == 200 && strings.HasPrefix(a.header.Get("Content-Type"), "text/html"); ours == missing {
					t.Errorf("%s: %s gave %d %s", directives, path, a.status, a.text)
				}
				if missing {
					continue
				}
				s.page("GET", path+loads.FindStringSubmatch(a.text)[1], nil).want(200)
				if stats := s.page("GET", path+"api/stats", nil).want(200); stats.Text("hub") != "default" {
					t.Errorf("%s: got %s", path, stats.text)
				}
				wstest.Dial(t, "ws://"+s.address+path+"ws", wstest.Options{}).Ping()
			}
		})
	}
}

func TestConsoleRedirect(t *testing.T) {
	s := serveSite(t, ws("")+"neuroquantum_ws_console /a/console/*")
	for path, want := range map[string]string{
		"/a/console": "/a/console/", "/a/CONSOLE?x=//y": "/a/CONSOLE/?x=//y", "/a/%63onsole": "/a/%63onsole/",
	} {
		for _, method := range []string{"GET", "HEAD"} {
			a := s.page(method, path, nil).want(308)
			from, err := url.Parse("http://" + s.address + path)
			if err != nil {
				t.Fatal(err)
			}
			to, err := from.Parse(a.header.Get("Location"))
			if err != nil || to.RequestURI() != want || to.Host != s.address {
				t.Errorf("%s leads to %v, want %s: %v", path, to, want, err)
			}
		}
	}
}

// TestConsoleRefusesOtherSites: a page of another origin cannot do anything with the login of its visitor.
func TestConsoleRefusesOtherSites(t *testing.T) {
	s := serveSite(t, consoleSite+ws(apiChannels+"origins https://app.example.com\n"))
	own := "http://" + s.address
	publish := func(header http.Header) answer {
		return request(t, "POST", own+"/console/api/publish", `{"channel":"kept/a","data":1}`, header)
	}
	for _, header := range []http.Header{
		nil, // no browser
		{"Sec-Fetch-Site": {"same-origin"}},
		{"Sec-Fetch-Site": {"same-origin"}, "Origin": {own}},
		{"Origin": {own}},
	} {
		publish(header).want(200)
	}
	foreign := []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}},
		{"Sec-Fetch-Site": {"same-site"}},
		{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://app.example.com"}},
		{"Origin": {"https://app.example.com"}},
		{"Origin": {"null"}},
	}
	c := s.dial()
	for _, header := range foreign {
		publish(header).fails(403, "FORBIDDEN")
		for _, path := range []string{"connections/" + c.Welcome.Text("connection_id"), "streams/x", "users/ann"} {
			request(t, "DELETE", own+"/console/api/"+path, "", header).fails(403, "FORBIDDEN")
		}
	}
	c.Ping() // it is still there
	if a := s.page("GET", "/console/api/channels/kept%2Fa", nil).want(200); a.Int("messages_published") != 4 {
		t.Errorf("got %s", a.text)
	}
}

// TestConsoleSocket: the page's WebSocket is the hub's, for pages of the console's own origin alone, and under the hub's rules.
func TestConsoleSocket(t *testing.T) {
	s := serveSite(t, consoleSite+ws("hub default\norigins only https://app.example.com\nmax_connections 2\nchannel open/** {\n"+anyone+"\n}\nchannel closed/** {\nallow subscribe role:operator\n}\n"))
	dial := func(query, origin string) (*wstest.Client, int) {
		options := wstest.Options{}
		if origin != "" {
			options.Header = http.Header{"Origin": {origin}}
		}
		c, response, err := wstest.TryDial(t, "ws://"+s.address+"/console/ws"+query, options)
		if err != nil {
			return nil, response.StatusCode
		}
		return c, response.StatusCode
	}
	for _, origin := range []string{"https://app.example.com", "https://" + s.address, "null", "http://127.0.0.1:1"} {
		if _, status := dial("", origin); status != 403 {
			t.Errorf("a page of %s: got %d", origin, status)
		}
	}
	// The hub's own path is as it was.
	if _, response, err := wstest.TryDial(t, s.url(), wstest.Options{Header: http.Header{"Origin": {"http://" + s.address}}}); err == nil || response.StatusCode != http.StatusForbidden {
		t.Error("the hub lets in a page that it does not name")
	}
	anonymous, status := dial("", "http://"+s.address)
	if anonymous == nil {
		t.Fatalf("got %d", status)
	}
	anonymous.Subscribe("open/a")
	anonymous.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "closed/a"})
	ticket := request(t, "POST", "http://"+s.address+"/console/api/tickets", `{"user":"ann","roles":["operator"]}`, nil).want(201).Text("ticket")
	operator, _ := dial("?ticket="+url.QueryEscape(ticket), "")
	if operator == nil || operator.Welcome.Text("user") != "ann" {
		t.Fatal("the ticket does not let in")
	}
	operator.Subscribe("closed/a")
	if _, status := dial("", ""); status != 503 {
		t.Errorf("one more than max_connections: got %d", status)
	}
	if a := s.page("GET", "/console/ws", nil); a.status != 426 {
		t.Errorf("got %d %s", a.status, a.text)
	}
}

// TestConsoleOutlivesReload: the page's connection is the hub's, and stays.
func TestConsoleOutlivesReload(t *testing.T) {
	s := serveSite(t, consoleSite+ws(apiChannels))
	c := wstest.Dial(t, "ws://"+s.address+"/console/ws", wstest.Options{})
	c.Subscribe("kept/a")
	if err := s.load("neuroquantum_ws_console /other/*\n" + ws(apiChannels)); err != nil {
		t.Fatal(err)
	}
	request(t, "POST", "http://"+s.address+"/other/api/publish", `{"channel":"kept/a","data":"after"}`, nil).want(200)
	if m := c.Expect("channel_message"); m["data"] != "after" {
		t.Errorf("got %v", m)
	}
}

// TestConsoleLogin: behind a login, who logged in is who connects.
func TestConsoleLogin(t *testing.T) {
	s := serveSite(t, "route /console/* {\nvars user {http.request.header.X-Test-User}\nneuroquantum_ws_console /console/*\n}\n"+
		ws("user {vars.user}\nchannel u/{user}/** {\nallow subscribe authenticated\n}\n"))
	c := wstest.Dial(t, "ws://"+s.address+"/console/ws", wstest.Options{Header: http.Header{"X-Test-User": {"ann"}}})
	if c.Welcome.Text("user") != "ann" {
		t.Errorf("got %v", c.Welcome)
	}
	c.Subscribe("u/ann/x")
}

func TestBadConsoleIsRefused(t *testing.T) {
	for directive, words := range map[string]string{
		"neuroquantum_ws_console a b":                                      "arguments",
		"neuroquantum_ws_console \"\"":                                     "",
		"neuroquantum_ws_console {\nport 8\n}":                             "unknown port",
		"neuroquantum_ws_console {\nprefix\n}":                             "prefix",
		"neuroquantum_ws_console {\nprefix console\n}":                     "prefix console path",
		"neuroquantum_ws_console {\nprefix /c/*\n}":                        "prefix /c/*",
		"neuroquantum_ws_console {\nprefix /%zz\n}":                        "prefix encoded",
		"neuroquantum_ws_console {\nprefix /a\nprefix /b\n}":               "prefix twice",
		"neuroquantum_ws_console /a/* main {\nprefix /a\nmax_body 1MiB\n}": "unknown max_body",
	} {
		_, err := adapt(":0 {\n" + directive + "\n}\n")
		if err == nil {
			t.Errorf("%s is accepted", directive)
			continue
		}
		for word := range strings.FieldsSeq(words) {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the error does not say %q: %v", directive, word, err)
			}
		}
		if !place.MatchString(err.Error()) {
			t.Errorf("%s: the error names no line: %v", directive, err)
		}
	}
	s := serveSite(t, ws(""))
	for _, bad := range []string{"neuroquantum_ws_console /c/* other\n" + ws(""), "neuroquantum_ws_console /c/*\n"} {
		if err := s.load(bad); err == nil || !strings.Contains(err.Error(), "neuroquantum_ws_console: no neuroquantum_ws") {
			t.Errorf("got %v", err)
		}
	}
}

// TestConsoleRoutes holds what the directive becomes, matchers included, against a golden file.
func TestConsoleRoutes(t *testing.T) {
	const file = "testdata/routes/console.caddyfiletest"
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	caddyfile, want, _ := strings.Cut(string(golden), divider)
	config, err := adapt(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct{ Routes json.RawMessage }
			}
		}
	}
	if err := json.Unmarshal(config, &all); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, all.Apps.HTTP.Servers["srv0"].Routes, "", "\t"); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	if *update {
		if err := os.WriteFile(file, []byte(caddyfile+divider+got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != want {
		t.Errorf("got %s\nwant %s", got.String(), want)
	}
}

func TestConsoleOptions(t *testing.T) {
	if err := new(console.Console).ServeHTTP(nil, nil, nil); err == nil {
		t.Error("a console that is not provisioned serves")
	}
}
