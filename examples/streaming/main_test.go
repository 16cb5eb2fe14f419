package main

import (
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
)

func TestMain(m *testing.M) { sitetest.Main(m) }

func TestStreaming(t *testing.T) {
	site := sitetest.Demo(t, "../..")
	var out strings.Builder
	if err := run(t.Context(), []string{"-url", site.URL()}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"seattle/wind: 1461 rows (exact)", "average 3.24 m/s up to 2015-12-31", "complete: 1461 rows in 8 batches", `{"id":3,`,
		"broken off behind 3 rows", "refused: QUERY_NOT_FOUND",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
