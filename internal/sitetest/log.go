package sitetest

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
)

func init() { caddy.RegisterModule(Log{}) }

// Log is a writer for Caddy's log that keeps the newest lines, for tests that fail: `log { output newest }`.
type Log struct{}

// CaddyModule implements caddy.Module.
func (Log) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.newest", New: func() caddy.Module { return new(Log) }}
}

func (Log) String() string { return "newest" }

// WriterKey implements caddy.WriterOpener.
func (Log) WriterKey() string { return "newest" }

// OpenWriter implements caddy.WriterOpener.
func (Log) OpenWriter() (io.WriteCloser, error) { return &newest, nil }

// UnmarshalCaddyfile takes no arguments.
func (Log) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.Next(); d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// logLines is how many lines are kept.
const logLines = 100

var newest lines

type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all = append(l.all, string(line)); len(l.all) > logLines {
		l.all = l.all[1:]
	}
	return len(line), nil
}

func (*lines) Close() error { return nil }

// Explain has a wait of the test that fails log the state of the hub `default`, and the newest lines of Caddy's log where it goes to
// `output newest`.
func Explain(t testing.TB) {
	wait.Explain(t, func() string {
		newest.mu.Lock()
		defer newest.mu.Unlock()
		text := "Caddy's log:\n" + strings.Join(newest.all, "")
		if i := instance.Find("default"); i != nil {
			text = fmt.Sprintf("the hub: %+v\n%s", i.Hub.Stats(), text)
		}
		return text
	})
}

// Interface guards.
var (
	_ caddy.WriterOpener    = (*Log)(nil)
	_ caddyfile.Unmarshaler = (*Log)(nil)
)
