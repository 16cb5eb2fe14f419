package protocol_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/schematest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// asyncAPI reads the document as JSON has it: numbers are float64, times strings.
func asyncAPI(t testing.TB) schematest.Document {
	t.Helper()
	text, err := os.ReadFile("../docs/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	if err := yaml.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var d schematest.Document
	if err := json.Unmarshal(encoded, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// described gives the messages of an operation by their type.
func described(t testing.TB, d schematest.Document, operation string) map[string]map[string]any {
	t.Helper()
	all := make(map[string]map[string]any)
	for _, one := range d.Resolve("#/operations/" + operation + "/messages").([]any) {
		inChannel := d.Resolve(one.(map[string]any)["$ref"].(string)).(map[string]any)
		message := d.Resolve(inChannel["$ref"].(string)).(map[string]any)
		typ := message["payload"].(map[string]any)["properties"].(map[string]any)["type"].(map[string]any)["const"].(string)
		if typ != message["name"] || all[typ] != nil {
			t.Errorf("%s %s: the name is %v, or it stands twice", operation, typ, message["name"])
		}
		all[typ] = message
	}
	return all
}

// examples gives the payloads of a message's examples, which must fit its schema.
func examples(t testing.TB, d schematest.Document, message map[string]any) (out []map[string]any) {
	t.Helper()
	for _, one := range message["examples"].([]any) {
		payload := one.(map[string]any)["payload"].(map[string]any)
		if wrong := d.Check("$", message["payload"].(map[string]any), payload); wrong != "" {
			t.Errorf("%v: %s", message["name"], wrong)
		}
		out = append(out, payload)
	}
	if len(out) == 0 {
		t.Errorf("%v has no example", message["name"])
	}
	return out
}

func TestAsyncAPIOfClients(t *testing.T) {
	d := asyncAPI(t)
	messages := described(t, d, "receive")
	want := []string{
		protocol.TypeSubscribe, protocol.TypeUnsubscribe, protocol.TypePublish, protocol.TypeHistory, protocol.TypePresence,
		protocol.TypeStreamQuery, protocol.TypeCredit, protocol.TypeCancelQuery, protocol.TypeQueryStatus, protocol.TypeAuthenticate,
		protocol.TypePing, protocol.TypePong, protocol.TypeMessage, protocol.TypeWatch, protocol.TypeUnwatch,
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(messages)); !slices.Equal(got, want) {
		t.Errorf("the document has %v, the codec %v", got, want)
	}
	for typ, message := range messages {
		payload := message["payload"].(map[string]any)
		for _, example := range examples(t, d, message) {
			text, _ := json.Marshal(example)
			if req, err := protocol.Decode(text); err != nil || req.Type != typ {
				t.Errorf("%s: %v", text, err)
			}
			// What the document requires is really required.
			for _, name := range payload["required"].([]any) {
				less := maps.Clone(example)
				delete(less, name.(string))
				text, _ := json.Marshal(less)
				if _, err := protocol.Decode(text); err == nil {
					t.Errorf("%s is taken without %s", text, name)
				}
			}
			for name, value := range example {
				if payload["properties"].(map[string]any)[name] == nil {
					t.Errorf("%s: %s %v is not described", typ, name, value)
				}
			}
		}
	}
}

// said are messages of the server: of each type one with all of its fields, and one with as few as it can have.
func said() [][]byte {
	now, three, share, eta := time.Now(), int64(3), 0.5, time.Second
	position := protocol.Position{Epoch: "e", Offset: 7}
	const id = "c1289616-c22c-4548-bc33-b4bdc9c00046"
	message := func(offset uint64) []byte {
		m, _, _ := protocol.AppendChannelMessage(nil, "a", []byte(`{"x":1}`), now, offset)
		return m
	}
	history := func(dst []byte, _ int) []byte { return append(dst, message(7)...) }
	member, nobody := protocol.AppendMember(nil, id, "ann", now), protocol.AppendMember(nil, id, "", now)
	limited := protocol.Errorf(protocol.RateLimited, "too many messages")
	limited.RetryAfter = time.Second
	batch := func(more bool) []byte {
		return protocol.AppendQueryBatchEnd(append(protocol.AppendQueryBatchStart(nil, id, 0), `[1]`...), more)
	}
	return [][]byte{
		protocol.AppendWelcome(nil, protocol.Welcome{ConnectionID: id, User: "ann", Position: position, Now: now}),
		protocol.AppendWelcome(nil, protocol.Welcome{ConnectionID: id, Now: now}),
		protocol.AppendSubscribed(nil, protocol.Subscribed{ID: "1", Channel: "a/*", Now: now, Position: &position, Recovery: true}),
		protocol.AppendSubscribed(nil, protocol.Subscribed{Channel: "a", Now: now}),
		protocol.AppendUnsubscribed(nil, "a", now, `"x"`), protocol.AppendUnsubscribed(nil, "a", now, ""),
		message(7), message(0),
		protocol.AppendPublished(nil, protocol.Published{ID: "1", Channel: "a", Position: position, Duplicate: true}),
		protocol.AppendPublished(nil, protocol.Published{ID: "1", Channel: "a"}),
		protocol.AppendGap(nil, protocol.Gap{Channel: "a", After: 1, Before: 3, Dropped: 1, Reason: "drop_oldest"}),
		protocol.AppendGap(nil, protocol.Gap{Channel: "a", Reason: "history_trimmed", Recoverable: true}),
		protocol.AppendHistory(nil, "1", "a", "e", true, 2, history), protocol.AppendHistory(nil, "", "a", "e", false, 0, history),
		protocol.AppendPresence(nil, "1", "a", [][]byte{member, nobody}, 2), protocol.AppendPresence(nil, "", "a", nil, 0),
		protocol.AppendPresenceEvent(nil, true, "a", member), protocol.AppendPresenceEvent(nil, false, "a", nobody),
		protocol.AppendQueryStarted(nil, protocol.QueryStarted{
			StreamID: id, Query: "q", ID: "1", Columns: []protocol.QueryColumn{{Name: "a", Type: "text"}}, Rows: &three, TotalKind: "exact", Resumed: true,
		}),
		protocol.AppendQueryStarted(nil, protocol.QueryStarted{StreamID: id, Query: "q", TotalKind: "unknown"}),
		batch(true), batch(false),
		protocol.AppendQueryProgress(nil, protocol.QueryProgress{StreamID: id, Percentage: &share, ETA: &eta, State: "streaming"}),
		protocol.AppendQueryProgress(nil, protocol.QueryProgress{StreamID: id, State: "paused"}),
		protocol.AppendQueryCompleted(nil, protocol.QueryCompleted{StreamID: id}),
		protocol.AppendQueryCancelled(nil, id, "operator", 1, "1"), protocol.AppendQueryCancelled(nil, id, "operator", 1, ""),
		protocol.AppendQueryStatus(nil, protocol.QueryStatus{StreamID: id, ID: "1", Status: "failed", Progress: &share}),
		protocol.AppendQueryStatus(nil, protocol.QueryStatus{StreamID: id, Status: "completed"}),
		protocol.AppendAuthenticated(nil, "1", "ann", now), protocol.AppendAuthenticated(nil, "", "ann", time.Time{}),
		protocol.AppendQueryReady(nil, id, 4), protocol.AppendQueryReset(nil, id),
		protocol.AppendQueryChange(nil, id, 6, protocol.OpInsert, []byte(`[1,"a"]`), []byte(`{"a":1}`)),
		protocol.AppendQueryChange(nil, id, 8, protocol.OpDelete, []byte(`1`), nil),
		protocol.AppendReconnect(nil, time.Second, "x"),
		protocol.AppendPong(nil, now, "1"), protocol.AppendPong(nil, now, ""),
		protocol.AppendError(nil, limited, "1", id, "a"), protocol.AppendError(nil, protocol.Errorf(protocol.Internal, "x"), "", "", ""),
	}
}

func TestAsyncAPIOfTheServer(t *testing.T) {
	d := asyncAPI(t)
	messages := described(t, d, "send")
	may, must := make(map[string]map[string]bool), make(map[string]map[string]bool)
	for _, text := range said() {
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		typ := m["type"].(string)
		if messages[typ] == nil {
			t.Errorf("%s is not described", typ)
			continue
		}
		if wrong := d.Check("$", messages[typ]["payload"].(map[string]any), m); wrong != "" {
			t.Errorf("%s: %s", text, wrong)
		}
		first := may[typ] == nil
		if first {
			may[typ], must[typ] = make(map[string]bool), make(map[string]bool)
		}
		for name := range m {
			may[typ][name] = true
			must[typ][name] = must[typ][name] || first
		}
		for name := range must[typ] {
			if _, ok := m[name]; !ok {
				delete(must[typ], name)
			}
		}
	}
	for typ, message := range messages {
		payload := message["payload"].(map[string]any)
		var required []string
		for _, name := range payload["required"].([]any) {
			required = append(required, name.(string))
		}
		slices.Sort(required)
		if want := slices.Sorted(maps.Keys(must[typ])); !slices.Equal(required, want) {
			t.Errorf("%s: the document requires %v, the codec writes %v", typ, required, want)
		}
		names := slices.Sorted(maps.Keys(payload["properties"].(map[string]any)))
		if want := slices.Sorted(maps.Keys(may[typ])); !slices.Equal(names, want) {
			t.Errorf("%s: the document has %v, the codec %v", typ, names, want)
		}
		examples(t, d, message)
	}
}

func TestAsyncAPIErrorCodes(t *testing.T) {
	text, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range strings.Lines(string(text)) {
		if _, value, ok := strings.Cut(line, "Code = \""); ok && !strings.HasPrefix(strings.TrimSpace(line), "//") {
			code, _, _ := strings.Cut(value, `"`)
			want = append(want, code)
		}
	}
	for _, code := range asyncAPI(t).Resolve("#/components/schemas/ErrorCode/enum").([]any) {
		got = append(got, code.(string))
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("the document has %v, the codec %v", got, want)
	}
}
