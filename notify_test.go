package neuroquantumws_test

import (
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"

	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// standIn stands in for a database's API: it answers with the status that the path names, and gives the body back.
func standIn(t testing.TB, address string) {
	t.Helper()
	listen(t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the API reads: %v", err)
		}
		w.Header().Set("X-Table", r.Header.Get("X-Want-Table"))
		status := 0
		if n, err := fmt.Sscanf(r.URL.Path, "/api/%d", &status); n == 1 && err == nil {
			w.WriteHeader(status)
		}
		if status != http.StatusNoContent {
			w.Write(body)
		}
	}))
}

// listen serves HTTP at an address, from a moment after the site has started, so that it ends before it.
func listen(t testing.TB, address string, handler http.Handler) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
}

// notified starts a site whose writes become events, and its API.
func notified(t testing.TB, channel, data string) *site {
	t.Helper()
	api := freeAddress(t)
	s := serveSite(t, notifying(api, channel, data))
	standIn(t, api)
	return s
}

// notifying are the directives of a site whose writes become events.
func notifying(api, channel, data string) string {
	return fmt.Sprintf("neuroquantum_ws_notify /api/* default {\nchannel %s\ndata `%s`\n}\nreverse_proxy /api/* %s\n", channel, data, api) +
		ws("channel db.** {\nhistory 100\n"+anyone+"\n}")
}

// post makes a request to the site and gives the answer.
func (s *site) post(path, body string, header http.Header) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response, string(answer)
}

const (
	written = `{"op":"{nq.operation}","table":"{nq.table}"}`
	marker  = `{"query":"update marker set a = 1"}`
)

func TestNotifyOfWrites(t *testing.T) {
	s := notified(t, "db.{nq.table}.changes", written)
	c := s.dial()
	c.Subscribe("db.**")
	long := strings.Repeat("x", 1<<20)
	for _, test := range []struct {
		name, path, body string
		header           http.Header
		want             string // channel and data; empty: no event
	}{
		{"insert", "/api/200", `{"query":"INSERT INTO Orders VALUES (1, 'a;b')"}`, nil, "db.orders.changes insert orders"},
		{"update", "/api/201", ` {"a":[{"query":1}], "query":"update orders set a = 1;" } `, nil, "db.orders.changes update orders"},
		{"delete", "/api/204", `{"query":"delete from \"public\".\"Or\u00e4\""}`, nil, "db.Orä.changes delete Orä"},
		{"1 MiB", "/api/200", `{"query":"delete from a where b = '` + long[:1<<20-40] + `'"}`, nil, "db.a.changes delete a"},
		{"without status", "/api/x", `{"query":"delete from a"}`, nil, "db.a.changes delete a"},
		{"failed", "/api/500", `{"query":"delete from a"}`, nil, ""},
		{"refused", "/api/403", `{"query":"delete from a"}`, nil, ""},
		{"moved", "/api/302", `{"query":"delete from a"}`, nil, ""},
		{"a read", "/api/200", `{"query":"select * from a"}`, nil, ""},
		{"several", "/api/200", `{"query":"delete from a; delete from b"}`, nil, ""},
		{"another channel", "/api/200", `{"query":"delete from \"a.b\""}`, nil, ""},
		{"no query", "/api/200", `{"sql":"delete from a"}`, nil, ""},
		{"two queries", "/api/200", `{"query":"delete from a","query":"delete from b"}`, nil, ""},
		{"no text", "/api/200", `{"query":["delete from a"]}`, nil, ""},
		{"an array", "/api/200", `["query","delete from a"]`, nil, ""},
		{"more behind", "/api/200", `{"query":"delete from a"}{}`, nil, ""},
		{"cut", "/api/200", `{"query":"delete from a"`, nil, ""},
		{"empty", "/api/200", ``, nil, ""},
		{"encoded", "/api/200", `{"query":"delete from a"}`, http.Header{"Content-Encoding": {"x"}}, ""},
		{"over 1 MiB", "/api/200", `{"query":"delete from a where b = '` + long + `'"}`, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := s.in(t)
			response, answer := s.post(test.path, test.body, test.header)
			if answer != test.body && response.StatusCode != http.StatusNoContent {
				t.Errorf("%s, and the body came to the API as %.100q", response.Status, answer)
			}
			if test.want != "" {
				m := c.Expect("channel_message")
				data, _ := m["data"].(map[string]any)
				if got := fmt.Sprint(m["channel"], " ", data["op"], " ", data["table"]); got != test.want {
					t.Errorf("got %s", got)
				}
				return
			}
			s.post("/api/200", marker, nil)
			if m := c.Expect("channel_message"); m.Text("channel") != "db.marker.changes" {
				t.Errorf("got %v", m)
			}
		})
	}
}

// A body of unknown length is passed on as it comes.
func TestNotifyOfChunkedBody(t *testing.T) {
	s := notified(t, "db.{nq.table}", written)
	c := s.dial()
	c.Subscribe("db.**")
	for _, filler := range []int{0, 2 << 20} {
		body := `{"query":"delete from t` + fmt.Sprint(filler) + `"` + strings.Repeat(" ", filler) + `}`
		request, err := http.NewRequest(http.MethodPost, "http://"+s.address+"/api/200", io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(response.Body); err != nil || string(answer) != body {
			t.Errorf("%d bytes came to the API, %v", len(answer), err)
		}
		response.Body.Close()
	}
	s.post("/api/200", marker, nil)
	if a, b := c.Expect("channel_message"), c.Expect("channel_message"); a.Text("channel") != "db.t0" || b.Text("channel") != "db.marker" {
		t.Errorf("got %v, %v", a, b)
	}
}

func TestNotifyPlaceholders(t *testing.T) {
	s := notified(t, "db.{http.reverse_proxy.header.X-Table}",
		`{"table": "{http.response.header.X-Table}", "by": "{http.request.header.X-By}", "n": {http.request.header.X-N},
			"method": "{http.request.method}", "none": "{http.request.header.None}{nothing}",
			"all": "{http.request.header.X-By}{http.request.header.X-By}{http.request.header.X-By}{http.request.header.X-By}"}`)
	c := s.dial()
	c.Subscribe("db.**")
	ask := func(table, by, n string) {
		t.Helper()
		if r, _ := s.post("/api/200", "anything", http.Header{"X-Want-Table": {table}, "X-By": {by}, "X-N": {n}}); r.StatusCode != http.StatusOK {
			t.Errorf("got %s", r.Status)
		}
	}
	ask("a-b", `"},"x":{"\u0041\`, "-1.5e3")
	m := c.Expect("channel_message")
	data, _ := m["data"].(map[string]any)
	if m.Text("channel") != "db.a-b" || len(data) != 6 || data["table"] != "a-b" || data["by"] != `"},"x":{"\u0041\` ||
		data["n"] != -1500.0 || data["method"] != "POST" || data["none"] != "" {
		t.Errorf("got %v", m)
	}
	for _, wrong := range []string{"", "x", `"x"`, "1,2", `1,"x":2`, "{}", "[1]", "NaN", "1 2", "01"} {
		ask("a", "b", wrong)
	}
	for _, wrong := range []string{"", "a.b", "a/b", "..", "a..b", "a b", "*", "x.**", strings.Repeat("a", 300)} {
		ask(wrong, "b", "1")
	}
	ask("a", strings.Repeat(`"`, 10_000), "1")
	for _, right := range []string{"0", "true", "null"} {
		ask("end", "b", right)
		if m := c.Expect("channel_message"); m.Text("channel") != "db.end" || rowText([]any{m["data"].(map[string]any)["n"]}) != "["+right+"]" {
			t.Errorf("got %v", m)
		}
	}
}

// What the hub does not take costs the event and nothing else.
func TestNotifyWhatCannotBePublished(t *testing.T) {
	s := notified(t, "{http.request.header.X-Channel}.end", "1")
	c := s.dial()
	c.Subscribe("db.**")
	for _, channel := range []string{"closed", "$sys", "db"} {
		if r, answer := s.post("/api/200", "body", http.Header{"X-Channel": {channel}}); r.StatusCode != http.StatusOK || answer != "body" {
			t.Errorf("got %s %s", r.Status, answer)
		}
	}
	if m := c.Expect("channel_message"); m.Text("channel") != "db.end" {
		t.Errorf("got %v", m)
	}
}

// The handler may stand anywhere in the configuration, also before the hub's own, and goes on after reloads.
func TestNotifyAcrossReloads(t *testing.T) {
	api := freeAddress(t)
	first := "route /first/* {\nneuroquantum_ws_notify default {\nchannel db.first\ndata 1\n}\nrespond ok\n}\n"
	s := serveSite(t, first+notifying(api, "db.{nq.table}", written))
	standIn(t, api)
	c := s.dial()
	c.Subscribe("db.**")
	for i := range 5 {
		s.post("/first/", "", nil)
		if m := c.Expect("channel_message"); m.Text("channel") != "db.first" {
			t.Errorf("got %v", m)
		}
		s.post("/api/200", marker, nil)
		if m := c.Expect("channel_message"); m.Text("channel") != "db.marker" {
			t.Errorf("got %v", m)
		}
		s.reload(fmt.Sprintf("header X-Try %d\n", i) + first + notifying(api, "db.{nq.table}", written))
	}
	// A hub that is not there refuses the configuration, and the one in force stays.
	for _, bad := range []string{
		strings.ReplaceAll(notifying(api, "db.a", "1"), "/api/* default", "/api/* nowhere"),
		strings.ReplaceAll(notifying(api, "db.a", "1"), "/ws {", "/ws {\nhub another"),
	} {
		if err := s.load(bad); err == nil || !strings.Contains(err.Error(), "neuroquantum_ws_notify: no neuroquantum_ws") {
			t.Errorf("got %v", err)
		}
	}
	s.post("/api/200", marker, nil)
	c.Expect("channel_message")
	if instance.Find("another") != nil {
		t.Error("the hub of a configuration that failed lives on")
	}
	// With its last neuroquantum_ws the hub goes, whoever published to it.
	s.reload("respond ok")
	if _, code := c.Closed(); code != 1001 || instance.Find("default") != nil {
		t.Errorf("closed with %d", code)
	}
}

// Requests that are answered while the configuration changes all become events.
func TestNotifyLosesNothingInReloads(t *testing.T) {
	api := freeAddress(t)
	directives := notifying(api, "db.{nq.table}", "1")
	s := serveSite(t, directives)
	standIn(t, api)
	c := s.dial()
	c.Subscribe("db.**")
	const requests = 100
	answered := make(chan string, requests)
	go func() {
		defer close(answered)
		for i := range requests {
			table := fmt.Sprint("t", i)
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			r, err := client.Post("http://"+s.address+"/api/200", "", strings.NewReader(`{"query":"delete from `+table+`"}`))
			if err != nil {
				continue // it came just as its server ended
			}
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				answered <- table
			}
		}
	}()
	want := make(map[string]bool)
	for i, running := 0, true; running; i++ {
		s.reload(fmt.Sprintf("header X-Try %d\n", i) + directives)
		for more := true; more && running; {
			select {
			case table, open := <-answered:
				if running = open; open {
					want["db."+table] = true
				}
			default:
				more = false
			}
		}
	}
	if len(want) < requests/2 {
		t.Errorf("only %d requests were answered", len(want))
	}
	s.post("/api/200", marker, nil)
	want["db.marker"] = true
	for len(want) > 0 {
		m, err := c.Read()
		if err != nil {
			t.Fatalf("without the events %v: %v", want, err)
		}
		delete(want, m.Text("channel"))
	}
}

// The response goes through as it is written: parts at once, trailers behind, upgrades as connections.
func TestNotifyLeavesTheResponseAlone(t *testing.T) {
	address, proceed := freeAddress(t), make(chan struct{})
	s := serveSite(t, "neuroquantum_ws_notify /api/* default {\nchannel db.event\ndata 1\n}\n"+
		"reverse_proxy /api/* {\nto "+address+"\nflush_interval -1\n}\n"+ws(""))
	listen(t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/upgrade" {
			conn, buffered, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			line, _ := buffered.ReadString('\n')
			io.WriteString(conn, line)
			return
		}
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "first\n")
		http.NewResponseController(w).Flush()
		<-proceed
		io.WriteString(w, "second\n")
		w.Header().Set("X-Sum", "2")
	}))
	c := s.dial()
	c.Subscribe("db.**")

	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /api/upgrade HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", s.address)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", response, err)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := reader.ReadString('\n'); line != "hello\n" {
		t.Errorf("got %q, %v", line, err)
	}

	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(must(http.NewRequest(http.MethodGet, "http://"+s.address+"/api/", nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	first := make([]byte, len("first\n"))
	if _, err := io.ReadFull(answer.Body, first); err != nil || string(first) != "first\n" {
		t.Errorf("got %q, %v", first, err)
	}
	if n := c.Backlog(); n != 0 {
		t.Errorf("%d events before the response's end", n)
	}
	close(proceed)
	if rest, err := io.ReadAll(answer.Body); err != nil || !bytes.Equal(rest, []byte("second\n")) || answer.Trailer.Get("X-Sum") != "2" {
		t.Errorf("got %q, %v, trailers %v", rest, err, answer.Trailer)
	}
	// One event, that of the last request.
	c.Expect("channel_message")
	c.Ping()
	if n := c.Backlog(); n != 0 {
		t.Errorf("%d more events", n)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestBadNotifyIsRefused(t *testing.T) {
	for directive, words := range map[string]string{
		"neuroquantum_ws_notify {\nchannel a\ndata 1\n}":                              "arguments",
		"neuroquantum_ws_notify a b {\nchannel a\ndata 1\n}":                          "arguments",
		"neuroquantum_ws_notify main":                                                 "channel data",
		"neuroquantum_ws_notify main {\nchannel a\n}":                                 "channel data",
		"neuroquantum_ws_notify main {\ndata 1\n}":                                    "channel data",
		"neuroquantum_ws_notify main {\nchannel a\nchannel b\ndata 1\n}":              "channel twice",
		"neuroquantum_ws_notify main {\nchannel a b\ndata 1\n}":                       "channel",
		"neuroquantum_ws_notify main {\nchannel a..b\ndata 1\n}":                      "a..b",
		"neuroquantum_ws_notify main {\nchannel a.*\ndata 1\n}":                       "a.*",
		"neuroquantum_ws_notify main {\nchannel $sys.{nq.table}\ndata 1\n}":           "$",
		"neuroquantum_ws_notify main {\nchannel `a.{`\ndata 1\n}":                     "brace",
		"neuroquantum_ws_notify {env.HUB} {\nchannel a\ndata 1\n}":                    "{env.HUB} placeholders",
		"neuroquantum_ws_notify main {\nchannel users.{claim.sub}\ndata 1\n}":         "claim.sub",
		"neuroquantum_ws_notify main {\nchannel {nq.tabel}\ndata 1\n}":                "nq.tabel",
		"neuroquantum_ws_notify main {\nchannel a\ndata `{\"a\":}`\n}":                "data",
		"neuroquantum_ws_notify main {\nchannel a\ndata `{\"a\":{nq.table}}`\n}":      "nq.table quotes",
		"neuroquantum_ws_notify main {\nchannel a\ndata `{\"a\":\"{nq.table}`\n}":     "data",
		"neuroquantum_ws_notify main {\nchannel a\ndata text\n}":                      "data",
		"neuroquantum_ws_notify main {\nchannel a\ndata `{\"a\":1,\"a\":2}`\n}":       "data",
		"neuroquantum_ws_notify main {\nchannel a\ndata 1\nretries 3\n}":              "unknown retries",
		"neuroquantum_ws_notify main {\nchannel a\ndata 1\n}\nneuroquantum_ws_notify": "arguments",
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
	for _, options := range []string{
		`{}`, `{"hub":"default","channel":"a"}`, `{"hub":"default","data":"1"}`, `{"hub":"default","channel":"a.*","data":"1"}`,
		`{"hub":"default","channel":"a","data":"{"}`, `{"hub":"default","channel":"a","data":"1"}`, `{"hub":"default","channel":"a","data":"1","x":1}`,
		`{"hub":"default","channel":"a","data":"\"{env.NQ_TEST_UNSET}\""}`,
	} {
		config := bytes.Replace(withHandler(t, s.address, options), []byte(`"handler":"neuroquantum_ws"`), []byte(`"handler":"neuroquantum_ws_notify"`), 1)
		if err := caddy.Load(config, true); err == nil {
			_ = caddy.Stop()
			t.Errorf("%s is accepted", options)
		}
	}
}

func TestNotifyOrder(t *testing.T) {
	// Without a route, the directives have the order request_header, ws, notify, respond, reverse_proxy.
	config, err := adapt(":0 {\nreverse_proxy a:1\nrequest_header X-A b\nrespond /no 404\nneuroquantum_ws_notify default {\nchannel a\ndata 1\n}\nneuroquantum_ws /ws\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, handler := range []string{"headers", "neuroquantum_ws", "neuroquantum_ws_notify", "static_response", "reverse_proxy"} {
		next := bytes.Index(config, []byte(`"handler":"`+handler+`"`))
		if next <= at {
			t.Errorf("%s stands at %d, behind %d: %s", handler, next, at, config)
		}
		at = next
	}
}
