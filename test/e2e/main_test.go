// Package e2e_test runs whole sites: a real Caddy in the test's process, with real sockets.
package e2e_test

import (
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard" // the directives of usual sites

	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"
)

func TestMain(m *testing.M) { sitetest.Main(m) }
