package neuroquantumws_test

import (
	"encoding/json"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/logging" // log_append
	"net/http"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// TestLogsOfAConnection: the access log's line of a handshake, this module's lines and what the client is told have the same id.
func TestLogsOfAConnection(t *testing.T) {
	s, folder := logged(t, withJWT(""), "log_append connection_id {http.neuroquantum_ws.connection_id}\nlog_append hub {http.neuroquantum_ws.hub}\n"+
		"log_append who {http.neuroquantum_ws.user}\n")
	header := bearerHeader(tokenOf(t, "ann", nil))
	c := wstest.Dial(t, s.url(), wstest.Options{Header: header})
	anonymous := s.dial()
	refused, _ := s.get(upgradeHeader("Authorization", "Bearer no"))
	if refused.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %s", refused.Status)
	}
	want := map[string]string{connectionID(c): "ann", connectionID(anonymous): "", "": ""}
	// As a browser shows its token: the access log's line would hold it.
	hidden := wstest.Dial(t, s.url(), wstest.Options{Subprotocols: []string{"neuroquantum.v1", "bearer." + tokenOf(t, "bob", nil)}})
	c.Close()
	hidden.Close()
	anonymous.Close()
	until(s.dial(), "they are gone", func() bool { return len(hubOf(t, "default").Connections()) == 1 })
	replaced := 0
	ended := map[string]string{}
	seen := map[string]string{}
	for line := range strings.Lines(output(t, folder)) {
		var m M
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		switch {
		case m.Text("msg") == "request with a token":
			if m.Text("connection_id") != connectionID(hidden) || m.Text("user") != "bob" || m.Int("status") != http.StatusSwitchingProtocols {
				t.Errorf("the line in place of the access log's is %s", line)
			}
			replaced++
		case m.Text("msg") == "connection ended":
			ended[m.Text("connection_id")] = m.Text("user")
		case m.Has("connection_id") && m.Has("status"):
			seen[m.Text("connection_id")] = m.Text("user_id")
			if m.Text("hub") != "default" || m.Text("who") != m.Text("user_id") {
				t.Errorf("the access log has %s", line)
			}
		}
	}
	for id, user := range want {
		if got, ok := seen[id]; !ok || got != user {
			t.Errorf("%s: the access log has the user %q (%v), want %q", id, got, ok, user)
		}
		if got, ok := ended[id]; id != "" && (!ok || got != user) {
			t.Errorf("%s: the end has the user %q (%v), want %q", id, got, ok, user)
		}
	}
	if replaced != 1 {
		t.Errorf("%d lines stand in for others", replaced)
	}
}
