package neuroquantumws_test

import (
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"

	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// userHeader are the options of a hub whose clients name themselves.
const userHeader = "user {http.request.header.X-User}\n"

// items are the members of a list of objects.
func (a answer) items(name string) (out []M) {
	for _, one := range a.List(name) {
		out = append(out, M(one.(map[string]any)))
	}
	return out
}

func TestAPIConnections(t *testing.T) {
	s := serveSite(t, apiSite+ws(userHeader+"metadata agent {http.request.header.User-Agent}\n"+apiChannels))
	api := s.api("/rt")
	ann, also, bob := s.dialAs("ann"), s.dialAs("ann"), s.dialAs("bob")
	anonymous := s.dial()
	ann.Subscribe("kept/b", "kept/*")
	var ids []string
	for _, c := range []*wstest.Client{ann, also, bob, anonymous} {
		c.Ping()
		ids = append(ids, c.Welcome.Text("connection_id"))
	}
	slices.Sort(ids)
	for limit := 1; limit <= 5; limit++ {
		got := api.pages("/connections?limit="+strconv.Itoa(limit), "connections", "id")
		if !slices.Equal(got, ids) {
			t.Errorf("in pages of %d: %v, want %v", limit, got, ids)
		}
	}
	for query, n := range map[string]int{"user=ann": 2, "user=bob": 1, "user=": 1, "user=nobody": 0, "id=" + ids[2]: 1, "id=x": 0, "id=" + ann.Welcome.Text("connection_id") + "&user=bob": 0} {
		if a := api.get("/connections?" + query).want(200); len(a.items("connections")) != n {
			t.Errorf("%s: %s", query, a.text)
		}
	}
	for _, query := range []string{"limit=0", "cursor=%21", "ip=1"} {
		api.get("/connections?"+query).fails(400, "INVALID_PARAMS")
	}
	one := api.get("/connections/" + ann.Welcome.Text("connection_id")).want(200)
	if one.Text("user") != "ann" || one.Text("address") != "127.0.0.1" || one.Int("subscriptions") != 2 || one.Int("messages_received") != 3 ||
		fmt.Sprint(one.List("channels")) != "[kept/* kept/b]" || len(one.List("streams")) != 0 || one.Int("messages_sent") != 4 ||
		!strings.HasSuffix(one.Text("connected_at"), "Z") || one.M["metadata"] == nil {
		t.Errorf("got %s", one.text)
	}
	api.get("/connections/nobody").fails(404, "NOT_FOUND")
	api.delete("/connections/nobody").fails(404, "NOT_FOUND")
	api.delete("/connections/"+ids[0]+"?reconnect_after_ms=0").fails(400, "INVALID_PARAMS")
	api.delete("/connections/"+ids[0]+"?reconnect_after_ms=3600001").fails(400, "INVALID_PARAMS")

	if a := api.delete("/connections/" + bob.Welcome.Text("connection_id")).want(204); a.text != "" {
		t.Errorf("got %s", a.text)
	}
	if rest, code := bob.Closed(); code != 4100 || len(rest) != 0 {
		t.Errorf("closed with %d after %v", code, rest)
	}
	if a := api.delete("/users/ann?reconnect_after_ms=1500").want(200); a.Int("disconnected") != 2 {
		t.Errorf("got %s", a.text)
	}
	for _, c := range []*wstest.Client{ann, also} {
		rest, code := c.Closed()
		if code != 4100 || len(rest) != 1 || rest[0].Type() != "reconnect" || rest[0].Int("after_ms") != 1500 {
			t.Errorf("closed with %d after %v", code, rest)
		}
	}
	until(anonymous, "they are gone", func() bool { return len(api.get("/connections").items("connections")) == 1 })
	if a := api.delete("/users/a%2Fb%20c").want(200); a.Int("disconnected") != 0 {
		t.Errorf("got %s", a.text)
	}
	api.delete("/users/").fails(404, "NOT_FOUND")
	anonymous.Ping()
}

// TestAPIClosing: a connection that is being closed is there until its client has read that, and says so.
func TestAPIClosing(t *testing.T) {
	s := serveSite(t, apiSite+ws(apiChannels))
	api := s.api("/rt")
	c, other := s.dial(), s.dial()
	path := "/connections?id=" + c.Welcome.Text("connection_id")
	if a := api.get(path).want(200); len(a.items("connections")) != 1 || strings.Contains(a.text, "close_code") {
		t.Errorf("got %s", a.text)
	}
	api.delete("/connections/" + c.Welcome.Text("connection_id")).want(204)
	if a := api.get(path).want(200); len(a.items("connections")) != 1 || a.items("connections")[0].Int("close_code") != 4100 {
		t.Errorf("got %s", a.text)
	}
	// It stays in the list until it is closed, and until then it can be closed again.
	again := "/connections/" + c.Welcome.Text("connection_id")
	if a := api.delete(again); a.status != 204 && a.status != 404 {
		t.Errorf("closing it again: %d %s", a.status, a.text)
	}
	c.Closed()
	until(other, "it is gone", func() bool { return len(api.get(path).items("connections")) == 0 })
	api.delete(again).fails(404, "NOT_FOUND")
}

// apiQuery are the options of a hub with a query that waits for credit.
func apiQuery(t testing.TB) string {
	return "source demo sqlite " + demoDB(t) + "\nquery all {\nsource demo\nsql `select id from readings order by id`\nallow anyone\n}\n"
}

func TestAPIStreams(t *testing.T) {
	s := serveSite(t, apiSite+ws(userHeader+apiQuery(t)))
	api := s.api("/rt")
	if a := api.get("/streams").want(200); a.text != "{\"streams\":[]}\n" {
		t.Errorf("got %s", a.text)
	}
	ann, bob := s.dialAs("ann"), s.dialAs("bob")
	var ids []string
	for _, c := range []*wstest.Client{ann, bob, ann} {
		m := c.AskFor("query_started", M{"type": "stream_query", "query": "all", "batch_size": 1, "credits": 1})
		c.Until("query_batch")
		ids = append(ids, m.Text("stream_id"))
	}
	for _, one := range api.get("/streams").want(200).items("streams") {
		if one.Text("query") != "all" || one.Int("rows_sent") > 1 || !strings.HasSuffix(one.Text("started"), "Z") {
			t.Errorf("got %v", one)
		}
	}
	// The list is ordered by the time of the start in milliseconds, in which several may have started.
	got := api.pages("/streams?limit=2", "streams", "stream_id")
	if !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(ids))) {
		t.Errorf("got %v, want %v", got, ids)
	}
	if a := api.get("/streams?user=bob").want(200); len(a.items("streams")) != 1 || a.items("streams")[0].Text("connection_id") != bob.Welcome.Text("connection_id") {
		t.Errorf("got %s", a.text)
	}
	if one := api.get("/connections/" + bob.Welcome.Text("connection_id")).want(200); fmt.Sprint(one.List("streams")) != "["+ids[1]+"]" {
		t.Errorf("got %s", one.text)
	}
	api.get("/streams?limit=0").fails(400, "INVALID_PARAMS")
	api.delete("/streams/x").fails(404, "INVALID_STREAM_ID")
	api.delete("/streams/"+ann.Welcome.Text("connection_id")).fails(404, "INVALID_STREAM_ID")
	api.delete("/streams/" + ids[1]).want(204)
	if m := bob.Until("query_cancelled"); m.Text("reason") != "operator" || m.Text("stream_id") != ids[1] {
		t.Errorf("got %v", m)
	}
	api.delete("/streams/"+ids[1]).fails(404, "INVALID_STREAM_ID")
	ann.Ping()
}

func TestAPIStatsAndHealth(t *testing.T) {
	s := serveSite(t, apiSite+ws(apiChannels))
	api := s.api("/rt")
	c := s.dial()
	c.Subscribe("kept/a", "plain/b")
	api.post("/publish", `{"channel":"kept/a","data":1}`).want(200)
	c.Expect("channel_message")
	a := api.get("/stats").want(200)
	streams, _ := a.M["streams"].(map[string]any)
	if a.Text("hub") != "default" || a.Int("connections") != 1 || a.Int("subscriptions") != 2 || a.Int("messages_published_total") != 1 ||
		a.Int("offset") != 1 || a.Text("epoch") != c.Welcome.Text("epoch") || M(streams).Int("active") != 0 || M(streams).Int("started") != 0 {
		t.Errorf("got %s", a.text)
	}
	if a := api.get("/health").want(200); a.Text("status") != "ready" {
		t.Errorf("got %s", a.text)
	}
	// A hub that ends is not ready, and takes nothing.
	h := hubOf(t, "default")
	done := make(chan error)
	go func() { done <- h.Close(t.Context()) }()
	c.Closed()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if a := api.get("/health").fails(503, "GOING_AWAY"); a.header.Get("Retry-After") != "5" {
		t.Errorf("got %v", a.header)
	}
	api.post("/publish", `{"channel":"kept/a","data":1}`).fails(503, "GOING_AWAY")
	if a := api.post("/publish", `[{"channel":"kept/a","data":1}]`).want(200); a.Int("failed") != 1 {
		t.Errorf("got %s", a.text)
	}
	api.get("/channels").want(200)
	api.get("/stats").want(200)
}

func TestAPIMethodsAndPaths(t *testing.T) {
	s := serveSite(t, apiSite+ws(apiChannels))
	api := s.api("/rt")
	for path, allow := range map[string]string{
		"/publish": "POST", "/channels": "GET, HEAD", "/channels/a": "GET, HEAD", "/channels/a/history": "GET, HEAD",
		"/channels/a/presence": "GET, HEAD", "/connections": "GET, HEAD", "/connections/a": "DELETE, GET, HEAD", "/users/a": "DELETE",
		"/streams": "GET, HEAD", "/streams/a": "DELETE", "/queries": "GET, HEAD", "/stats": "GET, HEAD", "/health": "GET, HEAD", "/openapi.json": "GET, HEAD",
	} {
		for _, method := range []string{"PUT", "PATCH", "OPTIONS", "GET", "POST", "DELETE"} {
			if strings.Contains(allow, method) {
				continue
			}
			if a := request(t, method, api.base+path, "", nil).fails(405, "METHOD_NOT_ALLOWED"); a.header.Get("Allow") != allow {
				t.Errorf("%s %s: Allow is %q", method, path, a.header.Get("Allow"))
			}
		}
	}
	for _, path := range []string{
		"/", "/nothing", "/stats/", "//stats", "/stats/more", "/channels/a/history/more", "/channels/a/more", "/channels//history", "/%73tats/x",
	} {
		api.get(path).fails(404, "NOT_FOUND")
	}
	head := request(t, http.MethodHead, api.base+"/stats", "", nil).want(200)
	if head.text != "" || head.header.Get("Content-Type") != "application/json" || head.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %v %s", head.header, head.text)
	}
	if a := api.get("/openapi.json").want(200); a.Text("openapi") == "" || !json.Valid([]byte(a.text)) {
		t.Errorf("got %.100s", a.text)
	}
}

// The routes hang under what stands before them, however the site says it.
func TestAPIPrefixes(t *testing.T) {
	for directives, paths := range map[string]string{
		"neuroquantum_ws_api /rt/* default":                                         "/rt/stats /RT/stats /%72t/stats !/stats !/rt/rt/stats",
		"neuroquantum_ws_api /rt/*":                                                 "/rt/stats",
		"neuroquantum_ws_api /rt* default":                                          "/rt/stats !/rtx/stats",
		"neuroquantum_ws_api /streams/*":                                            "/streams/stats",
		"@api path /rt/*\nneuroquantum_ws_api @api":                                 "/rt/stats",
		"@api {\npath /rt/*\nmethod GET\n}\nneuroquantum_ws_api @api":               "/rt/stats",
		"@api path /rt/* /other/*\nneuroquantum_ws_api @api":                        "/rt/stats /other/stats",
		"@api path_regexp ^/v[0-9]+/\nneuroquantum_ws_api @api":                     "/v1/stats /v22/stats",
		"handle_path /rt/* {\nneuroquantum_ws_api default\n}":                       "/rt/stats /rt/channels/kept%2Fa/history",
		"handle /rt/* {\nneuroquantum_ws_api default\n}":                            "/rt/stats /rt/channels/kept%2Fa/history !/rt/x",
		"route /rt/* {\nneuroquantum_ws_api\n}":                                     "/rt/stats",
		"route /rt/* {\nuri strip_prefix /rt\nneuroquantum_ws_api\n}":               "/rt/stats /rt/channels/kept%2Fa/history",
		"route /streams/* {\nneuroquantum_ws_api {\nprefix /streams/\n}\n}":         "/streams/stats",
		"route {\nneuroquantum_ws_api /a/b/* {\nmax_body 10\n}\n}":                  "/a/b/stats",
		"neuroquantum_ws_api /stats":                                                "/stats",
		"neuroquantum_ws_api /rt/* {\nprefix /rt/api%20v1\n}":                       "/rt/api%20v1/stats !/rt/stats",
		"neuroquantum_ws_api /rt/*\nneuroquantum_ws_api /more/* {\nprefix /more\n}": "/rt/stats /more/stats",
	} {
		t.Run("", func(t *testing.T) {
			s := serveSite(t, directives+"\n"+ws(apiChannels))
			for path := range strings.FieldsSeq(paths) {
				path, missing := strings.CutPrefix(path, "!")
				a := request(t, http.MethodGet, "http://"+s.address+path, "", nil)
				ours := strings.HasPrefix(a.header.Get("Content-Type"), "application/json") && a.status == 200
				if ours == missing {
					t.Errorf("%s: %s gave %d %s", directives, path, a.status, a.text)
				}
			}
		})
	}
}

func TestAPIBodyLimit(t *testing.T) {
	s := serveSite(t, "neuroquantum_ws_api /rt/* {\nmax_body 100B\n}\n"+ws(apiChannels))
	api := s.api("/rt")
	body := `{"channel":"kept/a","data":"` + strings.Repeat("x", 70) + `"}`
	api.post("/publish", body).want(200)
	api.post("/publish", body+" ").fails(413, "LIMIT_EXCEEDED")
}

// adminSite is a site with an admin endpoint.
func adminSite(t testing.TB, directives string) (s *site, admin apiOf, load func(directives string) error) {
	t.Helper()
	address := freeAddress(t)
	s = serveSite(t, ws(apiChannels))
	load = func(directives string) error {
		config, err := adapt(strings.Replace(s.wrap(directives), "admin off", "admin "+address, 1))
		if err != nil {
			return err
		}
		return sitetest.Load(config, s.address)
	}
	if err := load(directives); err != nil {
		t.Fatal(err)
	}
	// Stopping Caddy leaves its admin endpoint; a configuration without one ends it.
	t.Cleanup(func() {
		if err := s.load("respond ok"); err != nil {
			t.Errorf("ending the admin endpoint: %v", err)
		}
	})
	return s, apiOf{t, "http://" + address + "/neuroquantum_ws"}, load
}

func TestAPIOnAdminEndpoint(t *testing.T) {
	s, admin, load := adminSite(t, ws(apiChannels)+"neuroquantum_ws /other {\nhub a/b\n}\n")
	c := s.dial()
	c.Subscribe("kept/a")
	admin.post("/default/publish", `{"channel":"kept/a","data":1}`).want(200)
	c.Expect("channel_message")
	if a := admin.get("/default/channels/kept%2Fa").want(200); a.Int("subscribers") != 1 {
		t.Errorf("got %s", a.text)
	}
	if a := admin.get("/a%2Fb/stats").want(200); a.Text("hub") != "a/b" {
		t.Errorf("got %s", a.text)
	}
	admin.get("/nothing/stats").fails(404, "NOT_FOUND")
	admin.get("/default/nothing").fails(404, "NOT_FOUND")
	admin.get("/default").fails(404, "NOT_FOUND")
	admin.get("/").fails(404, "NOT_FOUND")
	admin.delete("/default/stats").fails(405, "METHOD_NOT_ALLOWED")
	// Pages of other sites stay out, as the endpoint has it.
	if a := request(t, http.MethodGet, admin.base+"/default/stats", "", http.Header{"Origin": {"https://evil.example"}}); a.status != http.StatusForbidden {
		t.Errorf("got %d %s", a.status, a.text)
	}
	for range 3 {
		if err := load(ws(apiChannels)); err != nil {
			t.Fatal(err)
		}
		if a := admin.get("/default/stats").want(200); a.Int("connections") != 1 || a.Int("messages_published_total") != 1 {
			t.Errorf("got %s", a.text)
		}
	}
	admin.get("/a%2Fb/stats").fails(404, "NOT_FOUND")
	if err := load("respond ok"); err != nil {
		t.Fatal(err)
	}
	if _, code := c.Closed(); code != 1001 {
		t.Errorf("closed with %d", code)
	}
	admin.get("/default/health").fails(404, "NOT_FOUND")
}

func TestAPIAcrossReloads(t *testing.T) {
	s := serveSite(t, apiSite+ws(apiChannels))
	api := s.api("/rt")
	c := s.dial()
	c.Subscribe("kept/a")
	for i := range 5 {
		api.post("/publish", `{"channel":"kept/a","data":1}`).want(200)
		c.Expect("channel_message")
		s.reload(fmt.Sprintf("header X-Try %d\n", i) + apiSite + ws(apiChannels))
	}
	if a := api.get("/stats").want(200); a.Int("messages_published_total") != 5 {
		t.Errorf("got %s", a.text)
	}
	if err := s.load("neuroquantum_ws_api /rt/* nowhere\n" + ws("")); err == nil || !strings.Contains(err.Error(), "neuroquantum_ws_api: no neuroquantum_ws") {
		t.Errorf("got %v", err)
	}
	api.get("/stats").want(200)
	s.reload("respond ok")
	if _, code := c.Closed(); code != 1001 || instance.Find("default") != nil {
		t.Errorf("closed with %d", code)
	}
}

func TestBadAPIIsRefused(t *testing.T) {
	for directive, words := range map[string]string{
		"neuroquantum_ws_api a b":                        "arguments",
		"neuroquantum_ws_api {\nprefix\n}":               "arguments",
		"neuroquantum_ws_api {\nprefix rt\n}":            "prefix rt",
		"neuroquantum_ws_api {\nprefix /rt/*\n}":         "prefix",
		"neuroquantum_ws_api {\nprefix /%zz\n}":          "prefix encoded",
		"neuroquantum_ws_api {\nprefix /a\nprefix /b\n}": "twice",
		"neuroquantum_ws_api {\nmax_body none\n}":        "max_body size",
		"neuroquantum_ws_api {\nlogin x\n}":              "unknown login",
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
	s := &site{t: t, address: freeAddress(t)}
	for _, options := range []string{`{"prefix":"rt"}`, `{"max_body":-1}`, `{"hub":"nowhere"}`, `{"login":1}`} {
		config := strings.Replace(string(withHandler(t, s.address, options)), `"handler":"neuroquantum_ws"`, `"handler":"neuroquantum_ws_api"`, 1)
		if err := caddy.Load([]byte(config), true); err == nil {
			_ = caddy.Stop()
			t.Errorf("%s is accepted", options)
		}
	}
}
