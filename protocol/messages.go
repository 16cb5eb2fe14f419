package protocol

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Every function here appends one complete server message to dst and returns the extended slice. They are written by hand so that
// nothing is reflected on or allocated where thousands are sent a second, and so that `type` always comes first.

// AppendTime appends t as a JSON string, RFC 3339 in UTC with milliseconds. It does what time.AppendFormat would, without reading a
// layout for every message.
func AppendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = appendDigits(append(dst, '"'), year, 4)
	dst = appendDigits(append(dst, '-'), int(month), 2)
	dst = appendDigits(append(dst, '-'), day, 2)
	dst = appendDigits(append(dst, 'T'), hour, 2)
	dst = appendDigits(append(dst, ':'), minute, 2)
	dst = appendDigits(append(dst, ':'), second, 2)
	dst = appendDigits(append(dst, '.'), t.Nanosecond()/1e6, 3)
	return append(dst, 'Z', '"')
}

// appendDigits appends the last digits of n, as many as width.
func appendDigits(dst []byte, n, width int) []byte {
	from := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; i >= from; i-- {
		dst[i] += byte(n % 10)
		n /= 10
	}
	return dst
}

// AppendString appends s as a JSON string; what is not UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	// The error tells of invalid UTF-8 only, which has been replaced by then.
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// begin starts a message of the given type; typ and the names of members are constants that need no quoting.
func begin(dst []byte, typ string) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, typ...)
	return append(dst, '"')
}

func appendName(dst []byte, name string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

func appendText(dst []byte, name, value string) []byte {
	return AppendString(appendName(dst, name), value)
}

func appendInt(dst []byte, name string, value int64) []byte {
	return strconv.AppendInt(appendName(dst, name), value, 10)
}

func appendUint(dst []byte, name string, value uint64) []byte {
	return strconv.AppendUint(appendName(dst, name), value, 10)
}

func appendBool(dst []byte, name string, value bool) []byte {
	return strconv.AppendBool(appendName(dst, name), value)
}

func appendID(dst []byte, id ID) []byte {
	if id == "" {
		return dst
	}
	return append(appendName(dst, "id"), id...)
}

// Welcome is the first message to a client that offered a subprotocol.
type Welcome struct {
	ConnectionID      string
	User              string // empty for an anonymous client
	HeartbeatInterval time.Duration
	HeartbeatTimeout  time.Duration
	MaxMessageBytes   int64
	Position          Position // where the hub's order is now
	Now               time.Time
}

// AppendWelcome appends `welcome`.
func AppendWelcome(dst []byte, w Welcome) []byte {
	dst = appendText(begin(dst, "welcome"), "connection_id", w.ConnectionID)
	if w.User != "" {
		dst = appendText(dst, "user", w.User)
	}
	dst = appendInt(dst, "heartbeat_interval_ms", w.HeartbeatInterval.Milliseconds())
	dst = appendInt(dst, "heartbeat_timeout_ms", w.HeartbeatTimeout.Milliseconds())
	dst = appendInt(dst, "max_message_bytes", w.MaxMessageBytes)
	dst = appendPosition(dst, w.Position)
	return append(AppendTime(appendName(dst, "server_time"), w.Now), '}')
}

// AppendAuthenticated appends `authenticated`; the zero time is for a user without an end.
func AppendAuthenticated(dst []byte, id ID, user string, expires time.Time) []byte {
	dst = appendText(appendID(begin(dst, "authenticated"), id), "user", user)
	if !expires.IsZero() {
		dst = AppendTime(appendName(dst, "expires_at"), expires)
	}
	return append(dst, '}')
}

func appendPosition(dst []byte, p Position) []byte {
	return appendUint(appendText(dst, "epoch", p.Epoch), "offset", p.Offset)
}

// Subscribed is what subscription_confirmed tells.
type Subscribed struct {
	ID      ID
	Channel string // the name or pattern as the client wrote it
	Now     time.Time
	// Position is the newest place in the order, for channels with history; nil for others.
	Position *Position
	// Recovery says that the client gave `since`: Recovered is true only if nothing due is missing, Replayed is how many follow.
	Recovery  bool
	Recovered bool
	Replayed  int
}

// AppendSubscribed appends `subscription_confirmed`.
func AppendSubscribed(dst []byte, s Subscribed) []byte {
	dst = appendText(begin(dst, "subscription_confirmed"), "channel", s.Channel)
	dst = AppendTime(appendName(dst, "timestamp"), s.Now)
	dst = appendID(dst, s.ID)
	if s.Position != nil {
		dst = appendPosition(dst, *s.Position)
	}
	if s.Recovery {
		dst = appendBool(dst, "recovered", s.Recovered)
		dst = appendInt(dst, "replayed", int64(s.Replayed))
	}
	return append(dst, '}')
}

// AppendUnsubscribed appends `unsubscription_confirmed`.
func AppendUnsubscribed(dst []byte, channel string, now time.Time, id ID) []byte {
	dst = appendText(begin(dst, "unsubscription_confirmed"), "channel", channel)
	dst = AppendTime(appendName(dst, "timestamp"), now)
	return append(appendID(dst, id), '}')
}

// AppendChannelMessage appends `channel_message`. data is JSON text without line breaks; offset is 0 where the channel keeps no
// history. Besides the extended slice it gives where data lies in it, from its first byte to behind its last.
func AppendChannelMessage(dst []byte, channel string, data []byte, at time.Time, offset uint64) (out []byte, from, to int) {
	dst = appendText(begin(dst, "channel_message"), "channel", channel)
	dst = appendName(dst, "data")
	from = len(dst)
	dst = append(dst, data...)
	to = len(dst)
	dst = AppendTime(appendName(dst, "timestamp"), at)
	if offset > 0 {
		dst = appendUint(dst, "offset", offset)
	}
	return append(dst, '}'), from, to
}

// AppendMember appends a member of a channel. user is empty for an anonymous client.
func AppendMember(dst []byte, connectionID, user string, since time.Time) []byte {
	dst = AppendString(append(dst, `{"connection_id":`...), connectionID)
	if user != "" {
		dst = appendText(dst, "user", user)
	}
	return append(AppendTime(appendName(dst, "since"), since), '}')
}

// AppendPresence appends `presence`. members are as AppendMember makes them; count may be larger than their number.
func AppendPresence(dst []byte, id ID, channel string, members [][]byte, count int) []byte {
	dst = appendText(appendID(begin(dst, "presence"), id), "channel", channel)
	dst = append(appendName(dst, "members"), '[')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, m...)
	}
	return append(appendInt(append(dst, ']'), "count", int64(count)), '}')
}

// AppendPresenceEvent appends `presence_join` or `presence_leave`. member is as AppendMember makes it.
func AppendPresenceEvent(dst []byte, join bool, channel string, member []byte) []byte {
	typ := "presence_leave"
	if join {
		typ = "presence_join"
	}
	dst = appendText(begin(dst, typ), "channel", channel)
	return append(append(appendName(dst, "member"), member...), '}')
}

// Published is what `published` tells the publisher.
type Published struct {
	ID        ID
	Channel   string
	Position  Position // Offset 0: the channel keeps no history
	Duplicate bool     // the key was seen before: Position is that of the first
}

// AppendPublished appends `published`.
func AppendPublished(dst []byte, p Published) []byte {
	dst = appendID(begin(dst, "published"), p.ID)
	dst = appendText(dst, "channel", p.Channel)
	if p.Position.Offset > 0 {
		dst = appendUint(dst, "offset", p.Position.Offset)
		dst = appendText(dst, "epoch", p.Position.Epoch)
	}
	if p.Duplicate {
		dst = appendBool(dst, "duplicate", true)
	}
	return append(dst, '}')
}

// Gap tells of messages that the client was due and will not get, at the place where they are missing.
type Gap struct {
	Channel     string
	After       uint64 // offset delivered before the gap; 0 where there is none
	Before      uint64 // offset delivered behind it; 0 where there is none yet
	Dropped     uint64 // 0 where it cannot be known
	Reason      string
	Recoverable bool // the messages may still be in the channel's history
}

// AppendGap appends `gap`.
func AppendGap(dst []byte, g Gap) []byte {
	dst = appendText(begin(dst, "gap"), "channel", g.Channel)
	if g.After > 0 {
		dst = appendUint(dst, "after", g.After)
	}
	if g.Before > 0 {
		dst = appendUint(dst, "before", g.Before)
	}
	if g.Dropped > 0 {
		dst = appendUint(dst, "dropped", g.Dropped)
	} else {
		dst = append(appendName(dst, "dropped"), "null"...)
	}
	dst = appendText(dst, "reason", g.Reason)
	return append(appendBool(dst, "recoverable", g.Recoverable), '}')
}

// AppendHistory appends `history`. each appends message i as a channel_message object.
func AppendHistory(dst []byte, id ID, channel, epoch string, hasMore bool, n int, each func(dst []byte, i int) []byte) []byte {
	dst = appendID(begin(dst, "history"), id)
	dst = appendText(dst, "channel", channel)
	dst = append(appendName(dst, "messages"), '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = each(dst, i)
	}
	dst = append(dst, ']')
	dst = appendText(dst, "epoch", epoch)
	return append(appendBool(dst, "has_more", hasMore), '}')
}

// AppendReconnect appends `reconnect`: the server is going away, the client should come back after the given time.
func AppendReconnect(dst []byte, after time.Duration, reason string) []byte {
	dst = appendInt(begin(dst, "reconnect"), "after_ms", after.Milliseconds())
	return append(appendText(dst, "reason", reason), '}')
}

// AppendPong appends `pong`, the answer to a client's `ping`.
func AppendPong(dst []byte, now time.Time, id ID) []byte {
	dst = AppendTime(appendName(begin(dst, "pong"), "timestamp"), now)
	return append(appendID(dst, id), '}')
}

// AppendError appends `error`. id, streamID and channel are left out where they are empty.
func AppendError(dst []byte, e *Error, id ID, streamID, channel string) []byte {
	dst = appendText(begin(dst, "error"), "code", string(e.Code))
	dst = appendText(dst, "message", e.Message)
	dst = appendID(dst, id)
	if streamID != "" {
		dst = appendText(dst, "stream_id", streamID)
	}
	if channel != "" {
		dst = appendText(dst, "channel", channel)
	}
	if e.RetryAfter > 0 {
		dst = appendInt(dst, "retry_after_ms", max(1, e.RetryAfter.Milliseconds()))
	}
	return append(dst, '}')
}
