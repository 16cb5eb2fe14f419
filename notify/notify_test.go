package notify

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
)

// What is not understood is said at debug, what is wrong as a warning, what cannot be told as well; the request never fails by it.
func TestNotifyLogs(t *testing.T) {
	for _, test := range []struct {
		body, header, level, words string
	}{
		{`{"query":"select 1"}`, "1", "debug", "INSERT"},
		{`{"query":"delete from a; delete from b"}`, "1", "debug", "several"},
		{`nonsense`, "1", "debug", "query"},
		{`{"query":"delete from a"}`, "x y", "warn", "X-N"},
		{`{"query":"delete from a"}`, "1", "warn", "too many"},
	} {
		core, logs := observer.New(zap.DebugLevel)
		n := &Notify{Hub: "h", log: zap.New(core), hub: func() publisher { return full{} }}
		n.channel, _ = channelTemplate("db.{nq.table}")
		n.data, _ = dataTemplate("{http.request.header.X-N}")
		repl := caddy.NewReplacer()
		repl.Set("http.request.header.X-N", test.header)
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(test.body))
		r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))
		w := httptest.NewRecorder()
		err := n.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			_, err := io.Copy(w, r.Body)
			return err
		}))
		all := logs.All()
		if err != nil || w.Code != http.StatusOK || w.Body.String() != test.body || len(all) != 1 {
			t.Errorf("%s: %v, %d, %s, %v", test.body, err, w.Code, w.Body, all)
			continue
		}
		if said, _ := all[0].ContextMap()["error"].(string); all[0].Level.String() != test.level || !strings.Contains(said, test.words) {
			t.Errorf("%s: %s %v", test.body, all[0].Level, all[0].ContextMap())
		}
	}
}

// full is a hub that takes no more events.
type full struct{}

func (full) TraceParent(*http.Request) string  { return "" }
func (full) PublishLater(instance.Event) error { return errors.New("too many events wait") }
func (full) CountInvalidEvent()                {}
