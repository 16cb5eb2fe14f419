package notify

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/dml"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/handshake"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/originalpath"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func init() {
	caddy.RegisterModule(new(Notify))
	httpcaddyfile.RegisterDirective("neuroquantum_ws_notify", originalpath.Handle(parseNotify))
	httpcaddyfile.RegisterDirectiveOrder("neuroquantum_ws_notify", httpcaddyfile.After, "encode")
}

const (
	// maxNotifyBody is the longest request body that a statement is looked for in.
	maxNotifyBody = 1 << 20
	// maxNotifyData is the longest data of an event.
	maxNotifyData = 64 << 10
)

// Notify publishes an event to a channel of a hub after the handlers behind it have answered with a 2xx. Neither a failure nor the
// time it takes reaches the request.
//
// Beside Caddy's placeholders, of request and response, there are {nq.table} and {nq.operation} (insert, update or delete): what an
// INSERT, UPDATE or DELETE writes to in a request body {"query":"…"} of up to 1 MiB. Where the body holds no such statement, or more
// than one, there is no event.
type Notify struct {
	// Name of the hub; a neuroquantum_ws handler must have it.
	Hub string `json:"hub"`
	// Name of the channel, with placeholders.
	Channel string `json:"channel"`
	// The event's data: JSON with placeholders. In a string they are escaped; elsewhere they must give a number, true, false or
	// null.
	Data string `json:"data"`

	log           *zap.Logger
	channel, data template
	hub           func() publisher // while the configuration runs
}

// publisher is the part of a hub's instance that events go to.
type publisher interface {
	// TraceParent returns the traceparent of a request; empty where it is not traced.
	TraceParent(r *http.Request) string
	// PublishLater publishes an event without making its caller wait.
	PublishLater(e instance.Event) error
	// CountInvalidEvent counts an event that could not be made of its request.
	CountInvalidEvent()
}

// CaddyModule implements caddy.Module.
func (*Notify) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.neuroquantum_ws_notify", New: func() caddy.Module { return new(Notify) }}
}

func parseNotify(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	n := new(Notify)
	if err := n.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return n, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	neuroquantum_ws_notify [<matcher>] <hub> {
//		channel <name>
//		data    <JSON>
//	}
func (n *Notify) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if err := directive.Args(d, directive.Name(&n.Hub)); err != nil {
		return err
	}
	err := directive.Options(d, func(d *caddyfile.Dispenser, name string) (bool, error) {
		switch name {
		case "channel":
			if n.Channel != "" { // in the hub's own directive it may repeat
				return true, d.Err("channel is given twice")
			}
			if err := directive.Args(d, directive.Text(&n.Channel)); err != nil {
				return true, err
			}
			if _, err := channelTemplate(n.Channel); err != nil {
				return true, d.Errf("channel %s: %v", n.Channel, err)
			}
			return true, nil
		case "data":
			if err := directive.Args(d, directive.Text(&n.Data)); err != nil {
				return true, err
			}
			if _, err := dataTemplate(n.Data); err != nil {
				return true, d.Errf("data: %v", err)
			}
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if n.Channel == "" || n.Data == "" {
		return d.Err("neuroquantum_ws_notify: it needs channel and data")
	}
	return nil
}

// Provision implements caddy.Provisioner.
func (n *Notify) Provision(ctx caddy.Context) error {
	n.log = ctx.Logger()
	var err error
	if n.channel, err = channelTemplate(n.Channel); err != nil {
		return fmt.Errorf("channel %q: %w", n.Channel, err)
	}
	if n.data, err = dataTemplate(n.Data); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	for option, text := range map[string]string{"channel": n.Channel, "data": n.Data} {
		if err := directive.CheckResolved(text); err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
	}
	app, err := instance.AppOf(ctx)
	if err != nil {
		return err
	}
	n.hub = func() publisher { return app.Hub(n.Hub) }
	return app.RequireHub(ctx, "neuroquantum_ws_notify", n.Hub)
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (n *Notify) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if n.hub == nil {
		return caddyhttp.Error(http.StatusInternalServerError, instance.ErrNotProvisioned)
	}
	var body *copiedBody
	if n.channel.statement || n.data.statement {
		body = copyBody(r)
	}
	length := r.ContentLength
	status := &statusWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	if err := next.ServeHTTP(status, r); err != nil {
		return err
	}
	if !status.succeeded() {
		return nil
	}
	e, err := n.event(r, body, length)
	if err != nil {
		level := zap.WarnLevel
		if errors.Is(err, errNoWrite) {
			level = zap.DebugLevel
		} else {
			n.hub().CountInvalidEvent()
		}
		n.log.Log(level, "no event", zap.String("hub", n.Hub), zap.Error(err))
		return nil
	}
	e.Trace = n.hub().TraceParent(r)
	if err := n.hub().PublishLater(e); err != nil {
		n.log.Warn("no event", zap.String("hub", n.Hub), zap.String("channel", e.Channel), zap.Error(err))
	}
	return nil
}

// errNoWrite says that the request's body is not one statement that writes.
var errNoWrite = errors.New("the request's body is not understood as one INSERT, UPDATE or DELETE")

// event makes the event of a request that has been answered.
func (n *Notify) event(r *http.Request, body *copiedBody, length int64) (instance.Event, error) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	var w dml.Write
	if body != nil {
		sql, err := body.query(length, r.Header.Get("Content-Encoding"))
		if err == nil {
			w, err = dml.Parse(sql)
		}
		if err != nil {
			return instance.Event{}, fmt.Errorf("%w: %w", errNoWrite, err)
		}
	}
	value := func(name string) string {
		switch name {
		case placeholderTable:
			return w.Table
		case placeholderOperation:
			return w.Operation
		}
		v, _ := repl.Get(name)
		return strings.ToValidUTF8(caddy.ToString(v), "\ufffd")
	}
	var e instance.Event
	var err error
	if e.Channel, err = n.channel.render(value); err != nil {
		return e, fmt.Errorf("the channel: %w", err)
	}
	if err = checkPublished(e.Channel); err != nil {
		return e, fmt.Errorf("the channel %q: %w", handshake.Clip(e.Channel), err)
	}
	data, err := n.data.render(value)
	if err != nil {
		return e, fmt.Errorf("the data: %w", err)
	}
	if len(data) > maxNotifyData {
		return e, fmt.Errorf("the data has more than %d bytes", maxNotifyData)
	}
	if e.Data, err = oneLine([]byte(data)); err != nil {
		return e, fmt.Errorf("the data: %w", err)
	}
	return e, nil
}

// checkPublished tells whether events may go to a channel.
func checkPublished(channel string) error {
	if err := protocol.CheckName(channel); err != nil {
		return err
	}
	if protocol.IsReserved(channel) {
		return errors.New("channels that begin with $ belong to the server")
	}
	return nil
}

// oneLine checks that text is JSON and takes the white space between its tokens away.
func oneLine(text []byte) ([]byte, error) {
	v := jsontext.Value(text)
	if !v.IsValid() { // Compact alone takes names that stand twice
		return nil, errors.New("it is no JSON")
	}
	if err := v.Compact(); err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	}
	return v, nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Notify)(nil)
	_ caddyhttp.MiddlewareHandler = (*Notify)(nil)
	_ caddyfile.Unmarshaler       = (*Notify)(nil)
)
