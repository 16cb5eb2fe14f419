package instance

import (
	"context"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// stubTable is a table of which these facts are known.
type stubTable struct{ stream.TableFacts }

func (stubTable) Run(ctx context.Context, _ *zap.Logger, _ func(context.Context, *stream.RowChange)) {
	<-ctx.Done()
}
func (stubTable) Same(stream.Changes) bool           { return true }
func (k stubTable) Facts() (stream.TableFacts, bool) { return k.TableFacts, true }

// A feed that the next configuration has as well goes on; all others end, and those that are new begin.
func TestFeedsAreReplaced(t *testing.T) {
	table := func(name string, columns ...string) FeedRunner {
		template, err := live.ParseTemplate("c")
		if err != nil {
			t.Fatal(err)
		}
		return TableFeed{live.Changes{Name: name, Table: stubTable{}, Columns: columns, Channel: template}}
	}
	f := feeds{log: zap.NewNop(), lead: new(hub.Hub).Lead}
	f.replace([]FeedRunner{table("a", "id"), table("b", "id")})
	before := slices.Clone(f.running)
	f.replace([]FeedRunner{table("b", "id"), table("c", "id"), table("a", "id", "x")})
	if len(f.running) != 3 || !slices.Contains(f.running, before[1]) || slices.Contains(f.running, before[0]) {
		t.Errorf("got %v, before %v", f.running, before)
	}
	f.replace(nil)
	for _, r := range append(before, f.running...) {
		<-r.done
	}
}

// A logger that was derived from a hub's follows its configuration, too.
func TestDerivedLoggersFollow(t *testing.T) {
	first, firstLogs := observer.New(zapcore.InfoLevel)
	second, secondLogs := observer.New(zapcore.DebugLevel)
	core := newReloadableCore(first)
	log := zap.New(core).With(zap.String("feed", "f")).With(zap.Int("n", 1))
	log.Info("one")
	core.swap(second)
	log.Debug("two")
	if firstLogs.Len() != 1 || secondLogs.Len() != 1 {
		t.Fatalf("got %v and %v", firstLogs.All(), secondLogs.All())
	}
	if fields := secondLogs.All()[0].ContextMap(); fields["feed"] != "f" || fields["n"] != int64(1) {
		t.Errorf("got %v", fields)
	}
}
