package neuroquantumws_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// A ticket of the API lets one client in, as whom it says.
func TestTicketsOfTheAPI(t *testing.T) {
	s := serveSite(t, apiSite+ws("channel u/{user}/** {\nallow subscribe role:reader\n}\nchannel t/{claim.tenant}/** {\nallow subscribe authenticated\n}\n"))
	api := s.api("/rt")
	a := request(t, "POST", api.base+"/tickets", `{"user":"ann","roles":["reader"],"claims":{"tenant":"acme","n":42.0,"list":["a"],"on":true},"ttl_ms":30000}`, nil)
	if a.status != http.StatusCreated || a.Text("ticket") == "" || a.Text("expires_at") == "" {
		t.Fatalf("got %s", a.text)
	}
	with := s.url() + "?ticket=" + url.QueryEscape(a.Text("ticket"))
	c := wstest.Dial(t, with, wstest.Options{})
	if c.Welcome.Text("user") != "ann" {
		t.Errorf("got %v", c.Welcome)
	}
	c.Subscribe("u/ann/x", "t/acme/y")
	c.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "u/bob/x"})
	if _, response, err := wstest.TryDial(t, with, wstest.Options{}); err == nil || response.StatusCode != http.StatusUnauthorized {
		t.Errorf("a ticket let another in: %v", err)
	}
	// What a user has been issued is void once the user was revoked.
	unused := request(t, "POST", api.base+"/tickets", `{"user":"ann"}`, nil).Text("ticket")
	if a := request(t, "DELETE", api.base+"/users/ann", "", nil); a.status != http.StatusOK || a.Int("disconnected") != 1 {
		t.Errorf("got %s", a.text)
	}
	if _, code := c.Closed(); code != 4100 {
		t.Errorf("closed with %d", code)
	}
	if _, _, err := wstest.TryDial(t, s.url()+"?ticket="+url.QueryEscape(unused), wstest.Options{}); err == nil {
		t.Error("a ticket from before the revocation is taken")
	}
	for _, body := range []string{
		`[]`, `{}`, `{"user":""}`, `{"user":5}`, `{"user":"a\n"}`, `{"user":"ann","roles":[""]}`, `{"user":"ann","roles":"x"}`,
		`{"user":"ann","claims":{"":"x"}}`, `{"user":"ann","ttl_ms":-1}`, `{"user":"ann","ttl_ms":3600001}`,
		`{"user":"ann","User":"root"}`, `{"user":"a","user":"b"}`, `{"User":"ann"}`, "{\"user\":\"a\xff\"}", `{"user":"ann","more":1}`,
		`{"user":"ann","ttl_ms":0}`,
		`{"user":"ann","expires_at":"2020-01-01T00:00:00Z"}`, `{"user":"ann","expires_at":5}`, `{"user":"ann"}{}`,
	} {
		if a := request(t, "POST", api.base+"/tickets", body, nil); a.status != http.StatusBadRequest || a.Text("code") == "" {
			t.Errorf("%s: got %d %s", body, a.status, a.text)
		}
	}
}

// TestTicketSurvivesARefusal: a handshake that fails for another reason leaves the ticket good.
func TestTicketSurvivesARefusal(t *testing.T) {
	s := serveSite(t, apiSite+ws("max_connections 2\nmax_connections_per_ip 2\nmax_connections_per_user 1\nchannel ** {\nallow subscribe anyone\n}\n"))
	api := s.api("/rt")
	ticket := api.post("/tickets", `{"user":"ann"}`).want(201).Text("ticket")
	path := "/ws?ticket=" + url.QueryEscape(ticket)
	opening := wstest.Handshake(s.address, path)
	refused := func(what, opening string, status int) {
		t.Helper()
		raw := wstest.DialRaw(t, s.address, opening, 0)
		defer raw.Close()
		if raw.Response.StatusCode != status {
			t.Errorf("%s: %s", what, raw.Response.Status)
		}
	}
	refused("another version", strings.Replace(opening, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12", 1), 400)
	refused("no version", strings.Replace(opening, "Sec-WebSocket-Version: 13", "X-Version: 13", 1), 400)
	refused("a short key", strings.Replace(opening, "AAAAAAAAAAAAAAAAAAAAAA==", "AAAA", 1), 400)
	refused("no key", strings.Replace(opening, "Sec-WebSocket-Key", "X-Key", 1), 400)
	refused("another method", strings.Replace(opening, "GET ", "PUT ", 1), 405)
	first, second := s.dial(), s.dial()
	refused("a full hub", opening, 503)
	first.Cut()
	second.Cut()
	gone := func() bool { return len(hubOf(t, "default").Connections()) == 0 }
	wait.Until(t, "both are gone", gone)
	ann := wstest.Dial(t, s.url()+"?ticket="+url.QueryEscape(api.post("/tickets", `{"user":"ann"}`).Text("ticket")), wstest.Options{})
	refused("a user who may have no other", opening, 429)
	ann.Cut()
	wait.Until(t, "ann is gone", gone)
	if c := wstest.Dial(t, s.url()+"?ticket="+url.QueryEscape(ticket), wstest.Options{}); c.Welcome.Text("user") != "ann" {
		t.Errorf("got %v", c.Welcome)
	}
	refused("the ticket again", opening, 401)
}
