package httpapi

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Users must not share what an API gives to one of them.
func TestImpersonal(t *testing.T) {
	for value, want := range map[string]bool{"": true, "key": true, "{user}": false, "u={user}": false} {
		s := &Source{URL: "http://127.0.0.1:1/", Header: http.Header{}}
		if value != "" {
			s.Header.Set("X-User", value)
		}
		if err := s.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		statement, err := s.Prepare(t.Context(), stream.Text{SQL: "select 1"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.Impersonal(statement); got != want {
			t.Errorf("X-User %q: %v", value, got)
		}
		_ = s.Cleanup()
	}
}
