package main

import (
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
)

func TestMain(m *testing.M) { sitetest.Main(m) }

func TestPubSub(t *testing.T) {
	site := sitetest.Demo(t, "../..")
	var out strings.Builder
	if err := run(t.Context(), []string{"-url", site.URL(), "-count", "20"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"connected as ", "published at offset ", `{"text":"hello 1"}`, `{"text":"hello 3"}`, "sensors/"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
