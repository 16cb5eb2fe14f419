package neuroquantumws_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// twoHubs are the options of two hubs of one process that share one NATS server, which belongs to it.
func twoHubs(t testing.TB, more string) string {
	embedded := "broker nats {\nname shared\nembedded {\nstore_dir " + t.TempDir() + "\nname one\n}\n}\n"
	site := func(path, hub string) string {
		return fmt.Sprintf("neuroquantum_ws %s {\nhub %s\n%s%s\n}\n", path, hub, embedded, more)
	}
	return site("/ws", "a") + site("/b", "b")
}

// TestTwoHubsShareChannels: what is published on one hub comes to the clients of the other, live and from history.
func TestTwoHubsShareChannels(t *testing.T) {
	s := serveSite(t, twoHubs(t, "channel c/** {\nhistory 100\n"+anyone+"\n}\nchannel ** {\n"+anyone+"\n}\n"))
	a := s.dial()
	b := s.dialPath("/b")
	b.Subscribe("c/*", "live")
	first := a.Publish("c/1", 1)
	a.Publish("live", 2)
	a.Publish("c/1", 3)
	got := map[string]string{}
	for range 3 {
		m := b.Expect("channel_message")
		got[m.Text("channel")] += fmt.Sprint(m["data"])
	}
	if got["c/1"] != "13" || got["live"] != "2" {
		t.Errorf("got %v", got)
	}
	late := s.dialPath("/b")
	confirmed := late.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": "c/*", "since": M{"epoch": first["epoch"], "offset": 0}})
	if !confirmed.Bool("recovered") || confirmed.Int("replayed") != 2 {
		t.Errorf("got %v", confirmed)
	}
	for _, want := range []string{"1", "3"} {
		if m := late.Expect("channel_message"); fmt.Sprint(m["data"]) != want {
			t.Errorf("got %v, want %s", m, want)
		}
	}
}

// dialPath connects a client to a hub on another path.
func (s *site) dialPath(path string) *wstest.Client {
	s.t.Helper()
	return wstest.Dial(s.t, "ws://"+s.address+path, wstest.Options{})
}

// TestReloadKeepsASharedHub: the server within the process and what comes from it outlive a reload; a configuration that is only checked
// starts none.
func TestReloadKeepsASharedHub(t *testing.T) {
	rules := "channel ** {\nhistory 100\n" + anyone + "\n}\n"
	options := twoHubs(t, rules)
	s := serveSite(t, options)
	a, b := s.dial(), s.dialPath("/b")
	b.Subscribe("c")
	a.Publish("c", 1)
	b.Expect("channel_message")
	s.reload(strings.ReplaceAll(options, "history 100", "history 50\nqueue 10 1MiB"))
	a.Publish("c", 2)
	if m := b.Expect("channel_message"); fmt.Sprint(m["data"]) != "2" {
		t.Errorf("got %v", m)
	}
	s.reload(strings.Replace(options, "neuroquantum_ws /b", "neuroquantum_ws /other", 1))
	a.Publish("c", 3)
	if m := b.Expect("channel_message"); fmt.Sprint(m["data"]) != "3" {
		t.Errorf("got %v", m)
	}
}

// TestCheckingStartsNoServer: `caddy validate` must not touch the directory of a server that may be running.
func TestCheckingStartsNoServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nats")
	s := &site{t: t, address: freeAddress(t)}
	config, err := adapt(s.wrap(ws("broker nats {\nembedded {\nstore_dir " + dir + "\n}\n}")))
	if err != nil {
		t.Fatal(err)
	}
	var c caddy.Config
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&c); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}
