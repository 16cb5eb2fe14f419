package main

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
)

func TestMain(m *testing.M) { sitetest.Main(m) }

func TestBackendPublish(t *testing.T) {
	site := sitetest.Demo(t, "../..")
	c, err := client.Dial(t.Context(), site.URL(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sub, err := c.Subscribe(t.Context(), []string{"chat/backend"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		event, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := event.(*client.Message); !ok || string(m.Data) != want {
			t.Fatalf("got %+v, want %s", event, want)
		}
	}
	api := "http://" + site.Address + "/rt"
	var out strings.Builder
	if err := run(t.Context(), []string{"-api", api, "-channel", "chat/backend", "-text", "hi"}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "published in chat/backend at offset ") {
		t.Errorf("got %s", out.String())
	}
	next(`{"text":"hi"}`)
	if text, err := exec.Command("./publish.sh", api, "chat/backend").CombinedOutput(); err != nil || !strings.Contains(string(text), `"failed":0`) {
		t.Fatalf("%v: %s", err, text)
	}
	next(`{"text":"from curl"}`)
	next("1")
	next("2")
	// Answers that are lost.
	var requests atomic.Int64
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			proxied, err := http.Post(api+"/publish", "application/json", r.Body)
			if err == nil {
				proxied.Body.Close()
			}
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		r.URL.Scheme, r.URL.Host, r.URL.Path, r.RequestURI = "http", site.Address, "/rt/publish", ""
		http.Redirect(w, r, api+"/publish", http.StatusTemporaryRedirect)
	}))
	defer flaky.Close()
	at, err := publish(t.Context(), flaky.URL, publication{Channel: "chat/backend", Data: 3, Key: "lost"})
	if err != nil || !at.Duplicate || requests.Load() != 2 {
		t.Errorf("got %+v, %v", at, err)
	}
	next("3")
	if _, err := publish(t.Context(), api, publication{Channel: "chat/*", Data: 4, Key: "k"}); err == nil || !strings.Contains(err.Error(), "INVALID_CHANNEL") {
		t.Errorf("got %v", err)
	}
}
