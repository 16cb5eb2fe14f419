package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Position is a place in a hub's order: an offset within an epoch. See docs/protocol.md, "Order, offsets, loss".
type Position struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}

// request is a message to the server.
type request struct {
	Type      string          `json:"type"`
	ID        any             `json:"id,omitempty"` // uint64, or string for credit
	Channel   string          `json:"channel,omitempty"`
	Channels  []string        `json:"channels,omitempty"`
	Since     *Position       `json:"since,omitempty"`
	History   int             `json:"history,omitempty"`
	Presence  bool            `json:"presence,omitempty"`
	Limit     *int            `json:"limit,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
	Key       string          `json:"key,omitempty"`
	Query     string          `json:"query,omitempty"`
	Source    string          `json:"source,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	BatchSize int             `json:"batch_size,omitempty"`
	Credits   *int            `json:"credits,omitempty"`
	Format    string          `json:"format,omitempty"`
	Resume    *resume         `json:"resume,omitempty"`
	StreamID  string          `json:"stream_id,omitempty"`
	Batches   int             `json:"batches,omitempty"`
	Token     string          `json:"token,omitempty"`
}

type resume struct {
	StreamID string `json:"stream_id"`
	Batch    *int64 `json:"batch_number,omitempty"`
	Revision *int64 `json:"revision,omitempty"`
}

// encode gives a request's JSON, which has no line break.
func (r *request) encode() ([]byte, error) {
	for _, s := range append([]string{r.Channel, r.Key, r.Query, r.Source, r.StreamID, r.Token}, r.Channels...) {
		if !utf8.ValidString(s) { // it would be sent as another
			return nil, fmt.Errorf("client: encoding a %s: %q is not UTF-8", r.Type, s)
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("client: encoding a %s: %w", r.Type, err)
	}
	if !utf8.Valid(text) || hasLoneSurrogate(text) { // the server could not read whose request it is
		return nil, fmt.Errorf("client: encoding a %s: the JSON holds text that is not Unicode", r.Type)
	}
	return text, nil
}

// hasLoneSurrogate reports whether JSON escapes a half of a surrogate pair without the other, which is no character (RFC 8259, section 8.2).
func hasLoneSurrogate(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 || at+1 >= len(text) {
			return false
		}
		if text[at+1] != 'u' || at+6 > len(text) {
			text = text[at+2:]
			continue
		}
		unit, rest := escapedUnit(text[at:]), text[at+6:]
		if utf16.IsSurrogate(unit) {
			if len(rest) < 6 || utf16.DecodeRune(unit, escapedUnit(rest)) == utf8.RuneError {
				return true
			}
			rest = rest[6:]
		}
		text = rest
	}
}

// escapedUnit is what an escape of the form \uXXXX stands for; utf8.RuneError where text does not begin with one.
func escapedUnit(text []byte) rune {
	if !bytes.HasPrefix(text, []byte(`\u`)) {
		return utf8.RuneError
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}

// message is a message of the server: those members that its type has. Its parts point into memory of its own.
type message struct {
	Type      string          `json:"type"`
	ID        json.RawMessage `json:"id"`
	Channel   string          `json:"channel"`
	Data      json.RawMessage `json:"data"`
	Timestamp time.Time       `json:"timestamp"`
	Offset    uint64          `json:"offset"` // 0: none
	Epoch     string          `json:"epoch"`
	Recovered bool            `json:"recovered"`
	Duplicate bool            `json:"duplicate"`

	After       uint64          `json:"after"`
	Before      uint64          `json:"before"`
	Dropped     *int64          `json:"dropped"`
	Reason      string          `json:"reason"`
	Recoverable bool            `json:"recoverable"`
	Messages    []*Message      `json:"messages"`
	HasMore     bool            `json:"has_more"`
	Members     []Member        `json:"members"`
	Member      Member          `json:"member"`
	Count       int             `json:"count"`
	Code        protocol.Code   `json:"code"`
	Message     string          `json:"message"`
	RetryAfter  int64           `json:"retry_after_ms"`
	AfterMS     int64           `json:"after_ms"`
	StreamID    string          `json:"stream_id"`
	Columns     []Column        `json:"columns"`
	Estimated   *int64          `json:"estimated_rows"`
	TotalKind   string          `json:"total_kind"`
	Resumed     bool            `json:"resumed"`
	BatchNumber int64           `json:"batch_number"`
	Rows        []Row           `json:"rows"`
	TotalRows   int64           `json:"total_rows"`
	ExecutionMS int64           `json:"execution_time_ms"`
	Batches     int64           `json:"batches"`
	Revision    int64           `json:"revision"`
	Op          string          `json:"op"`
	Key         json.RawMessage `json:"key"`
	Row         Row             `json:"row"`

	RowsProcessed int64    `json:"rows_processed"`
	Percentage    *float64 `json:"percentage"`
	Throughput    float64  `json:"throughput"`
	ElapsedMS     int64    `json:"elapsed_ms"`
	ETA           *int64   `json:"eta_ms"`
	Bytes         int64    `json:"bytes"`
	StalledMS     int64    `json:"stalled_ms"`
	State         string   `json:"state"`
	Status        string   `json:"status"`
	Progress      *float64 `json:"progress"`
	RowsSent      int64    `json:"rows_sent"`
	BatchesSent   int64    `json:"batches_sent"`

	ConnectionID string    `json:"connection_id"`
	User         string    `json:"user"`
	HeartbeatMS  int64     `json:"heartbeat_interval_ms"`
	MaxBytes     int       `json:"max_message_bytes"`
	Expires      time.Time `json:"expires_at"`
}

func decode(text []byte) (*message, error) {
	m := new(message)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// check finds what a message of its type must have and does not.
func (m *message) check() error {
	switch m.Type {
	case "":
		return protocolError("a message without type")
	case "channel_message", "gap", "presence_join", "presence_leave":
		if m.Channel == "" {
			return protocolError("a %s without channel", m.Type)
		}
	case "query_batch":
		if slices.ContainsFunc(m.Rows, Row.missing) {
			return protocolError("a row that is null")
		}
	case "query_change":
		if m.Op != protocol.OpDelete && m.Row.missing() {
			return protocolError("a %s without its row", m.Op)
		}
	}
	return nil
}

// number is the id of a request that this client numbered; false for any other.
func (m *message) number() (uint64, bool) {
	n, err := strconv.ParseUint(string(m.ID), 10, 64)
	return n, err == nil
}

// err is what an `error` says.
func (m *message) err() *Error {
	return &Error{
		Code: m.Code, Message: m.Message, RetryAfter: time.Duration(m.RetryAfter) * time.Millisecond,
		Channel: m.Channel, StreamID: m.StreamID,
	}
}

// creditID is the id of a `credit`. It says what was granted, as no answer but a refusal comes, and nothing need be remembered for it.
func creditID(streamID string, batches int) string {
	return "credit " + strconv.Itoa(batches) + " " + streamID
}

// refusedCredit reads a creditID in a refusal.
func (m *message) refusedCredit() (streamID string, batches int, ok bool) {
	var id string
	if json.Unmarshal(m.ID, &id) != nil {
		return "", 0, false
	}
	_, err := fmt.Sscanf(id, "credit %d %s", &batches, &streamID)
	return streamID, batches, err == nil && batches > 0
}

// lines gives what a frame holds: one message, or several on a line each.
func lines(frame []byte, take func([]byte) error) error {
	for line := range bytes.SplitSeq(frame, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		if err := take(line); err != nil {
			return err
		}
	}
	return nil
}
