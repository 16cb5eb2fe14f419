package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// changesOf is a table whose changes are known beforehand.
type changesOf []*stream.RowChange

func (c changesOf) Run(ctx context.Context, _ *zap.Logger, take func(context.Context, *stream.RowChange)) {
	for _, change := range c {
		take(ctx, change)
	}
}

func (changesOf) Same(stream.Changes) bool         { return false }
func (changesOf) Facts() (stream.TableFacts, bool) { return stream.TableFacts{}, false }

// rowOf makes a row of words, of which ? is not known.
func rowOf(words string) (row [][]byte) {
	for word := range strings.FieldsSeq(words) {
		var value []byte
		if word != "?" {
			value = []byte(word)
		}
		row = append(row, value)
	}
	return row
}

// publishing gives what is published of changes to columns id and tenant, and what is logged.
func publishing(t *testing.T, template string, fail func(channel string) error, changes ...*stream.RowChange) (published, logged string) {
	t.Helper()
	channel, err := ParseTemplate(template)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.WarnLevel)
	var out []string
	c := &Changes{
		Counts: new(Counts), Name: "f", Table: changesOf(changes), Columns: []string{"id", "tenant"}, Channel: channel, Log: zap.New(core),
		Publish: func(_ context.Context, channel string, data []byte) error {
			if fail != nil {
				if err := fail(channel); err != nil {
					return err
				}
			}
			out = append(out, channel+" "+string(data))
			return nil
		},
	}
	c.Run(t.Context())
	if n := int(c.Counts.Published.Load()); n != len(out) {
		t.Errorf("%d messages are counted, %d were published", n, len(out))
	}
	if untold, said := c.Counts.Untold.Load() > 0, slices.ContainsFunc(logs.All(), func(e observer.LoggedEntry) bool {
		return !strings.Contains(e.Message, "trying again")
	}); untold != said {
		t.Errorf("untold are %d, and the log has %v", c.Counts.Untold.Load(), logs.All())
	}
	var lines []string
	for _, entry := range logs.All() {
		lines = append(lines, entry.Message)
	}
	return strings.Join(out, "\n"), strings.Join(lines, "\n")
}

func TestChangesArePublished(t *testing.T) {
	insert := func(words string) *stream.RowChange {
		return &stream.RowChange{Op: protocol.OpInsert, Key: []byte("1"), New: rowOf(words)}
	}
	remove := func(words string) *stream.RowChange {
		return &stream.RowChange{Op: protocol.OpDelete, Key: []byte("1"), Old: rowOf(words)}
	}
	update := func(old, fresh string) *stream.RowChange {
		return &stream.RowChange{Op: protocol.OpUpdate, Key: []byte("1"), Old: rowOf(old), New: rowOf(fresh)}
	}
	rekeyed := update("0 ?", `1 "a"`)
	rekeyed.OldKey = []byte("0")
	truncate := &stream.RowChange{Op: protocol.OpTruncate}
	const row = `"row":{"id":1,"tenant":"a"}`
	for name, c := range map[string]struct {
		template string
		change   *stream.RowChange
		want     string
		logged   string
	}{
		"insert":              {"o/{row.tenant}", insert(`1 "a"`), `o/a {"op":"insert","key":1,` + row + `}`, ""},
		"a number":            {"o.{row.id}.x", insert(`1 "a"`), `o.1.x {"op":"insert","key":1,` + row + `}`, ""},
		"a part of a segment": {"o/t-{row.tenant}", insert(`1 "a"`), `o/t-a {"op":"insert","key":1,` + row + `}`, ""},
		"null":                {"o/{row.tenant}", insert(`1 null`), "", "in no channel"},
		"empty":               {"o/{row.tenant}", insert(`1 ""`), "", "in no channel"},
		"a slash":             {"o/{row.tenant}", insert(`1 "a/b"`), "", "in no channel"},
		"a dot":               {"o.{row.tenant}", insert(`1 "a.b"`), "", "in no channel"},
		"a dot beside slashes": {
			"o/{row.tenant}", insert(`1 "a.b"`), `o/a.b {"op":"insert","key":1,"row":{"id":1,"tenant":"a.b"}}`, "",
		},
		"a wildcard":      {"o/{row.tenant}", insert(`1 "**"`), "", "in no channel"},
		"the server's":    {"{row.tenant}/x", insert(`1 "$sys"`), "", "in no channel"},
		"white space":     {"o/{row.tenant}", insert(`1 "\u00a0"`), "", "in no channel"},
		"delete":          {"o/{row.tenant}", remove(`1 "a"`), `o/a {"op":"delete","key":1}`, ""},
		"delete unknown":  {"o/{row.tenant}", remove(`1 ?`), "", "REPLICA IDENTITY FULL"},
		"delete anywhere": {"o", remove(`1 ?`), `o {"op":"delete","key":1}`, ""},
		"update":          {"o/{row.tenant}", update(`1 "a"`, `1 "a"`), `o/a {"op":"update","key":1,` + row + `}`, ""},
		"unchanged":       {"o/{row.id}", update(`1 ?`, `1 ?`), `o/1 {"op":"update","key":1,"row":{"id":1},"unchanged":["tenant"]}`, ""},
		"all unchanged":   {"o", update(`? ?`, `? ?`), `o {"op":"update","key":1,"row":{},"unchanged":["id","tenant"]}`, ""},
		"moved": {
			"o/{row.tenant}", update(`1 "b"`, `1 "a"`), `o/b {"op":"delete","key":1}` + "\n" + `o/a {"op":"insert","key":1,` + row + `}`, "",
		},
		"moved to nowhere":   {"o/{row.tenant}", update(`1 "b"`, `1 null`), `o/b {"op":"delete","key":1}`, "in no channel"},
		"moved from nowhere": {"o/{row.tenant}", update(`1 null`, `1 "a"`), `o/a {"op":"insert","key":1,` + row + `}`, "in no channel"},
		"perhaps moved":      {"o/{row.tenant}", update(`1 ?`, `1 "a"`), `o/a {"op":"update","key":1,` + row + `}`, "REPLICA IDENTITY FULL"},
		"to an unknown":      {"o/{row.tenant}", update(`1 ?`, `1 ?`), "", "REPLICA IDENTITY FULL"},
		"another key":        {"o", rekeyed, `o {"op":"delete","key":0}` + "\n" + `o {"op":"insert","key":1,` + row + `}`, ""},
		"truncate":           {"o", truncate, `o {"op":"truncate"}`, ""},
		"truncate of many":   {"o/{row.tenant}", truncate, "", "truncated"},
		"a large row": {
			"o", insert(`1 "` + strings.Repeat("a", maxChange) + `"`), `o {"op":"insert","key":1,"too_large":true}`, "too large",
		},
	} {
		got, logged := publishing(t, c.template, nil, c.change)
		if got != c.want || !strings.Contains(logged, c.logged) || (logged == "") != (c.logged == "") {
			t.Errorf("%s: got %.300s, want %.300s; logged %q", name, got, c.want, logged)
		}
	}
}

// What cannot be published now is published later, in its order; what cannot be at all holds nothing up.
func TestChangesThatCannotBePublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []*stream.RowChange
		for i := range 200 {
			tenant := fmt.Sprintf(`"t%d"`, i%2)
			changes = append(changes, &stream.RowChange{Op: protocol.OpInsert, Key: fmt.Append(nil, i), New: [][]byte{fmt.Append(nil, i), []byte(tenant)}})
		}
		failures := 0
		began := time.Now()
		got, logged := publishing(t, "o/{row.tenant}", func(channel string) error {
			if channel == "o/t1" {
				return protocol.Errorf(protocol.Forbidden, "no")
			}
			if failures++; failures < 20 {
				return errors.New("the broker is away")
			}
			return nil
		}, changes...)
		lines := strings.Split(got, "\n")
		if len(lines) != 100 || !strings.HasPrefix(lines[99], `o/t0 {"op":"insert","key":198,`) {
			t.Errorf("got %d: %s", len(lines), got)
		}
		if n := strings.Count(logged, "\n") + 1; n > 6 { // each once a minute
			t.Errorf("%d lines are logged:\n%s", n, logged)
		}
		if took := time.Since(began); took < 10*time.Second || took > 2*time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}
