package instance

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// DrainOnExit begins to send a hub's clients away when the process ends. Caddy then stops its servers, which wait for the WebSockets
// over HTTP/2 and HTTP/3, and only afterwards cleans up: that would be too late for the draining to begin. At a reload, which stops the
// configuration before, nothing is to be done.
func DrainOnExit(p *Instance) {
	if caddy.Exiting() {
		p.drain(gracePeriod())
	}
}

// gracePeriod is that of the configuration that runs; 0 where it has none.
func gracePeriod() time.Duration {
	app, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		return 0
	}
	if http, ok := app.(*caddyhttp.App); ok {
		return time.Duration(http.GracePeriod)
	}
	return 0
}
