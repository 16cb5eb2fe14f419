package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
)

func TestMain(m *testing.M) { sitetest.Main(m) }

func TestFlowControl(t *testing.T) {
	site := sitetest.Demo(t, "../..")
	var out strings.Builder
	if err := run(t.Context(), []string{"-url", site.URL(), "-pause", "100ms"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	// What the reader has in hand when the others come is beside the buffer.
	for _, want := range []string{
		"gap: (89|90) messages, reason client", "(39|40) of them are still in the history", "message 99", "paused, stalled for", "batch 5 taken",
		"93504 rows in",
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "held up for 0 ms") {
		t.Errorf("nothing was throttled:\n%s", out.String())
	}
}
