package neuroquantumws_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// answer is what the API answered.
type answer struct {
	M      // empty where there was no JSON object
	t      testing.TB
	status int
	header http.Header
	text   string
}

// request makes a request of the API. A body is JSON.
func request(t testing.TB, method, url, body string, header http.Header) answer {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, reader)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{t: t, status: response.StatusCode, header: response.Header, text: string(text)}
	if len(text) > 0 {
		json.Unmarshal(text, &a.M)
	}
	return a
}

// api is the API of a site.
type apiOf struct {
	t    testing.TB
	base string
}

func (s *site) api(prefix string) apiOf { return apiOf{s.t, "http://" + s.address + prefix} }

func (a apiOf) get(path string) answer {
	a.t.Helper()
	return request(a.t, http.MethodGet, a.base+path, "", nil)
}
func (a apiOf) delete(path string) answer {
	a.t.Helper()
	return request(a.t, http.MethodDelete, a.base+path, "", nil)
}
func (a apiOf) post(path, body string) answer {
	a.t.Helper()
	return request(a.t, http.MethodPost, a.base+path, body, nil)
}

// pages gives a member of each entry of a list, page by page.
func (a apiOf) pages(path, list, member string) (all []string) {
	a.t.Helper()
	for query := ""; ; {
		page := a.get(path + query).want(200)
		for _, entry := range page.items(list) {
			all = append(all, entry.Text(member))
		}
		if !page.Has("cursor") {
			return all
		}
		if query = "&cursor=" + page.Text("cursor"); len(all) > 100 {
			a.t.Fatalf("%s has no end: %v", path, all)
		}
	}
}

// want checks the status of an answer that is no problem.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("got %d %s, want %d", a.status, a.text, status)
	}
	return a
}

// fails checks that an answer is a problem of this status and code.
func (a answer) fails(status int, code string) answer {
	a.t.Helper()
	if a.status != status || a.Text("code") != code || a.Int("status") != status || a.Text("title") != http.StatusText(status) ||
		a.Text("type") != "about:blank" || a.Text("detail") == "" || a.header.Get("Content-Type") != "application/problem+json" ||
		a.header.Get("Cache-Control") != "no-store" {
		a.t.Errorf("got %d %v %s, want %d %s", a.status, a.header, a.text, status, code)
	}
	return a
}

const apiSite = "neuroquantum_ws_api /rt/*\n"

// apiChannels are the options of a hub for tests of the API.
const apiChannels = "channel kept/** {\nhistory 100\npresence\n" + anyone + "\n}\nchannel plain/** {\nallow subscribe anyone\n}\n"

func TestAPIPublish(t *testing.T) {
	s := serveSite(t, apiSite+ws(apiChannels))
	api := s.api("/rt")
	c := s.dial()
	c.Subscribe("kept/**")
	c.Subscribe("plain/**")
	first := api.post("/publish", "{\"channel\":\"kept/a\",\n \"data\":{\"n\":\n 1}, \"key\":\"k1\"}").want(200)
	if first.Text("channel") != "kept/a" || first.Int("offset") < 1 || first.Text("epoch") != c.Welcome.Text("epoch") || first.Has("duplicate") {
		t.Errorf("got %s", first.text)
	}
	if m := c.Expect("channel_message"); m.Text("channel") != "kept/a" || m.Int("offset") != first.Int("offset") {
		t.Errorf("got %v", m)
	}
	again := api.post("/publish", `{"channel":"kept/a","data":2,"key":"k1"}`).want(200)
	if !again.Bool("duplicate") || again.Int("offset") != first.Int("offset") {
		t.Errorf("got %s", again.text)
	}
	byHeader := func(key, body string) answer {
		return request(t, http.MethodPost, api.base+"/publish", body, http.Header{"Idempotency-Key": {key}})
	}
	for i, key := range []string{"h1", `"h1"`, "k1"} {
		if a := byHeader(key, `{"channel":"kept/a","data":3}`).want(200); a.Bool("duplicate") != (i > 0) {
			t.Errorf("%s: got %s", key, a.text)
		}
	}
	if a := byHeader("h2", `{"channel":"kept/a","data":3,"key":"h2"}`).want(200); a.Bool("duplicate") {
		t.Errorf("got %s", a.text)
	}
	// A channel that no client may publish to, and that keeps nothing.
	if a := api.post("/publish", `{"channel":"plain/x","data":null}`).want(200); a.Has("offset") || a.Has("epoch") {
		t.Errorf("got %s", a.text)
	}
	for _, want := range []string{"kept/a", "kept/a", "plain/x"} {
		if m := c.Expect("channel_message"); m.Text("channel") != want {
			t.Errorf("got %v, want %s", m, want)
		}
	}
	for _, test := range []struct {
		body, code string
		status     int
	}{
		{`{"channel":"other","data":1}`, "FORBIDDEN", 403},
		{`{"channel":"$sys/a","data":1}`, "FORBIDDEN", 403},
		{`{"channel":"kept//a","data":1}`, "INVALID_CHANNEL", 400},
		{`{"channel":"kept/*","data":1}`, "INVALID_CHANNEL", 400},
		{`{"channel":"kept/a"}`, "INVALID_MESSAGE", 400},
		{`{"data":1}`, "INVALID_MESSAGE", 400},
		{`{"channel":"kept/a","data":1}{}`, "INVALID_MESSAGE", 400},
		{`{"channel":"kept/a","data":1,"key":""}`, "INVALID_MESSAGE", 400},
		{`{"channel":"kept/a","data":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, "INVALID_MESSAGE", 400},
		{"{\"channel\":\"kept/a\",\"data\":\"\xff\"}", "INVALID_MESSAGE", 400},
		{`hello`, "INVALID_MESSAGE", 400},
		{`[]`, "INVALID_MESSAGE", 400},
		{`[` + strings.Repeat(`{},`, 1000) + `{}]`, "LIMIT_EXCEEDED", 413},
		{`{"channel":"kept/a","data":"` + strings.Repeat("x", 1<<20) + `"}`, "LIMIT_EXCEEDED", 413},
	} {
		if a := api.post("/publish", test.body).fails(test.status, test.code); strings.Contains(a.text, "xxxx") {
			t.Errorf("it quotes: %s", a.text)
		}
	}
	for _, key := range []string{"", `"a`, `"`, `a"b"`, `"a\b"`, strings.Repeat("x", 129)} {
		if key != `a"b"` {
			byHeader(key, `{"channel":"kept/a","data":1}`).fails(400, "INVALID_MESSAGE")
		}
	}
	byHeader("x", `{"channel":"kept/a","data":1,"key":"y"}`).fails(400, "INVALID_MESSAGE")
	byHeader("x", `[{"channel":"kept/a","data":1}]`).fails(400, "INVALID_MESSAGE")
	request(t, http.MethodPost, api.base+"/publish", `{"channel":"kept/a","data":1}`,
		http.Header{"Idempotency-Key": {"a", "b"}}).fails(400, "INVALID_MESSAGE")
	for _, header := range []http.Header{
		{"Content-Type": {"text/plain"}}, {"Content-Type": {""}}, {"Content-Type": {"application/json; charset=latin1"}},
		{"Content-Encoding": {"gzip"}}, {"Content-Type": {"application/x-www-form-urlencoded"}},
	} {
		request(t, http.MethodPost, api.base+"/publish", `{"channel":"kept/a","data":1}`, header).fails(415, "UNSUPPORTED_MEDIA_TYPE")
	}
	c.Ping()
	if n := c.Backlog(); n != 0 {
		t.Errorf("%d messages of what was refused", n)
	}
	request(t, http.MethodPost, api.base+"/publish", `{"channel":"kept/a","data":1}`,
		http.Header{"Content-Type": {"application/json; charset=UTF-8"}}).want(200)
}

func TestAPIBatch(t *testing.T) {
	s := serveSite(t, apiSite+ws(apiChannels))
	api := s.api("/rt")
	c := s.dial()
	c.Subscribe("kept/**")
	a := api.post("/publish", `[{"channel":"kept/a","data":1},{"channel":"other","data":1},{"channel":"kept/b","data":2,"key":"x"},7,
		{"channel":"kept/b","data":2,"key":"x"}]`).want(200)
	results := a.List("results")
	if len(results) != 5 || a.Int("failed") != 2 {
		t.Fatalf("got %s", a.text)
	}
	at := func(i int) M { return M(results[i].(map[string]any)) }
	problem := func(i int) M { m, _ := at(i)["error"].(map[string]any); return m }
	if at(0).Int("offset") < 1 || at(2).Int("offset") <= at(0).Int("offset") || !at(4).Bool("duplicate") || at(4).Int("offset") != at(2).Int("offset") {
		t.Errorf("got %s", a.text)
	}
	if p := problem(1); p.Text("code") != "FORBIDDEN" || p.Int("status") != 403 || p.Text("title") == "" || at(1).Has("channel") {
		t.Errorf("got %v", at(1))
	}
	if p := problem(3); p.Text("code") != "INVALID_MESSAGE" {
		t.Errorf("got %v", at(3))
	}
	for _, want := range []string{"kept/a", "kept/b"} {
		if m := c.Expect("channel_message"); m.Text("channel") != want {
			t.Errorf("got %v", m)
		}
	}
	full := `[` + strings.Repeat(`{"channel":"kept/c","data":1},`, 999) + `{"channel":"kept/c","data":1}]`
	if a := api.post("/publish", full).want(200); len(a.List("results")) != 1000 || a.Int("failed") != 0 {
		t.Errorf("got %.200s", a.text)
	}
}

func TestAPIChannels(t *testing.T) {
	s := serveSite(t, apiSite+ws(apiChannels))
	api := s.api("/rt")
	if a := api.get("/channels").want(200); a.text != "{\"channels\":[]}\n" {
		t.Errorf("got %s", a.text)
	}
	c := s.dial()
	c.Subscribe("plain/one")
	c.Subscribe("kept/n3")
	c.Subscribe("kept/*")
	for i := range 5 {
		api.post("/publish", fmt.Sprintf(`[{"channel":"kept/n%d","data":1},{"channel":"kept/n%d","data":{"ü":"/"}}]`, i, i)).want(200)
	}
	// Pages add up to the whole, whatever their size.
	all := []string{"kept/n0", "kept/n1", "kept/n2", "kept/n3", "kept/n4", "plain/one"}
	for limit := 1; limit <= 7; limit++ {
		got := api.pages("/channels?limit="+strconv.Itoa(limit), "channels", "channel")
		if strings.Join(got, " ") != strings.Join(all, " ") {
			t.Errorf("in pages of %d: %v", limit, got)
		}
	}
	if a := api.get("/channels?pattern=" + url.QueryEscape("kept/*") + "&limit=1000").want(200); len(a.List("channels")) != 5 || a.Has("cursor") {
		t.Errorf("got %s", a.text)
	}
	for query, code := range map[string]string{
		"limit=0": "INVALID_PARAMS", "limit=1001": "INVALID_PARAMS", "limit=x": "INVALID_PARAMS", "limit=1&limit=2": "INVALID_PARAMS",
		"cursor=%21": "INVALID_PARAMS", "cursor=A": "INVALID_PARAMS", "patern=a": "INVALID_PARAMS", "a=%zz": "INVALID_PARAMS",
		"pattern=": "INVALID_CHANNEL", "pattern=a*": "INVALID_CHANNEL", "pattern=a//b": "INVALID_CHANNEL",
	} {
		api.get("/channels?"+query).fails(400, code)
	}
	one := api.get("/channels/kept%2Fn3").want(200)
	if one.Text("channel") != "kept/n3" || one.Int("subscribers") != 1 || one.Int("messages_published") != 2 || one.Int("history_messages") != 2 ||
		one.Int("offset") < 1 || !strings.HasSuffix(one.Text("published_at"), "Z") {
		t.Errorf("got %s", one.text)
	}
	api.get("/channels/kept%2fn3").want(200)
	api.get("/channels/kept%2Fnone").fails(404, "NOT_FOUND")
	api.get("/channels/kept/n3").fails(404, "NOT_FOUND")
	api.get("/channels/kept%2F*").fails(400, "INVALID_CHANNEL")
	api.get("/channels/%FF").fails(400, "INVALID_CHANNEL")
	api.get("/channels/").fails(404, "NOT_FOUND")
	if a := api.get("/channels?pattern=" + url.QueryEscape("none/**")).want(200); len(a.List("channels")) != 0 {
		t.Errorf("got %s", a.text)
	}
}

func TestAPIHistory(t *testing.T) {
	s := serveSite(t, apiSite+ws(apiChannels))
	api := s.api("/rt")
	for i := range 5 {
		api.post("/publish", fmt.Sprintf(`{"channel":"kept/a","data":%d}`, i)).want(200)
	}
	data := func(a answer) string {
		var out []string
		for _, m := range a.List("messages") {
			m := M(m.(map[string]any))
			if m.Type() != "channel_message" || m.Text("channel") != "kept/a" || m.Int("offset") < 1 || m.Text("timestamp") == "" {
				t.Errorf("got %v", m)
			}
			out = append(out, fmt.Sprint(m["data"]))
		}
		return strings.Join(out, " ")
	}
	all := api.get("/channels/kept%2Fa/history").want(200)
	if data(all) != "0 1 2 3 4" || all.Bool("has_more") || all.Text("epoch") == "" || all.Text("channel") != "kept/a" {
		t.Errorf("got %s", all.text)
	}
	if a := api.get("/channels/kept%2Fa/history?limit=2").want(200); data(a) != "3 4" || !a.Bool("has_more") {
		t.Errorf("got %s", a.text)
	}
	if a := api.get("/channels/kept%2Fa/history?limit=0").want(200); data(a) != "" || !a.Bool("has_more") {
		t.Errorf("got %s", a.text)
	}
	second := M(all.List("messages")[1].(map[string]any)).Int("offset")
	since := fmt.Sprintf("/channels/kept%%2Fa/history?epoch=%s&offset=%d", all.Text("epoch"), second)
	if a := api.get(since + "&limit=2").want(200); data(a) != "2 3" || !a.Bool("has_more") {
		t.Errorf("got %s", a.text)
	}
	if a := api.get(since).want(200); data(a) != "2 3 4" || a.Bool("has_more") {
		t.Errorf("got %s", a.text)
	}
	for _, query := range []string{"limit=-1", "limit=10001", "epoch=x", "offset=1", "epoch=&offset=1", "epoch=x&offset=-1", "since=1"} {
		api.get("/channels/kept%2Fa/history?"+query).fails(400, "INVALID_PARAMS")
	}
	api.get("/channels/plain%2Fa/history").fails(404, "HISTORY_UNAVAILABLE")
	api.get("/channels/other/history").fails(404, "HISTORY_UNAVAILABLE")
	api.get("/channels/a..b/history").fails(400, "INVALID_CHANNEL")
	if a := api.get("/channels/kept%2Fempty/history").want(200); data(a) != "" {
		t.Errorf("got %s", a.text)
	}
	// An answer ends at 1 MiB.
	for range 3 {
		api.post("/publish", `{"channel":"kept/big","data":"`+strings.Repeat("x", 600<<10)+`"}`).want(200)
	}
	if a := api.get("/channels/kept%2Fbig/history").want(200); len(a.List("messages")) != 1 || !a.Bool("has_more") {
		t.Errorf("got %d messages", len(a.List("messages")))
	}
}

func TestAPIPresence(t *testing.T) {
	s := serveSite(t, apiSite+ws(apiChannels))
	api := s.api("/rt")
	c := s.dial()
	c.Subscribe("kept/room")
	a := api.get("/channels/kept%2Froom/presence").want(200)
	if a.Int("count") != 1 || M(a.List("members")[0].(map[string]any)).Text("connection_id") != c.Welcome.Text("connection_id") {
		t.Errorf("got %s", a.text)
	}
	if a := api.get("/channels/kept%2Fempty/presence").want(200); a.Int("count") != 0 || !strings.Contains(a.text, `"members":[]`) {
		t.Errorf("got %s", a.text)
	}
	api.get("/channels/plain%2Froom/presence").fails(404, "NOT_FOUND")
	api.get("/channels/kept%2F*/presence").fails(400, "INVALID_CHANNEL")
}

// Whoever may publish to a channel cannot keep messages of others from it by their idempotency keys.
func TestIdempotencyKeysAreTheSenders(t *testing.T) {
	s := serveSite(t, apiSite+ws(apiChannels+"user {http.request.header.X-User}\n"))
	publish := M{"type": "publish", "channel": "kept/a", "data": 1, "key": "order-17"}
	dial := func(user string) *wstest.Client {
		if user == "" {
			return s.dial()
		}
		return s.dialWith(http.Header{"X-User": {user}})
	}
	for _, test := range []struct {
		user      string
		duplicate bool
	}{{"", false}, {"", true}, {"ann", false}, {"ann", true}, {"bob", false}, {"127.0.0.1", false}, {"api", false}} {
		if a := dial(test.user).AskFor("published", publish); a.Bool("duplicate") != test.duplicate {
			t.Errorf("user %q: got %v, want duplicate: %v", test.user, a, test.duplicate)
		}
	}
	for _, duplicate := range []bool{false, true} {
		a := s.api("/rt").post("/publish", `{"channel":"kept/a","data":1,"key":"order-17"}`).want(200)
		if a.Bool("duplicate") != duplicate {
			t.Errorf("the API: got %s, want duplicate: %v", a.text, duplicate)
		}
	}
}
