package api

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
)

func init() { caddy.RegisterModule(new(adminAPI)) }

// adminPath is where the API of all hubs hangs on Caddy's admin endpoint.
const adminPath = "/neuroquantum_ws/"

// adminAPI serves the API of every hub under /neuroquantum_ws/HUB/ on Caddy's admin endpoint, whose own checks of host, origin and
// client hold there.
type adminAPI struct{ log *zap.Logger }

// CaddyModule implements caddy.Module.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.neuroquantum_ws", New: func() caddy.Module { return new(adminAPI) }}
}

// Provision implements caddy.Provisioner.
func (a *adminAPI) Provision(caddy.Context) error {
	a.log = caddy.Log().Named("admin.api.neuroquantum_ws")
	return nil
}

// Routes implements caddy.AdminRouter.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

func (a *adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	segments, ok := Segments(r.URL.EscapedPath())
	if !ok || len(segments) < 2 {
		Fail(w, NotFound("this path is wrongly encoded"))
		return nil
	}
	pooled := instance.Find(segments[1])
	if pooled == nil {
		Fail(w, NotFound("there is no hub of this name"))
		return nil
	}
	Serving(pooled, a.log).Serve(w, r, segments[2:])
	return nil
}

// Interface guards.
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)
