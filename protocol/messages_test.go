package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	// at is a time off UTC and with more than milliseconds, neither of which may show.
	at       = time.Date(2026, 3, 1, 0, 30, 0, 123_987_654, time.FixedZone("CET", 3600))
	position = Position{Epoch: "e", Offset: 1<<64 - 1}
)

// told is AppendChannelMessage without the place of the data.
func told(channel, data string, offset uint64) []byte {
	out, _, _ := AppendChannelMessage(nil, channel, []byte(data), at, offset)
	return out
}

func TestAppend(t *testing.T) {
	history := func(dst []byte, i int) []byte { return append(dst, told("a", fmt.Sprint(i), uint64(i+5))...) }
	none := func([]byte, int) []byte { panic("there is none") }
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"welcome", AppendWelcome(nil, Welcome{ConnectionID: "c", User: "u", HeartbeatInterval: 30 * time.Second,
			HeartbeatTimeout: 1500 * time.Millisecond, MaxMessageBytes: 65536, Position: position, Now: at}),
			`{"type":"welcome","connection_id":"c","user":"u","heartbeat_interval_ms":30000,"heartbeat_timeout_ms":1500,` +
				`"max_message_bytes":65536,"epoch":"e","offset":18446744073709551615,"server_time":"2026-02-28T23:30:00.123Z"}`},
		{"welcome, anonymous, new hub", AppendWelcome(nil, Welcome{ConnectionID: "c", Position: Position{Epoch: "e"}, Now: at}),
			`{"type":"welcome","connection_id":"c","heartbeat_interval_ms":0,"heartbeat_timeout_ms":0,` +
				`"max_message_bytes":0,"epoch":"e","offset":0,"server_time":"2026-02-28T23:30:00.123Z"}`},

		{"subscribed", AppendSubscribed(nil, Subscribed{Channel: "a/*", Now: at}),
			`{"type":"subscription_confirmed","channel":"a/*","timestamp":"2026-02-28T23:30:00.123Z"}`},
		{"subscribed with history", AppendSubscribed(nil, Subscribed{ID: "7", Channel: "a", Now: at, Position: &Position{Epoch: "e"}}),
			`{"type":"subscription_confirmed","channel":"a","timestamp":"2026-02-28T23:30:00.123Z","id":7,"epoch":"e","offset":0}`},
		{"subscribed with since", AppendSubscribed(nil, Subscribed{ID: `"x"`, Channel: "a", Now: at, Position: &position, Recovery: true, Recovered: true, Replayed: 3}),
			`{"type":"subscription_confirmed","channel":"a","timestamp":"2026-02-28T23:30:00.123Z","id":"x","epoch":"e",` +
				`"offset":18446744073709551615,"recovered":true,"replayed":3}`},
		{"subscribed with since, not recovered", AppendSubscribed(nil, Subscribed{Channel: "a", Now: at, Position: &Position{Epoch: "e", Offset: 2}, Recovery: true}),
			`{"type":"subscription_confirmed","channel":"a","timestamp":"2026-02-28T23:30:00.123Z","epoch":"e","offset":2,"recovered":false,"replayed":0}`},

		{"unsubscribed", AppendUnsubscribed(nil, "a", at, "0"),
			`{"type":"unsubscription_confirmed","channel":"a","timestamp":"2026-02-28T23:30:00.123Z","id":0}`},
		{"unsubscribed without id", AppendUnsubscribed(nil, "a", at, ""),
			`{"type":"unsubscription_confirmed","channel":"a","timestamp":"2026-02-28T23:30:00.123Z"}`},

		{"channel message", told("a/b", `{"x":[1]}`, 9),
			`{"type":"channel_message","channel":"a/b","data":{"x":[1]},"timestamp":"2026-02-28T23:30:00.123Z","offset":9}`},
		{"channel message without history", told("a", `null`, 0),
			`{"type":"channel_message","channel":"a","data":null,"timestamp":"2026-02-28T23:30:00.123Z"}`},

		{"published", AppendPublished(nil, Published{ID: "7", Channel: "a", Position: Position{Epoch: "e", Offset: 3}}),
			`{"type":"published","id":7,"channel":"a","offset":3,"epoch":"e"}`},
		{"published without history", AppendPublished(nil, Published{ID: "7", Channel: "a", Position: Position{Epoch: "e"}}),
			`{"type":"published","id":7,"channel":"a"}`},
		{"published twice", AppendPublished(nil, Published{ID: "7", Channel: "a", Position: Position{Epoch: "e", Offset: 3}, Duplicate: true}),
			`{"type":"published","id":7,"channel":"a","offset":3,"epoch":"e","duplicate":true}`},

		{"gap", AppendGap(nil, Gap{Channel: "a", After: 3, Before: 7, Dropped: 2, Reason: "drop_oldest", Recoverable: true}),
			`{"type":"gap","channel":"a","after":3,"before":7,"dropped":2,"reason":"drop_oldest","recoverable":true}`},
		{"gap that knows nothing", AppendGap(nil, Gap{Channel: "a", Reason: "history_trimmed"}),
			`{"type":"gap","channel":"a","dropped":null,"reason":"history_trimmed","recoverable":false}`},

		{"history", AppendHistory(nil, "7", "a", "e", true, 2, history),
			`{"type":"history","id":7,"channel":"a","messages":[` +
				`{"type":"channel_message","channel":"a","data":0,"timestamp":"2026-02-28T23:30:00.123Z","offset":5},` +
				`{"type":"channel_message","channel":"a","data":1,"timestamp":"2026-02-28T23:30:00.123Z","offset":6}],"epoch":"e","has_more":true}`},
		{"history of nothing", AppendHistory(nil, "", "a", "e", false, 0, none),
			`{"type":"history","channel":"a","messages":[],"epoch":"e","has_more":false}`},

		{"reconnect", AppendReconnect(nil, 2500*time.Millisecond, "stopping"), `{"type":"reconnect","after_ms":2500,"reason":"stopping"}`},
		{"pong", AppendPong(nil, at, `"x"`), `{"type":"pong","timestamp":"2026-02-28T23:30:00.123Z","id":"x"}`},
		{"pong without id", AppendPong(nil, at, ""), `{"type":"pong","timestamp":"2026-02-28T23:30:00.123Z"}`},

		{"error", AppendError(nil, Errorf(Forbidden, "no %s", "way"), "", "", ""), `{"type":"error","code":"FORBIDDEN","message":"no way"}`},
		{"error with everything", AppendError(nil, &Error{Code: RateLimited, Message: "slow down", RetryAfter: 1500 * time.Millisecond}, "7", "s", "a"),
			`{"type":"error","code":"RATE_LIMITED","message":"slow down","id":7,"stream_id":"s","channel":"a","retry_after_ms":1500}`},
		{"error with a wait under a millisecond", AppendError(nil, &Error{Code: RateLimited, RetryAfter: 1}, "", "", ""),
			`{"type":"error","code":"RATE_LIMITED","message":"","retry_after_ms":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if string(tt.got) != tt.want {
				t.Errorf("got  %s\nwant %s", tt.got, tt.want)
			}
			if !json.Valid(tt.got) {
				t.Errorf("not JSON: %s", tt.got)
			}
		})
	}
}

// TestAppendAnyText puts any bytes, valid UTF-8 or not, into every place for text.
func TestAppendAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 20), rapid.Just([]byte("\"\\\r\n\u2028\x00\x7f</script>\xff\xed\xa0\x80"))).Draw(t, "text")
		text := string(raw)
		want := string([]rune(text)) // a U+FFFD for each bad byte
		const prefix = "before"
		message, from, to := AppendChannelMessage([]byte(prefix), text, []byte(`"x"`), at, 1)
		for typ, msg := range map[string][]byte{
			"welcome":                  AppendWelcome([]byte(prefix), Welcome{ConnectionID: text, User: text, Position: Position{Epoch: text}, Now: at}),
			"subscription_confirmed":   AppendSubscribed([]byte(prefix), Subscribed{Channel: text, Position: &Position{Epoch: text}, Now: at}),
			"unsubscription_confirmed": AppendUnsubscribed([]byte(prefix), text, at, "1"),
			"channel_message":          message,
			"published":                AppendPublished([]byte(prefix), Published{ID: "1", Channel: text, Position: Position{Epoch: text, Offset: 1}}),
			"gap":                      AppendGap([]byte(prefix), Gap{Channel: text, Reason: text}),
			"history": AppendHistory([]byte(prefix), "1", text, text, false, 1, func(dst []byte, _ int) []byte {
				out, _, _ := AppendChannelMessage(dst, text, []byte(`1`), at, 1)
				return out
			}),
			"reconnect": AppendReconnect([]byte(prefix), time.Second, text),
			"error":     AppendError([]byte(prefix), &Error{Code: Internal, Message: text}, "1", text, text),
		} {
			msg, ok := bytes.CutPrefix(msg, []byte(prefix))
			if !ok || !bytes.HasPrefix(msg, []byte(`{"type":"`+typ+`",`)) {
				t.Fatalf("%s: %q", typ, msg)
			}
			checkTexts(t, msg, want)
		}
		if got := string(message[from:to]); got != `"x"` {
			t.Fatalf("data at %d to %d: %q", from, to, got)
		}
	})
}

// checkTexts looks for want in all members of msg that hold text of others.
func checkTexts(t *rapid.T, msg []byte, want string) {
	var fields map[string]any
	if err := json.Unmarshal(msg, &fields); err != nil || bytes.ContainsAny(msg, "\r\n") {
		t.Fatalf("%q: %v", msg, err)
	}
	found := 0
	for _, name := range []string{"connection_id", "user", "epoch", "channel", "reason", "message", "stream_id"} {
		value, has := fields[name]
		if !has {
			continue
		}
		found++
		if value != want {
			t.Fatalf("%s: %q, want %q", name, value, want)
		}
	}
	if found == 0 && want != "" {
		t.Fatalf("%q holds no text", msg)
	}
}

func TestAppendReturnsTheIDAsItCame(t *testing.T) {
	for _, id := range []ID{`"\u00fc\/"`, "9007199254740992", `"ü"`} {
		req, err := Decode([]byte(`{"type":"ping","id": ` + string(id) + ` }`))
		if err != nil {
			t.Fatal(err)
		}
		if msg := AppendPong(nil, at, req.ID); !bytes.HasSuffix(msg, []byte(`,"id":`+string(id)+`}`)) {
			t.Errorf("%s: %s", id, msg)
		}
		if marshalled, err := json.Marshal(map[string]ID{"id": req.ID}); err != nil || !json.Valid(marshalled) {
			t.Errorf("%s: %s, %v", id, marshalled, err)
		}
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 1024)
	data := []byte(`{"value":21.5}`)
	for name, each := range map[string]func(){
		"channel_message": func() { AppendChannelMessage(buf, "sensors/küche", data, at, 7) },
		"gap":             func() { AppendGap(buf, Gap{Channel: "a", Dropped: 1, Reason: "drop_oldest"}) },
		"pong":            func() { AppendPong(buf, at, "1") },
		"published":       func() { AppendPublished(buf, Published{ID: "1", Channel: "a", Position: position}) },
	} {
		if n := testing.AllocsPerRun(100, each); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestUnquote(t *testing.T) {
	for _, tt := range []struct {
		value, text string
		ok          bool
	}{
		{`"a"`, "a", true}, {`""`, "", true}, {`"\"\u00fc\n"`, "\"ü\n", true}, {`1`, "", false}, {`null`, "", false}, {`["a"]`, "", false}, {``, "", false},
	} {
		if text, ok := Unquote([]byte(tt.value)); ok != tt.ok || ok && text != tt.text {
			t.Errorf("%s: %q, %v", tt.value, text, ok)
		}
	}
}

func TestAsError(t *testing.T) {
	e := Errorf(Forbidden, "no")
	if got, ok := AsError(fmt.Errorf("subscribing: %w", e)); !ok || got != e {
		t.Errorf("got %v, %v", got, ok)
	}
	if got, ok := AsError(errors.New("no")); ok {
		t.Errorf("got %v of another error", got)
	}
	if e.Error() != "FORBIDDEN: no" {
		t.Errorf("text %q", e)
	}
}

func TestAppendTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(-62_135_596_800_000, 253_402_300_799_999).Draw(t, "milliseconds")). // the years 1 to 9999
																Add(time.Duration(rapid.IntRange(0, 999_999).Draw(t, "nanoseconds"))).
																In(time.FixedZone("", rapid.IntRange(-50_000, 50_000).Draw(t, "zone")))
		if got, want := string(AppendTime(nil, at)), at.UTC().Format(`"2006-01-02T15:04:05.000Z"`); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}
