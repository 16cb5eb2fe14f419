package e2e_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// validate checks a Caddyfile as caddy validate does, without starting anything.
func validate(t *testing.T, caddyfile string) error {
	t.Helper()
	text := "{\nadmin off\npersist_config off\nauto_https off\nlog {\noutput discard\n}\n}\n" + caddyfile
	raw, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(raw, config); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(config)
}

// TestUnknownHub: a directive whose hub no handler of the configuration has is refused by caddy validate, and one whose handler comes
// later, elsewhere or deep in the routes is not.
func TestUnknownHub(t *testing.T) {
	const notify = "neuroquantum_ws_notify /save %s {\nchannel a\ndata 1\n}\n"
	for name, test := range map[string]struct{ caddyfile, missing string }{
		"notify":          {"http://a.test:1 {\n" + strings.ReplaceAll(notify, "%s", "mian") + "neuroquantum_ws /ws main\n}\n", `notify: no neuroquantum_ws of this configuration has the hub "mian"`},
		"API":             {"http://a.test:1 {\nneuroquantum_ws_api /rt/*\nneuroquantum_ws /ws main\n}\n", `api: no neuroquantum_ws of this configuration has the hub "default"`},
		"console":         {"http://a.test:1 {\nneuroquantum_ws_console /c/* x\n}\n", `console: no neuroquantum_ws of this configuration has the hub "x"`},
		"later":           {"http://a.test:1 {\n" + strings.ReplaceAll(notify, "%s", "main") + "neuroquantum_ws /ws main\n}\n", ""},
		"another site":    {"http://a.test:1 {\nneuroquantum_ws_api /rt/* main\n}\nhttp://b.test:2 {\nneuroquantum_ws /ws main\n}\n", ""},
		"deep":            {"http://a.test:1 {\nneuroquantum_ws_api /rt/*\nhandle /x/* {\nroute {\nneuroquantum_ws\n}\n}\n}\n", ""},
		"a named route":   {"&(x) {\nneuroquantum_ws /ws main\n}\nhttp://a.test:1 {\nneuroquantum_ws_api /rt/* main\ninvoke x\n}\n", ""},
		"an error route":  {"http://a.test:1 {\nneuroquantum_ws_api /rt/* main\nhandle_errors {\nneuroquantum_ws /ws main\n}\n}\n", ""},
		"the same subset": {"http://a.test:1 {\nhandle /x/* {\nneuroquantum_ws_api * main\n}\nhandle {\nneuroquantum_ws /ws main\n}\n}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := validate(t, test.caddyfile)
			switch {
			case test.missing == "" && err != nil:
				t.Error(err)
			case test.missing != "" && (err == nil || !strings.Contains(err.Error(), test.missing)):
				t.Errorf("got %v, want %s", err, test.missing)
			}
		})
	}
}

// TestREADME adapts the sites that README shows whole.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	sites := regexp.MustCompile("(?ms)^```caddyfile\n(\\S+\\.example\\.com \\{\n.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(sites) < 2 {
		t.Fatalf("README shows %d sites", len(sites))
	}
	for _, site := range sites {
		if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(site[1]), map[string]any{"filename": "README.md"}); err != nil {
			t.Errorf("%v in\n%s", err, site[1])
		}
	}
}
