package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// streamBuffer is what a client of query streams reads into: batches come faster than single messages.
const streamBuffer = 256 << 10

// dialStreams connects a client that reads query streams.
func dialStreams(ctx context.Context, p *process) (*client, error) {
	c, err := dial(ctx, p, 0)
	if err == nil {
		c.buf = make([]byte, streamBuffer)
	}
	return c, err
}

// noCredit leaves the pace of a stream to the connection.
const noCredit = -1

// ask asks for a stream; params are JSON.
func (c *client) ask(query, params string, batch, credits int) error {
	msg := fmt.Appendf(nil, `{"type":"stream_query","query":"%s","params":%s,"batch_size":%d`, query, params, batch)
	if credits != noCredit {
		msg = fmt.Appendf(msg, `,"credits":%d`, credits)
	}
	if err := c.send(append(msg, '}')); err != nil {
		return fmt.Errorf("asking for a stream: %w", err)
	}
	return nil
}

// cancel asks for a stream's end.
func (c *client) cancel(streamID string) error {
	return c.send(fmt.Appendf(nil, `{"type":"cancel_query","stream_id":"%s"}`, streamID))
}

// event is a message of a stream.
type event struct {
	kind   string // without query_
	stream []byte // its id, valid until the next message
	text   []byte // valid until the next message
}

var errNoStream = errors.New("a message that is none of a stream")

// event takes the next message, which must be one of a stream, and no error.
func (c *client) event() (event, error) {
	msg, err := c.message()
	if err != nil {
		return event{}, err
	}
	for _, kind := range []string{"batch", "progress", "started", "completed", "cancelled"} {
		if isType(msg, "query_"+kind) {
			e := event{kind: kind, text: msg}
			e.stream, err = e.member(`"stream_id":"`, '"')
			return e, err
		}
	}
	return event{}, fmt.Errorf("%w: %s", errNoStream, clip(msg))
}

// await takes messages until one of a kind comes; of others only progress and, where batches are not what is awaited, batches.
func (c *client) await(kind string) (event, error) {
	for {
		e, err := c.event()
		if err != nil {
			return e, fmt.Errorf("waiting for query_%s: %w", kind, err)
		}
		switch e.kind {
		case kind:
			return e, nil
		case "progress", "batch":
		default:
			return e, fmt.Errorf("waiting for query_%s: got %s", kind, clip(e.text))
		}
	}
}

// member gives what stands behind a name, up to a byte. All names looked for stand before a batch's rows.
func (e *event) member(name string, until byte) ([]byte, error) {
	const head = 256
	text := e.text[:min(len(e.text), head)]
	if at := bytes.Index(text, []byte(name)); at >= 0 {
		text = text[at+len(name):]
		if end := bytes.IndexByte(text, until); end >= 0 {
			return text[:end], nil
		}
	}
	return nil, fmt.Errorf("no %s in %s", name, clip(e.text))
}

func clip(msg []byte) []byte { return msg[:min(len(msg), 200)] }

// tally is what a client has of a stream. It sees that nothing is missing and nothing comes twice with as little work as that
// takes, since it shares the machine with the server: by the numbers of the batches, and by the ids of the first and the last row of
// each, which count from 1.
type tally struct {
	batches, rows, bytes int64
	last                 bool // the last batch has come
}

var idName = []byte(`"id":`)

// add counts a batch.
func (t *tally) add(e event) error {
	digits, err := e.member(`"batch_number":`, ',')
	if err != nil {
		return err
	}
	first, err := idOf(e.text[:min(len(e.text), 512)], bytes.Index)
	if err != nil {
		return err
	}
	last, err := idOf(e.text, bytes.LastIndex)
	if err != nil {
		return err
	}
	if string(digits) != strconv.FormatInt(t.batches, 10) || first != t.rows+1 || last < first || t.last {
		return fmt.Errorf("after %d batches with %d rows came batch %s with rows %d to %d", t.batches, t.rows, digits, first, last)
	}
	t.batches++
	t.rows = last
	t.bytes += int64(len(e.text))
	t.last = bytes.HasSuffix(e.text, []byte(`"has_more":false}`))
	return nil
}

// idOf reads the id of the row that find finds.
func idOf(text []byte, find func(s, sep []byte) int) (int64, error) {
	at := find(text, idName)
	if at < 0 {
		return 0, fmt.Errorf("no row in %s", clip(text))
	}
	digits := text[at+len(idName):]
	if end := bytes.IndexByte(digits, ','); end >= 0 {
		digits = digits[:end]
	}
	return strconv.ParseInt(string(digits), 10, 64)
}

// drain takes all of a stream of n rows. From the driver alone come no batches, only their number of rows.
func (c *client) drain(n int64, batched bool) error {
	var t tally
	for {
		e, err := c.event()
		if err != nil {
			return fmt.Errorf("after %d rows: %w", t.rows, err)
		}
		switch e.kind {
		case "batch":
			if err := t.add(e); err != nil {
				return err
			}
		case "completed":
			return t.check(e, n, batched)
		case "cancelled":
			return fmt.Errorf("after %d rows: %s", t.rows, e.text)
		}
	}
}

// check compares what has come with what a stream says at its end that it sent, and with what it was to send.
func (t *tally) check(e event, n int64, batched bool) error {
	var said struct {
		Rows    int64 `json:"total_rows"`
		Batches int64 `json:"batches"`
	}
	if err := json.Unmarshal(e.text, &said); err != nil {
		return err
	}
	want := tally{rows: n, batches: batches(n), last: true, bytes: t.bytes}
	if !batched {
		want = tally{}
	}
	if *t != want || said.Rows != n || said.Batches != t.batches {
		return fmt.Errorf("%d batches with %d rows have come, the last of all %t, of %d rows: %s", t.batches, t.rows, t.last, n, e.text)
	}
	return nil
}

// rowsOf are the parameters of the query for n rows; the HTTP API has as many as there are and takes none.
func rowsOf(source string, n int64) string {
	if source == "ndjson" || source == "neuroquantum" {
		return "{}"
	}
	return fmt.Sprintf(`{"n":%d}`, n)
}
