package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/memory"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// silentPeer is a broker with another node that never answers.
type silentPeer struct{ *memory.Broker }

func (silentPeer) Peers() hub.Peers { return peers{} }

type peers struct{ hub.Peers }

func (peers) Start(hub.PeerEvents) error { return nil }

func (peers) Node() string { return "here" }

func (peers) Nodes() []string { return []string{"there"} }

func (peers) Ask(context.Context, string, string, []byte) ([]hub.PeerAnswer, []string) {
	return nil, []string{"there"}
}

// TestMissingNodes: what is not found while a node does not answer may be there.
func TestMissingNodes(t *testing.T) {
	h, err := hub.New("test", silentPeer{memory.New(0)}, &hub.Settings{Fallback: &hub.Rule{}}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close(t.Context()) }()
	routes := &Routes{Hub: h, Streams: stream.NewRegistry(nil), Log: zap.NewNop()}
	for request, want := range map[string]int{
		"GET /connections":                           200,
		"GET /streams":                               200,
		"GET /connections/a":                         503,
		"DELETE /connections/a":                      503,
		"DELETE /streams/a":                          503,
		"DELETE /connections/a?wrong=1":              400,
		"GET /nothing":                               404,
		"DELETE /connections/a?reconnect_after_ms=0": 400,
	} {
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, nil)
		routes.Serve(w, r, strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/"))
		if w.Code != want {
			t.Errorf("%s: %d %s", request, w.Code, w.Body)
		}
		asked := want == http.StatusOK || want == http.StatusServiceUnavailable
		if got := w.Header().Get(MissingNodesHeader); asked && got != "there" {
			t.Errorf("%s: the missing nodes are %q", request, got)
		}
		if want == http.StatusServiceUnavailable && (w.Header().Get("Retry-After") != "2" || !strings.Contains(w.Body.String(), "UNAVAILABLE")) {
			t.Errorf("%s: %v %s", request, w.Header(), w.Body)
		}
	}
}
