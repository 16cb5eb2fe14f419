package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// hash is that of the password secret, at bcrypt's least cost.
const hash = "$2a$04$n/24lJzLDQQvToLI8DN0lOGYPie4xgfEDYbpx2qTT2SIX5Zs3S58y"

// realtime are the directives of this module as a site has them beside its own. POST /save publishes.
const realtime = `
	neuroquantum_ws /ws main
	neuroquantum_ws_api /rt/* main
	neuroquantum_ws_console /console/* main
	@save {
		method POST
		path /save
	}
	neuroquantum_ws_notify @save main {
		channel saved
		data ` + "`" + `{"by":"{http.request.header.X-By}"}` + "`" + `
	}
`

// usualSites are Caddyfiles as one finds them. RT stands for the directives of this module, UPSTREAM, ROOT and HASH for what they say,
// ADDRESS for that of the site.
var usualSites = []struct {
	name string
	site string // what is in the site's block
	rest string // what is beside it
	// login says that a request without Authorization must get 401 at the WebSocket and the API.
	login bool
	ws    string // path of the WebSocket, if not /ws
	api   string // path of the API, if not /rt
	save  string // path of what publishes, if not /save
}{
	{name: "reverse proxy", site: "RT\nreverse_proxy UPSTREAM"},
	{name: "file server", site: "root ROOT\nRT\nreverse_proxy /save UPSTREAM\nfile_server"},
	{name: "not found", site: "RT\n@save2 path /save\nrespond @save2 204\nrespond \"Not Found\" 404"},
	{name: "SPA with try_files", site: "root ROOT\nRT\n@post method POST\nrespond @post 204\ntry_files {path} /index.html\nfile_server"},
	{name: "SPA with rewrite", site: "root ROOT\nRT\n@post method POST\nrespond @post 204\n@spa not file\nrewrite @spa /index.html\nfile_server"},
	{name: "SPA with rewrite of all", site: "root ROOT\nRT\n@post method POST\nrespond @post 204\nrewrite * /index.html\nfile_server"},
	{name: "SPA beside handle", site: "root ROOT\nRT\nhandle /api/* {\nreverse_proxy UPSTREAM\n}\nhandle {\n@post method POST\nrespond @post 204\ntry_files {path} /index.html\nfile_server\n}"},
	{name: "all in handle", site: "root ROOT\nhandle /ws {\nneuroquantum_ws main\n}\nhandle /rt/* {\nneuroquantum_ws_api main\n}\nhandle /console/* {\nneuroquantum_ws_console main\n}\nhandle {\nNOTIFY\nreverse_proxy UPSTREAM\n}"},
	{
		name: "all in handle_path", site: "handle_path /app/* {\nRT\nreverse_proxy UPSTREAM\n}\nhandle {\nrespond 404\n}",
		ws: "/app/ws", api: "/app/rt", save: "/app/save",
	},
	{
		name: "SPA in handle_path", site: "handle_path /app/* {\nroot ROOT\nbasic_auth /ws {\nalice HASH\n}\nbasic_auth /rt/* {\nalice HASH\n}\nRT\n@post method POST\nrespond @post 204\ntry_files {path} /index.html\nfile_server\n}",
		ws: "/app/ws", api: "/app/rt", save: "/app/save", login: true,
	},
	{
		name: "uri strip_prefix", site: "RT\nuri strip_prefix /app\nreverse_proxy UPSTREAM",
		ws: "/app/ws", api: "/app/rt", save: "/app/save",
	},
	{name: "uri strip_prefix and the path before", site: "RT\nuri replace / /v1/ 1\nreverse_proxy UPSTREAM"},
	{name: "PHP", site: "root ROOT\nRT\nreverse_proxy /save UPSTREAM\nphp_fastcgi 127.0.0.1:9\nfile_server"},
	{name: "route", site: "root ROOT\nroute {\nRT\nreverse_proxy /save UPSTREAM\ntry_files {path} /index.html\nfile_server\n}"},
	{name: "route beside", site: "root ROOT\nRT\nroute {\nreverse_proxy /save UPSTREAM\ntry_files {path} /index.html\nfile_server\n}"},
	{name: "rewrite first in a route", site: "root ROOT\nroute {\ntry_files {path} /index.html\nRT\n@post method POST\nrespond @post 204\nfile_server\n}"},
	{name: "basic_auth", site: "basic_auth {\nalice HASH\n}\nRT\nreverse_proxy UPSTREAM", login: true},
	{name: "basic_auth by path", site: "basic_auth /ws {\nalice HASH\n}\nbasic_auth /rt/* {\nalice HASH\n}\nRT\nreverse_proxy UPSTREAM", login: true},
	{
		name:  "basic_auth by path in an SPA",
		site:  "root ROOT\nbasic_auth /ws {\nalice HASH\n}\nbasic_auth /rt/* {\nalice HASH\n}\nRT\n@post method POST\nrespond @post 204\ntry_files {path} /index.html\nfile_server",
		login: true,
	},
	{
		name:  "one basic_auth for several paths in an SPA",
		site:  "root ROOT\n@closed path /ws /rt/*\nbasic_auth @closed {\nalice HASH\n}\nRT\nencode\n@post method POST\nrespond @post 204\ntry_files {path} /index.html\nfile_server",
		login: true,
	},
	{
		name:  "basic_auth for all in a site without files",
		site:  "basic_auth {\nalice HASH\n}\nRT\n@post method POST\nrespond @post 204\nrewrite * /index.html\nrespond ok",
		login: true,
	},
	{name: "forward_auth", site: "forward_auth UPSTREAM {\nuri /verify\ncopy_headers X-User\n}\nRT\nreverse_proxy UPSTREAM", login: true},
	{
		name:  "forward_auth by path in an SPA",
		site:  "root ROOT\n@closed path /ws /rt/*\nforward_auth @closed UPSTREAM {\nuri /verify\ncopy_headers X-User\n}\nRT\n@post method POST\nrespond @post 204\ntry_files {path} /index.html\nfile_server",
		login: true,
	},
	{
		name:  "forward_auth that decides by path in an SPA",
		site:  "root ROOT\nforward_auth UPSTREAM {\nuri /verify-path\ncopy_headers X-User\n}\nRT\n@post method POST\nrespond @post 204\ntry_files {path} /index.html\nfile_server",
		login: true,
	},
	{name: "request_header", site: "request_header -X-User\nrequest_header X-Forwarded-Site main\nRT\nreverse_proxy UPSTREAM"},
	{name: "header and encode", site: "header Strict-Transport-Security max-age=1\nencode zstd gzip\nRT\nreverse_proxy UPSTREAM"},
	{name: "templates", site: "root ROOT\nRT\nreverse_proxy /save UPSTREAM\ntemplates\nfile_server"},
	{name: "redir", site: "redir /old /new\nRT\nreverse_proxy UPSTREAM"},
	{name: "snippet", rest: "(realtime) {\nRT\n}\n", site: "import realtime\nreverse_proxy UPSTREAM"},
	{name: "named route", rest: "&(app) {\nRT\nreverse_proxy UPSTREAM\n}\n", site: "invoke app"},
	{
		name: "named route with a rewrite", rest: "&(app) {\nroot ROOT\ntry_files {path} /index.html\nRT\n@post method POST\nrespond @post 204\nfile_server\n}\n",
		site: "invoke app",
	},
	{
		name: "several sites", site: "RT\nreverse_proxy UPSTREAM",
		rest: "http://other.example, http://third.example {\nRT\nrespond other\n}\n",
	},
	{name: "handle_errors", site: "RT\nreverse_proxy UPSTREAM\nhandle_errors {\nrespond \"{err.status_code}\"\n}"},
	{name: "error for the rest", site: "RT\nroute {\nreverse_proxy /save UPSTREAM\nerror 404\n}"},
	{name: "vars and map", site: "vars a b\nmap {path} {kind} {\n/ws socket\n}\nRT\nreverse_proxy UPSTREAM"},
	{name: "method", site: "RT\nmethod /other GET\nreverse_proxy UPSTREAM"},
}

// upstream is an API behind the sites, which also says who may come in.
func upstream(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		public := r.Header.Get("X-Forwarded-Uri") == "/index.html"
		switch {
		case r.URL.Path == "/verify-path" && public, r.URL.Path != "/verify" && r.URL.Path != "/verify-path":
		case password != "secret":
			w.WriteHeader(http.StatusUnauthorized)
			return
		default:
			w.Header().Set("X-User", "alice")
		}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// TestUsualSites opens a WebSocket, calls the API and publishes an event through each of the usual sites.
func TestUsualSites(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "index.html"), []byte("the page"), 0o600); err != nil {
		t.Fatal(err)
	}
	api := upstream(t)
	_, notify, _ := strings.Cut(realtime, "/console/* main\n")
	fill := strings.NewReplacer("RT", realtime, "NOTIFY", notify, "UPSTREAM", api, "ROOT", root, "HASH", hash)
	for _, test := range usualSites {
		t.Run(test.name, func(t *testing.T) {
			site := sitetest.StartWhole(t, func(address string) string {
				return fill.Replace(test.rest) + "http://" + address + " {\n" + fill.Replace(test.site) + "\n}\n"
			})
			path := func(given, standard string) string {
				if given != "" {
					return given
				}
				return standard
			}
			ws, stats := "ws://"+site.Address+path(test.ws, "/ws"), "http://"+site.Address+path(test.api, "/rt")+"/stats"
			header := http.Header{"X-By": {"ann"}}
			if test.login {
				if status, _ := get(t, http.MethodGet, stats, nil); status != http.StatusUnauthorized {
					t.Errorf("the API answers %d to a request without a login", status)
				}
				if c, response, err := wstest.TryDial(t, ws, wstest.Options{}); err == nil {
					c.Cut()
					t.Error("the WebSocket takes a client without a login")
				} else if response == nil || response.StatusCode != http.StatusUnauthorized {
					t.Errorf("a client without a login gets %v", err)
				}
			}
			r := http.Request{Header: header}
			r.SetBasicAuth("alice", "secret")

			if status, body := get(t, http.MethodGet, stats, header); status != http.StatusOK || !strings.Contains(body, "connections") {
				t.Errorf("the API answers %d %s", status, body)
			}
			console := strings.TrimSuffix(strings.TrimSuffix(stats, "/stats"), "/rt") + "/console/"
			if status, body := get(t, http.MethodGet, console, header); status != http.StatusOK || !strings.Contains(body, "<html") {
				t.Errorf("the console answers %d %.200s", status, body)
			}
			c := wstest.Dial(t, ws, wstest.Options{Header: http.Header{"Authorization": header["Authorization"]}})
			c.Subscribe("saved")
			if status, body := get(t, http.MethodPost, "http://"+site.Address+path(test.save, "/save"), header); status/100 != 2 {
				t.Fatalf("the upstream answers %d %s", status, body)
			}
			if got := c.Next(); got.Text("channel") != "saved" {
				t.Errorf("got %v", got)
			}
			header.Set("Content-Type", "application/json")
			publish := strings.TrimSuffix(stats, "stats") + "publish"
			if status, body := send(t, http.MethodPost, publish, header, `{"channel":"saved","data":"by the API"}`); status != http.StatusOK {
				t.Errorf("the API answers %d %s", status, body)
			}
			if got := c.Next(); got["data"] != "by the API" {
				t.Errorf("got %v", got)
			}
			c.Close()
		})
	}
}

func get(t *testing.T, method, url string, header http.Header) (status int, body string) {
	t.Helper()
	return send(t, method, url, header, "")
}

func send(t *testing.T, method, url string, header http.Header, content string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header.Clone()
	}
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
	return response.StatusCode, string(text)
}

// TestSpecificPathFirst: of several directives the one with the longer path comes first, as Caddy sorts its own, with a rewrite or without.
func TestSpecificPathFirst(t *testing.T) {
	for name, rewrite := range map[string]string{"plain": "", "rewritten": "rewrite * /index.html\n"} {
		t.Run(name, func(t *testing.T) {
			site := sitetest.Start(t, rewrite+"neuroquantum_ws /ws* main\nneuroquantum_ws /ws/admin* admin\nneuroquantum_ws_api /rt/* admin\n")
			for i, path := range []string{"", "/admin"} {
				c := wstest.Dial(t, site.URL()+path, wstest.Options{})
				want := fmt.Sprintf(`"connections":%d`, i)
				if status, body := get(t, http.MethodGet, "http://"+site.Address+"/rt/stats", nil); status != http.StatusOK || !strings.Contains(body, want) {
					t.Errorf("with a client at /ws%s: %d %s", path, status, body)
				}
				c.Close()
			}
		})
	}
}

// TestHiddenRewrite: where it cannot be known which logins a rewritten request has not passed, it is refused and not let in.
func TestHiddenRewrite(t *testing.T) {
	login := "basic_auth /ws {\nalice " + hash + "\n}\n"
	for name, site := range map[string]string{
		"a login after a rewrite in a block": "http://ADDRESS {\nroute {\nroute {\nrewrite * /index.html\n" + login + "}\nneuroquantum_ws /ws main\nrespond ok\n}\n}\n",
		"a route that is invoked after different logins": "&(ws) {\nneuroquantum_ws /ws main\n}\nhttp://ADDRESS {\nhandle /none {\ninvoke ws\n}\nroute {\nrewrite * /index.html\n" +
			login + "invoke ws\n}\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			site := sitetest.StartWhole(t, func(address string) string { return strings.ReplaceAll(site, "ADDRESS", address) })
			if status, body := get(t, http.MethodGet, "http://"+site.Address+"/ws", nil); status != http.StatusInternalServerError {
				t.Errorf("it answers %d %s", status, body)
			}
		})
	}
}
