package client_test

import (
	"os/exec"
	"strings"
	"testing"
)

// A program that only wants the client must not have to build Caddy: what the package needs is counted up.
func TestImports(t *testing.T) {
	list, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	allowed := []string{
		"github.com/coder/websocket",
		"github.com/go-json-experiment/json", // of protocol
		"github.com/neuroquantumdb/neuroquantum-ws/client",
		"github.com/neuroquantumdb/neuroquantum-ws/protocol",
	}
	seen := 0
	for dependency := range strings.FieldsSeq(string(list)) {
		ok := false
		for _, path := range allowed {
			ok = ok || dependency == path || strings.HasPrefix(dependency, path+"/")
		}
		if seen++; !ok {
			t.Errorf("it depends on %s", dependency)
		}
	}
	if seen < len(allowed) {
		t.Errorf("go list gave %q", list)
	}
}
