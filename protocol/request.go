package protocol

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a client's message.
const (
	MaxDepth         = 32      // nesting of arrays and objects, the message itself included
	MaxChannels      = 128     // names in channels[]
	MaxIDCharacters  = 64      // of a string id
	MaxIDNumber      = 1 << 53 // the largest integer id
	MaxKeyCharacters = 128     // of an idempotency key
)

// The types of messages that a client may send.
const (
	TypeSubscribe    = "subscribe"
	TypeUnsubscribe  = "unsubscribe"
	TypePublish      = "publish"
	TypeHistory      = "history"
	TypePresence     = "presence"
	TypeStreamQuery  = "stream_query"
	TypeCredit       = "credit"
	TypeCancelQuery  = "cancel_query"
	TypeQueryStatus  = "query_status"
	TypeWatch        = "watch"
	TypeUnwatch      = "unwatch"
	TypeAuthenticate = "authenticate"
	TypePing         = "ping"
	TypePong         = "pong"
	TypeMessage      = "message"
)

// Position is a place in a hub's order: an offset within an epoch.
type Position struct {
	Epoch  string
	Offset uint64
}

// Resume is a place in a query stream of an earlier connection.
type Resume struct {
	StreamID string
	Batch    int64 // stream_query: the last batch that the client has; -1 where it has none
	Revision int64 // watch: the last revision that the client has; -1 where it has none
}

// Request is a client's message. Type and ID are always set as far as they could be read; of the others those that the type
// has. Absent numbers are -1, absent JSON values nil.
type Request struct {
	Type string
	ID   ID

	Channels []string  // subscribe, unsubscribe: one or more; publish, history, presence: exactly one
	Since    *Position // subscribe, history
	History  int       // subscribe: how many to replay
	Presence bool      // subscribe
	Limit    int       // history

	Data jsontext.Value // publish; compact enough to hold no line break
	Key  string         // publish

	Query     string         // stream_query, watch
	Source    string         // stream_query: where a client's own statement runs
	Params    jsontext.Value // stream_query, watch: an object
	BatchSize int            // stream_query, watch
	Credits   int            // stream_query, watch; also batches of credit
	Format    string         // stream_query, watch
	Resume    *Resume        // stream_query, watch; of stream_query Query is then empty where the client did not repeat it
	StreamID  string         // credit, cancel_query, query_status, unwatch

	Token string // authenticate
}

// members of a message's outermost object that any type knows; all else is ignored.
type members struct {
	typ, id, channel, channels, since, history, presence, limit, data, key jsontext.Value
	query, params, batchSize, credits, format, resume, streamID, queryID   jsontext.Value
	batches, token, source                                                 jsontext.Value

	twice string // one that stands there more than once; its first value is kept
}

func (m *members) field(name string) *jsontext.Value {
	switch name {
	case "type":
		return &m.typ
	case "id":
		return &m.id
	case "channel":
		return &m.channel
	case "channels":
		return &m.channels
	case "since":
		return &m.since
	case "history":
		return &m.history
	case "presence":
		return &m.presence
	case "limit":
		return &m.limit
	case "data":
		return &m.data
	case "key":
		return &m.key
	case "query":
		return &m.query
	case "params":
		return &m.params
	case "batch_size":
		return &m.batchSize
	case "credits":
		return &m.credits
	case "format":
		return &m.format
	case "resume":
		return &m.resume
	case "stream_id":
		return &m.streamID
	case "query_id":
		return &m.queryID
	case "batches":
		return &m.batches
	case "token":
		return &m.token
	case "source":
		return &m.source
	}
	return nil
}

// Decode reads one message, which must be valid UTF-8. The Request's values point into msg, which must not change while they are
// in use. The error, where there is one, says what is wrong in words for the client; the Request then still has the Type and ID
// if these could be read, so that the answer can bear the id.
func Decode(msg []byte) (Request, *Error) {
	req := Request{History: -1, Limit: -1, BatchSize: -1, Credits: -1}
	var m members
	if depth(msg) > MaxDepth {
		if m.read(outline(msg)) == nil {
			req.ID, _ = readID(m.id)
		}
		return req, Errorf(InvalidMessage, "the message is nested deeper than %d", MaxDepth)
	}
	err := m.read(msg)
	if err != nil {
		return req, err
	}
	if req.ID, err = readID(m.id); err != nil {
		return req, err
	}
	if m.twice != "" {
		return req, Errorf(InvalidMessage, "the message has %q twice", m.twice)
	}
	if m.typ == nil {
		return req, Errorf(InvalidMessage, `the message has no "type"`)
	}
	if req.Type, err = m.str("type", m.typ); err != nil {
		return req, err
	}
	return req, req.fill(&m)
}

// read splits the message's object into its members.
func (m *members) read(msg []byte) *Error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(msg), jsontext.AllowDuplicateNames(true))
	if dec.PeekKind() != '{' {
		return Errorf(InvalidMessage, "the message is not a JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return notJSON()
	}
	for dec.PeekKind() != '}' {
		nameToken, err := dec.ReadToken()
		if err != nil {
			return notJSON()
		}
		name := nameToken.String()
		start := dec.InputOffset()
		if err := dec.SkipValue(); err != nil {
			return notJSON()
		}
		at := m.field(name)
		if at == nil {
			continue
		}
		if *at != nil {
			m.twice = name
			continue
		}
		// SkipValue leaves no view of the value; its text lies between the colon and here.
		raw := bytes.TrimLeft(msg[start:dec.InputOffset()], ": \t\r\n")
		*at = jsontext.Value(raw)
	}
	if _, err := dec.ReadToken(); err != nil {
		return notJSON()
	}
	if len(bytes.TrimLeft(msg[dec.InputOffset():], " \t\r\n")) > 0 {
		return Errorf(InvalidMessage, "the message is more than one JSON object")
	}
	return nil
}

func notJSON() *Error { return Errorf(InvalidMessage, "the message is not valid JSON") }

// fill reads what the request's type has.
func (r *Request) fill(m *members) (err *Error) {
	switch r.Type {
	case TypeSubscribe, TypeUnsubscribe:
		return r.fillSubscribe(m)
	case TypePublish:
		return r.fillPublish(m)
	case TypeHistory:
		if err := r.oneChannel(m); err != nil {
			return err
		}
		if r.Since, err = readPosition(m.since); err != nil {
			return err
		}
		r.Limit, err = m.integer("limit", m.limit)
	case TypePresence:
		err = r.oneChannel(m)
	case TypeStreamQuery, TypeWatch:
		return r.fillQuery(m)
	case TypeCredit:
		if r.Credits, err = m.integer("batches", m.batches); err != nil {
			return err
		}
		if r.Credits < 1 {
			return Errorf(InvalidMessage, `"batches" must be a positive integer`)
		}
		return r.fillStreamID(m)
	case TypeCancelQuery, TypeQueryStatus, TypeUnwatch:
		return r.fillStreamID(m)
	case TypeAuthenticate:
		r.Token, err = m.required("token", m.token)
	case TypePing, TypePong, TypeMessage:
	default:
		return Errorf(UnknownType, "this message type is not known")
	}
	return err
}

func (r *Request) fillSubscribe(m *members) (err *Error) {
	switch {
	case m.channel != nil && m.channels != nil:
		return Errorf(InvalidMessage, `"channel" and "channels" exclude each other`)
	case m.channels != nil:
		r.Channels, err = readStrings("channels", m.channels)
	default:
		err = r.oneChannel(m)
	}
	if err != nil || r.Type == TypeUnsubscribe {
		return err
	}
	if r.Since, err = readPosition(m.since); err != nil {
		return err
	}
	if r.History, err = m.integer("history", m.history); err != nil {
		return err
	}
	if r.Since != nil && r.History >= 0 {
		return Errorf(InvalidMessage, `"since" and "history" exclude each other`)
	}
	r.Presence, err = m.boolean("presence", m.presence)
	return err
}

func (r *Request) fillPublish(m *members) (err *Error) {
	if err := r.oneChannel(m); err != nil {
		return err
	}
	if m.data == nil {
		return Errorf(InvalidMessage, `the message has no "data"`)
	}
	r.Data = m.data
	if bytes.ContainsAny(r.Data, "\r\n") {
		// Only white space between values can hold a line break, and a message must fit on one line of ndjson.
		r.Data = r.Data.Clone()
		if err := r.Data.Compact(jsontext.AllowDuplicateNames(true)); err != nil {
			return notJSON()
		}
	}
	if isNull(m.key) {
		return nil
	}
	if r.Key, err = m.str("key", m.key); err != nil {
		return err
	}
	if n := utf8.RuneCountInString(r.Key); n < 1 || n > MaxKeyCharacters {
		return Errorf(InvalidMessage, `"key" must have 1 to %d characters`, MaxKeyCharacters)
	}
	return nil
}

func (r *Request) fillQuery(m *members) (err *Error) {
	if r.Resume, err = readResume(m.resume); err != nil {
		return err
	}
	if r.Resume == nil || m.query != nil || r.Type == TypeWatch {
		if r.Query, err = m.required("query", m.query); err != nil {
			return err
		}
	}
	if !isNull(m.params) {
		if m.params.Kind() != '{' {
			return Errorf(InvalidParams, `"params" must be an object`)
		}
		r.Params = m.params
	}
	if !isNull(m.source) {
		if r.Source, err = m.str("source", m.source); err != nil {
			return err
		}
	}
	if r.BatchSize, err = m.integer("batch_size", m.batchSize); err != nil {
		return err
	}
	if r.Credits, err = m.integer("credits", m.credits); err != nil {
		return err
	}
	if !isNull(m.format) {
		if r.Format, err = m.str("format", m.format); err != nil {
			return err
		}
	}
	return nil
}

func (r *Request) fillStreamID(m *members) (err *Error) {
	if isNull(m.streamID) && r.Type == TypeQueryStatus {
		m.streamID = m.queryID
	}
	r.StreamID, err = m.required("stream_id", m.streamID)
	return err
}

func (r *Request) oneChannel(m *members) *Error {
	name, err := m.required("channel", m.channel)
	r.Channels = []string{name}
	return err
}
