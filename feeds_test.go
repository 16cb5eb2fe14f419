package neuroquantumws

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// knownTable is a table of which these facts are known.
type knownTable struct{ stream.TableFacts }

func (knownTable) Run(ctx context.Context, _ *zap.Logger, _ func(context.Context, *stream.RowChange)) {
	<-ctx.Done()
}
func (knownTable) Same(stream.Changes) bool           { return true }
func (k knownTable) Facts() (stream.TableFacts, bool) { return k.TableFacts, true }

// What a feed may tell to whom it should not, and what it cannot tell, is said when the configuration is loaded.
func TestFeedsAreWarnedOf(t *testing.T) {
	open, closed := []string{string(access.Anyone)}, []string{string(access.Authenticated)}
	for name, c := range map[string]struct {
		channels []Channel
		security bool
		publish  string
		words    []string // of each warning
	}{
		"no channel block":          {nil, true, "orders/{row.id}", []string{"row-level security"}},
		"open, without security":    {nil, false, "orders/{row.id}", nil},
		"open to anyone":            {[]Channel{{Pattern: "orders/*", Allow: Allow{Subscribe: open}}}, true, "orders/{row.id}", []string{"row-level security"}},
		"closed":                    {[]Channel{{Pattern: "orders/*", Allow: Allow{Subscribe: closed}}}, true, "orders/{row.id}", nil},
		"elsewhere":                 {[]Channel{{Pattern: "items/*", Allow: Allow{Subscribe: open}}}, true, "orders/{row.id}", []string{"no channel block holds"}},
		"an old value that is none": {nil, false, "orders/{row.tenant}", []string{"REPLICA IDENTITY FULL"}},
	} {
		core, logs := observer.New(zapcore.WarnLevel)
		h := &Handler{Channel: c.channels, log: zap.New(core)}
		settings, err := h.settings()
		if err != nil {
			t.Fatal(err)
		}
		template, err := live.ParseTemplate(c.publish)
		if err != nil {
			t.Fatal(err)
		}
		h.warnOfFeed("f", knownTable{stream.TableFacts{RowSecurity: c.security, Known: map[string]bool{"id": true}}}, template, settings)
		entries := logs.All()
		if len(entries) != len(c.words) {
			t.Errorf("%s: got %v", name, entries)
			continue
		}
		for i, words := range c.words {
			if !strings.Contains(entries[i].Message, words) {
				t.Errorf("%s: got %s", name, entries[i].Message)
			}
		}
	}
}
