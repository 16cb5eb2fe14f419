package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// nested is a JSON value of so many arrays in each other.
func nested(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

// names are n strings of JSON with commas between.
func names(n int) string { return strings.TrimSuffix(strings.Repeat(`"a",`, n), ",") }

func TestDecode(t *testing.T) {
	tests := []struct {
		name, msg string
		want      Request
		numbers   string // the initials of those that stand in the message: h, l, b, c; Decode gives -1 for the others
	}{
		{name: "ping", msg: `{"type":"ping"}`, want: Request{Type: TypePing}},
		{name: "white space around", msg: " \r\n\t{ \"type\" : \"pong\" } \n", want: Request{Type: TypePong}},
		{name: "escaped type and member", msg: `{"t\u0079pe":"p\u0069ng"}`, want: Request{Type: TypePing}},
		{name: "unknown fields", msg: `{"x":{"type":1},"type":"ping","Type":"pong","timestamp":"?"}`, want: Request{Type: TypePing}},
		{name: "unknown fields twice", msg: `{"x":1,"type":"ping","x":2}`, want: Request{Type: TypePing}},
		{name: "fields of other types", msg: `{"type":"ping","channel":7,"since":[],"token":{}}`, want: Request{Type: TypePing}},
		{name: "message", msg: `{"type":"message","data":1}`, want: Request{Type: TypeMessage}},
		{name: "depth 32", msg: `{"type":"ping","x":` + nested(31) + `}`, want: Request{Type: TypePing}},
		{name: "brackets in strings nest nothing", msg: `{"type":"ping","x":"` + nested(40) + `\"[["}`, want: Request{Type: TypePing}},

		{name: "nor do they behind an escaped quote", msg: `{"type":"ping","x":"\"` + strings.Repeat("[", 40) + `"}`, want: Request{Type: TypePing}},

		{name: "id of one character", msg: `{"type":"ping","id":"a"}`, want: Request{Type: TypePing, ID: `"a"`}},
		{name: "id of 64 characters", msg: `{"type":"ping","id":"` + strings.Repeat("ü", 64) + `"}`,
			want: Request{Type: TypePing, ID: ID(`"` + strings.Repeat("ü", 64) + `"`)}},
		{name: "id of 64 escaped characters", msg: `{"type":"ping","id":"` + strings.Repeat(`\u00fc`, 64) + `"}`,
			want: Request{Type: TypePing, ID: ID(`"` + strings.Repeat(`\u00fc`, 64) + `"`)}},
		{name: "id 0", msg: `{"id":0,"type":"ping"}`, want: Request{Type: TypePing, ID: "0"}},
		{name: "id 2^53", msg: `{"id": 9007199254740992 ,"type":"ping"}`, want: Request{Type: TypePing, ID: "9007199254740992"}},
		{name: "id null", msg: `{"id":null,"type":"ping"}`, want: Request{Type: TypePing}},

		{name: "subscribe", msg: `{"type":"subscribe","channel":"a/b"}`, want: Request{Type: TypeSubscribe, Channels: []string{"a/b"}}},
		{name: "subscribe to several", msg: `{"type":"subscribe","channels":["a", "b\u002fc" ,"a"],"presence":true}`,
			want: Request{Type: TypeSubscribe, Channels: []string{"a", "b/c", "a"}, Presence: true}},
		{name: "subscribe to 128", msg: `{"type":"subscribe","channels":[` + names(128) + `]}`,
			want: Request{Type: TypeSubscribe, Channels: slices.Repeat([]string{"a"}, 128)}},
		{name: "subscribe with since", msg: `{"type":"subscribe","channel":"a","since":{"x":[1],"offset":18446744073709551615,"epoch":"e\n"}}`,
			want: Request{Type: TypeSubscribe, Channels: []string{"a"}, Since: &Position{Epoch: "e\n", Offset: 1<<64 - 1}}},
		{name: "subscribe with history", msg: `{"type":"subscribe","channel":"a","history":5,"presence":false}`,
			want: Request{Type: TypeSubscribe, Channels: []string{"a"}, History: 5}, numbers: "h"},
		{name: "subscribe with nulls", msg: `{"type":"subscribe","channel":"a","history":null,"since":null,"presence":null}`,
			want: Request{Type: TypeSubscribe, Channels: []string{"a"}}},
		{name: "a huge number is cut", msg: `{"type":"subscribe","channel":"a","history":9007199254740993}`,
			want: Request{Type: TypeSubscribe, Channels: []string{"a"}, History: 1<<31 - 1}, numbers: "h"},
		{name: "unsubscribe", msg: `{"type":"unsubscribe","channels":["a","b"]}`, want: Request{Type: TypeUnsubscribe, Channels: []string{"a", "b"}}},

		{name: "publish", msg: `{"type":"publish","channel":"a","data":{"x": 1, "x": 2.50}}`,
			want: Request{Type: TypePublish, Channels: []string{"a"}, Data: []byte(`{"x": 1, "x": 2.50}`)}},
		{name: "publish null", msg: `{"type":"publish","channel":"a","data":null,"key":null}`,
			want: Request{Type: TypePublish, Channels: []string{"a"}, Data: []byte(`null`)}},
		{name: "publish a string", msg: `{"type":"publish","channel":"a","data":"\n \u2028"}`,
			want: Request{Type: TypePublish, Channels: []string{"a"}, Data: []byte(`"\n \u2028"`)}},
		{name: "publish with line breaks", msg: "{\"type\":\"publish\",\"channel\":\"a\",\"data\":\r\n[1 ,\n1e400,\t\"a  b\",\r{\"b\" : 1, \"b\":2,\"a\":3}\n]\n}",
			want: Request{Type: TypePublish, Channels: []string{"a"}, Data: []byte(`[1,1e400,"a  b",{"b":1,"b":2,"a":3}]`)}},
		{name: "publish with a carriage return", msg: "{\"type\":\"publish\",\"channel\":\"a\",\"data\":[1,\r2]}",
			want: Request{Type: TypePublish, Channels: []string{"a"}, Data: []byte(`[1,2]`)}},
		{name: "publish with a key of one character", msg: `{"type":"publish","channel":"a","data":1,"key":"\u0000"}`,
			want: Request{Type: TypePublish, Channels: []string{"a"}, Data: []byte("1"), Key: "\x00"}},
		{name: "publish with a key of 128 characters", msg: `{"type":"publish","channel":"a","data":1,"key":"` + strings.Repeat("ü", 128) + `"}`,
			want: Request{Type: TypePublish, Channels: []string{"a"}, Data: []byte("1"), Key: strings.Repeat("ü", 128)}},

		{name: "history", msg: `{"type":"history","channel":"a","limit":0,"since":{"epoch":"","offset":0}}`,
			want: Request{Type: TypeHistory, Channels: []string{"a"}, Since: &Position{}}, numbers: "l"},
		{name: "history without limit", msg: `{"type":"history","channel":"a"}`, want: Request{Type: TypeHistory, Channels: []string{"a"}}},
		{name: "presence", msg: `{"type":"presence","channel":"a"}`, want: Request{Type: TypePresence, Channels: []string{"a"}}},
		{name: "authenticate", msg: `{"type":"authenticate","token":"a.b.c"}`, want: Request{Type: TypeAuthenticate, Token: "a.b.c"}},

		{name: "stream_query", msg: `{"type":"stream_query","query":"q","params":{"a": 1},"batch_size":10,"credits":0,"format":"arrays","source":"d","resume":{"stream_id":"s","batch_number":4}}`,
			want: Request{Type: TypeStreamQuery, Query: "q", Source: "d", Params: []byte(`{"a": 1}`), BatchSize: 10, Credits: 0,
				Format: "arrays", Resume: &Resume{"s", 4, -1}}, numbers: "bc"},
		{name: "stream_query that resumes", msg: `{"type":"stream_query","resume":{"batch_number":null,"more":[1],"stream_id":"\u0073"}}`,
			want: Request{Type: TypeStreamQuery, Resume: &Resume{"s", -1, -1}}},
		{name: "stream_query that resumes from the beginning", msg: `{"type":"stream_query","query":"q","resume":{"batch_number":-1,"stream_id":"s"}}`,
			want: Request{Type: TypeStreamQuery, Query: "q", Resume: &Resume{"s", -1, -1}}},
		{name: "stream_query with nothing else", msg: `{"type":"stream_query","query":"q","params":null,"credits":null,"format":null,"source":null,"resume":null}`,
			want: Request{Type: TypeStreamQuery, Query: "q"}},
		{name: "watch", msg: `{"type":"watch","query":"q","params":{"a":1},"credits":2,"resume":{"stream_id":"s","revision":7}}`,
			want: Request{Type: TypeWatch, Query: "q", Params: []byte(`{"a":1}`), Credits: 2, Resume: &Resume{"s", -1, 7}}, numbers: "c"},
		{name: "unwatch", msg: `{"type":"unwatch","stream_id":"s"}`, want: Request{Type: TypeUnwatch, StreamID: "s"}},
		{name: "credit", msg: `{"type":"credit","stream_id":"s","batches":3}`, want: Request{Type: TypeCredit, StreamID: "s", Credits: 3}, numbers: "c"},
		{name: "cancel_query", msg: `{"type":"cancel_query","stream_id":"s"}`, want: Request{Type: TypeCancelQuery, StreamID: "s"}},
		{name: "query_status", msg: `{"type":"query_status","stream_id":"s","query_id":"t"}`, want: Request{Type: TypeQueryStatus, StreamID: "s"}},
		{name: "query_status by its old name", msg: `{"type":"query_status","query_id":"s"}`, want: Request{Type: TypeQueryStatus, StreamID: "s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decode([]byte(tt.msg))
			if err != nil {
				t.Fatal(err)
			}
			if want := withAbsent(tt.want, tt.numbers); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// withAbsent sets the numbers that are not among those present to what Decode gives for absent ones.
func withAbsent(r Request, present string) Request {
	for initial, number := range map[string]*int{"h": &r.History, "l": &r.Limit, "b": &r.BatchSize, "c": &r.Credits} {
		if !strings.Contains(present, initial) {
			*number = -1
		}
	}
	return r
}

func TestDecodeRefuses(t *testing.T) {
	const in = `{"id":7,"type":` // what begins so is answered with its id
	publish := func(rest string) string { return in + `"publish","channel":"a","data":1,` + rest + `}` }
	tests := []struct {
		name, msg string
		code      Code
		noID      bool // the answer cannot bear the id 7
	}{
		{name: "nothing", msg: ``, code: InvalidMessage, noID: true},
		{name: "blank", msg: " \n", code: InvalidMessage, noID: true},
		{name: "no JSON", msg: `hello`, code: InvalidMessage, noID: true},
		{name: "array", msg: `[{"type":"ping"}]`, code: InvalidMessage, noID: true},
		{name: "string", msg: `"ping"`, code: InvalidMessage, noID: true},
		{name: "null", msg: `null`, code: InvalidMessage, noID: true},
		{name: "cut", msg: `{"type":"ping"`, code: InvalidMessage, noID: true},
		{name: "cut within a string", msg: `{"type":"ping`, code: InvalidMessage, noID: true},
		{name: "cut behind an escape", msg: `{"type":"ping\`, code: InvalidMessage, noID: true},
		{name: "trailing comma", msg: `{"type":"ping",}`, code: InvalidMessage, noID: true},
		{name: "resume of nothing", msg: in + `"stream_query","query":"q","resume":{"batch_number":1}}`, code: InvalidMessage},
		{name: "resume that is no object", msg: in + `"stream_query","query":"q","resume":["s"]}`, code: InvalidMessage},
		{name: "resume behind a fraction", msg: in + `"stream_query","query":"q","resume":{"stream_id":"s","batch_number":1.5}}`, code: InvalidMessage},
		{name: "resume behind a negative batch", msg: in + `"stream_query","query":"q","resume":{"stream_id":"s","batch_number":-2}}`, code: InvalidMessage},
		{name: "watch of nothing", msg: in + `"watch","resume":{"stream_id":"s","revision":1}}`, code: InvalidMessage},
		{name: "resume behind a negative revision", msg: in + `"watch","query":"q","resume":{"stream_id":"s","revision":-2}}`, code: InvalidMessage},
		{name: "unwatch of nothing", msg: in + `"unwatch"}`, code: InvalidMessage},
		{name: "resume of a number", msg: in + `"stream_query","query":"q","resume":{"stream_id":7,"batch_number":1}}`, code: InvalidMessage},
		{name: "resume of a query that is none", msg: in + `"stream_query","query":7,"resume":{"stream_id":"s"}}`, code: InvalidMessage},
		{name: "missing comma", msg: `{"type":"ping" "id":7}`, code: InvalidMessage, noID: true},
		{name: "missing colon", msg: `{"type" "ping"}`, code: InvalidMessage, noID: true},
		{name: "wrong brackets", msg: `{"type":"ping"]`, code: InvalidMessage, noID: true},
		{name: "single quotes", msg: `{'type':'ping'}`, code: InvalidMessage, noID: true},
		{name: "control character in a string", msg: "{\"type\":\"pi\nng\"}", code: InvalidMessage, noID: true},
		{name: "bad number in an unknown field", msg: `{"type":"ping","x":01}`, code: InvalidMessage, noID: true},
		{name: "invalid UTF-8", msg: "{\"type\":\"ping\",\"x\":\"\xff\"}", code: InvalidMessage, noID: true},
		{name: "byte order mark", msg: "\ufeff{\"type\":\"ping\"}", code: InvalidMessage, noID: true},
		{name: "trailing data", msg: `{"id":7,"type":"ping"}x`, code: InvalidMessage, noID: true},
		{name: "two objects", msg: `{"id":7,"type":"ping"} {"id":8,"type":"ping"}`, code: InvalidMessage, noID: true},

		{name: "depth 33", msg: in + `"ping","x":` + nested(32) + `}`, code: InvalidMessage},
		{name: "depth 33 before the id", msg: `{"x":{"id":8,"y":` + nested(40) + `},"s":"\"[","id":7}`, code: InvalidMessage},
		{name: "depth 100000", msg: in + `"ping","x":` + strings.Repeat(`{"x":`, 100000), code: InvalidMessage, noID: true},
		{name: "type twice", msg: in + `"ping","type":"ping"}`, code: InvalidMessage},
		{name: "channel twice", msg: in + `"subscribe","channel":"a","channel":"a"}`, code: InvalidMessage},
		{name: "data twice, once escaped", msg: publish(`"d\u0061ta":1`), code: InvalidMessage},
		{name: "id twice", msg: in + `"ping","id":8}`, code: InvalidMessage},

		{name: "no type", msg: `{"id":7}`, code: InvalidMessage},
		{name: "type null", msg: in + `null}`, code: InvalidMessage},
		{name: "type a number", msg: in + `1}`, code: InvalidMessage},
		{name: "unknown type", msg: in + `"shout"}`, code: UnknownType},
		{name: "empty type", msg: in + `""}`, code: UnknownType},
		{name: "type in capitals", msg: in + `"PING"}`, code: UnknownType},
		{name: "type of the server", msg: in + `"welcome"}`, code: UnknownType},

		{name: "id empty", msg: `{"type":"ping","id":""}`, code: InvalidMessage, noID: true},
		{name: "id of 65 characters", msg: `{"type":"ping","id":"` + strings.Repeat("a", 65) + `"}`, code: InvalidMessage, noID: true},
		{name: "id 2^53+1", msg: `{"type":"ping","id":9007199254740993}`, code: InvalidMessage, noID: true},
		{name: "id beyond 64 bits", msg: `{"type":"ping","id":18446744073709551616}`, code: InvalidMessage, noID: true},
		{name: "id negative", msg: `{"type":"ping","id":-1}`, code: InvalidMessage, noID: true},
		{name: "id with a fraction", msg: `{"type":"ping","id":1.5}`, code: InvalidMessage, noID: true},
		{name: "id with an exponent", msg: `{"type":"ping","id":1e3}`, code: InvalidMessage, noID: true},
		{name: "id true", msg: `{"type":"ping","id":true}`, code: InvalidMessage, noID: true},
		{name: "id an array", msg: `{"type":"ping","id":[7]}`, code: InvalidMessage, noID: true},
		{name: "id an object", msg: `{"type":"ping","id":{}}`, code: InvalidMessage, noID: true},
		{name: "id an unpaired surrogate", msg: `{"type":"ping","id":"\ud800"}`, code: InvalidMessage, noID: true},

		{name: "subscribe to nothing", msg: in + `"subscribe"}`, code: InvalidMessage},
		{name: "channel null", msg: in + `"subscribe","channel":null}`, code: InvalidMessage},
		{name: "channel a number", msg: in + `"subscribe","channel":1}`, code: InvalidMessage},
		{name: "channel an array", msg: in + `"subscribe","channel":["a"]}`, code: InvalidMessage},
		{name: "channel and channels", msg: in + `"subscribe","channel":"a","channels":["b"]}`, code: InvalidMessage},
		{name: "channels a string", msg: in + `"subscribe","channels":"a"}`, code: InvalidMessage},
		{name: "channels empty", msg: in + `"subscribe","channels":[]}`, code: InvalidMessage},
		{name: "channels of numbers", msg: in + `"unsubscribe","channels":["a",1]}`, code: InvalidMessage},
		{name: "channels nested", msg: in + `"subscribe","channels":[["a"]]}`, code: InvalidMessage},
		{name: "channels with null", msg: in + `"subscribe","channels":["a",null]}`, code: InvalidMessage},
		{name: "129 channels", msg: in + `"subscribe","channels":[` + names(129) + `]}`, code: LimitExceeded},
		{name: "since a number", msg: in + `"subscribe","channel":"a","since":5}`, code: InvalidMessage},
		{name: "since empty", msg: in + `"subscribe","channel":"a","since":{}}`, code: InvalidMessage},
		{name: "since without epoch", msg: in + `"subscribe","channel":"a","since":{"offset":1}}`, code: InvalidMessage},
		{name: "since without offset", msg: in + `"subscribe","channel":"a","since":{"epoch":"e"}}`, code: InvalidMessage},
		{name: "since with an epoch of numbers", msg: in + `"subscribe","channel":"a","since":{"epoch":1,"offset":1}}`, code: InvalidMessage},
		{name: "since with an offset of text", msg: in + `"subscribe","channel":"a","since":{"epoch":"e","offset":"1"}}`, code: InvalidMessage},
		{name: "since with a negative offset", msg: in + `"history","channel":"a","since":{"epoch":"e","offset":-1}}`, code: InvalidMessage},
		{name: "since with a fraction", msg: in + `"history","channel":"a","since":{"epoch":"e","offset":1.0}}`, code: InvalidMessage},
		{name: "since with null", msg: in + `"history","channel":"a","since":{"epoch":"e","offset":null}}`, code: InvalidMessage},
		{name: "since and history", msg: in + `"subscribe","channel":"a","history":1,"since":{"epoch":"e","offset":1}}`, code: InvalidMessage},
		{name: "history negative", msg: in + `"subscribe","channel":"a","history":-1}`, code: InvalidMessage},
		{name: "history a string", msg: in + `"subscribe","channel":"a","history":"1"}`, code: InvalidMessage},
		{name: "presence a number", msg: in + `"subscribe","channel":"a","presence":1}`, code: InvalidMessage},

		{name: "publish to nothing", msg: in + `"publish","data":1}`, code: InvalidMessage},
		{name: "publish to several", msg: in + `"publish","channels":["a"],"data":1}`, code: InvalidMessage},
		{name: "publish nothing", msg: in + `"publish","channel":"a"}`, code: InvalidMessage},
		{name: "key empty", msg: publish(`"key":""`), code: InvalidMessage},
		{name: "key of 129 characters", msg: publish(`"key":"` + strings.Repeat("a", 129) + `"`), code: InvalidMessage},
		{name: "key a number", msg: publish(`"key":1`), code: InvalidMessage},

		{name: "history of nothing", msg: in + `"history"}`, code: InvalidMessage},
		{name: "limit with a fraction", msg: in + `"history","channel":"a","limit":1.5}`, code: InvalidMessage},
		{name: "presence of nothing", msg: in + `"presence"}`, code: InvalidMessage},
		{name: "no token", msg: in + `"authenticate"}`, code: InvalidMessage},
		{name: "token null", msg: in + `"authenticate","token":null}`, code: InvalidMessage},

		{name: "no query", msg: in + `"stream_query"}`, code: InvalidMessage},
		{name: "query a number", msg: in + `"stream_query","query":1}`, code: InvalidMessage},
		{name: "params an array", msg: in + `"stream_query","query":"q","params":[]}`, code: InvalidParams},
		{name: "batch_size negative", msg: in + `"stream_query","query":"q","batch_size":-1}`, code: InvalidMessage},
		{name: "credits a string", msg: in + `"stream_query","query":"q","credits":"1"}`, code: InvalidMessage},
		{name: "source a number", msg: in + `"stream_query","query":"q","source":1}`, code: InvalidMessage},
		{name: "format a number", msg: in + `"stream_query","query":"q","format":1}`, code: InvalidMessage},
		{name: "credit of nothing", msg: in + `"credit","stream_id":"s"}`, code: InvalidMessage},
		{name: "credit of 0", msg: in + `"credit","stream_id":"s","batches":0}`, code: InvalidMessage},
		{name: "credit for nothing", msg: in + `"credit","batches":1}`, code: InvalidMessage},
		{name: "cancel by the old name", msg: in + `"cancel_query","query_id":"s"}`, code: InvalidMessage},
		{name: "status of nothing", msg: in + `"query_status"}`, code: InvalidMessage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := Decode([]byte(tt.msg))
			if err == nil {
				t.Fatalf("accepted as %+v", req)
			}
			if err.Code != tt.code || err.Message == "" {
				t.Errorf("error %v, want %s", err, tt.code)
			}
			if want := map[bool]ID{false: "7", true: ""}[tt.noID]; req.ID != want {
				t.Errorf("id %q, want %q", req.ID, want)
			}
		})
	}
}

func TestDecodeLeavesTheMessageAsItIs(t *testing.T) {
	const msg = "{\"type\":\"publish\",\"channel\":\"\\u0061\",\"data\":{\n\"x\" : [ 1 ]\r\n},\"key\":\"\\n\"}"
	got := []byte(msg)
	if _, err := Decode(got); err != nil {
		t.Fatal(err)
	}
	if string(got) != msg {
		t.Errorf("the message is now %q", got)
	}
}

// codes are those that Decode may give.
var codes = []Code{InvalidMessage, UnknownType, LimitExceeded, InvalidParams}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"type":"subscribe","channels":["a","b"],"since":{"epoch":"e","offset":1}}`,
		"{\"type\":\"publish\",\"channel\":\"a\",\"data\":[1,\r\n2],\"key\":\"k\",\"id\":1}",
		`{"type":"stream_query","query":"q","params":{"a":"\ud83d\ude00"},"id":"x"}`,
		`{"type":"credit","stream_id":"s","batches":1}`, `{"type":"ping","x":` + nested(40) + `,"id":9}`, `[]`, `{"a":1,}`, "\xff", `{"":"\`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		req, err := Decode(bytes.Clone(msg))
		if req.ID != "" {
			checkID(t, req.ID)
		}
		if err != nil {
			if !slices.Contains(codes, err.Code) || err.Message == "" {
				t.Fatalf("error %v", err)
			}
			return
		}
		var object map[string]json.RawMessage
		if !json.Valid(msg) || json.Unmarshal(msg, &object) != nil || object == nil {
			t.Fatalf("accepted %q", msg)
		}
		if d := naiveDepth(msg); d > MaxDepth {
			t.Fatalf("accepted depth %d", d)
		}
		if id, has := object["id"]; has && string(id) != "null" && string(id) != string(req.ID) {
			t.Fatalf("id %q of %q", req.ID, id)
		}
		if req.Type == TypePublish {
			checkData(t, req.Data, object["data"])
		}
		if n := len(req.Channels); n > MaxChannels {
			t.Fatalf("%d channels", n)
		}
	})
}

// checkID holds an accepted id against what the protocol says of ids.
func checkID(t *testing.T, id ID) {
	var v any
	if err := json.Unmarshal([]byte(id), &v); err != nil || bytes.ContainsAny([]byte(id), "\r\n") {
		t.Fatalf("id %q: %v", id, err)
	}
	switch v := v.(type) {
	case string:
		if n := utf8.RuneCountInString(v); n < 1 || n > 64 {
			t.Fatalf("id %q", id)
		}
	case float64:
		if v < 0 || v > 1<<53 || strings.ContainsAny(string(id), ".eE-") {
			t.Fatalf("id %q", id)
		}
	default:
		t.Fatalf("id %q", id)
	}
}

// checkData holds what would be published against what was in the message.
func checkData(t *testing.T, data, sent []byte) {
	if !json.Valid(data) || bytes.ContainsAny(data, "\r\n") {
		t.Fatalf("data %q", data)
	}
	var got, want bytes.Buffer
	if json.Compact(&got, data) != nil || json.Compact(&want, sent) != nil || got.String() != want.String() {
		t.Fatalf("data %q of %q", data, sent)
	}
}

// naiveDepth is how deep a valid message is nested.
func naiveDepth(msg []byte) (deepest int) {
	dec := json.NewDecoder(bytes.NewReader(msg))
	for now := 0; ; {
		token, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			now++
			deepest = max(deepest, now)
		case json.Delim('}'), json.Delim(']'):
			now--
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, msg := range []string{
		`{"type":"ping"}`,
		`{"type":"subscribe","id":1,"channels":["a/b","c/d"],"since":{"epoch":"e","offset":1}}`,
		`{"type":"publish","id":"x","channel":"sensors/kitchen","data":{"value":21.5,"unit":"C"}}`,
	} {
		req, err := Decode([]byte(msg))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(req.Type), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Decode([]byte(msg))
			}
		})
	}
}
