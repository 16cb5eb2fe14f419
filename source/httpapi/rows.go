package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// maxAhead is how many bytes of rows are held back while the names of the columns may still come behind them.
const maxAhead = 64 << 10

// rows is a running query.
type rows struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	response *http.Response
	decoder  decoder
	ahead    []jsontext.Value // rows that have been read to know the columns
	guessed  bool             // the columns are those of the first row, and the answer may still tell others

	names  []string
	quoted []string // names as they most likely stand in rows
	index  map[string]int
	values [][]byte // of the current row; nil is null
	kind   jsontext.Kind
	err    error
	ended  bool
}

// open looks at the answer up to the first row.
func (r *rows) open(s *Source) error {
	status := r.response.StatusCode
	good := status >= 200 && status < 300 && status != http.StatusPartialContent
	body, err := plainBody(r.response, !good || s.Dialect != NDJSON)
	if err != nil {
		return err
	}
	if !good {
		return problem(r.response, body)
	}
	r.decoder = newDecoder(s.Dialect, newAnswer(body, s.MaxRow, status))
	return r.findColumns(s.Dialect == NeuroQuantum)
}

func newDecoder(dialect Dialect, a *answer) decoder {
	switch dialect {
	case NDJSON:
		return lines{a}
	case JSONArray:
		return &array{answer: a}
	default:
		return &envelope{answer: a}
	}
}

// isEnd tells whether an answer has ended in order: only the bare io.EOF says so.
func isEnd(err error) bool {
	return err == io.EOF //nolint:errorlint // an io.EOF within another error is a failure
}

// findColumns reads the first row; where the names may come behind the rows, as many as are held.
func (r *rows) findColumns(told bool) error {
	held := 0
	for {
		row, err := r.decoder.next()
		if isEnd(err) {
			r.ended = true
			break
		}
		if err != nil {
			return err
		}
		r.ahead = append(r.ahead, row.Clone())
		held += len(row)
		if !told || r.decoder.columns() != nil || held > maxAhead {
			break
		}
	}
	names := r.decoder.columns()
	if names == nil && len(r.ahead) > 0 {
		var err error
		if names, err = namesOf(r.ahead[0]); err != nil {
			return err
		}
		if r.guessed = told; told {
			slices.Sort(names) // the API shuffles them
		}
	}
	r.names = names
	r.index = make(map[string]int, len(names))
	for i, name := range names {
		r.index[name] = i
		r.quoted = append(r.quoted, string(stream.AppendText(nil, name)))
	}
	r.values = make([][]byte, len(names))
	if len(r.ahead) > 0 {
		r.kind = r.ahead[0].Kind()
	}
	return nil
}

var errRow = errors.New("a row is neither an object nor an array, or not what the first one was")

// namesOf are a row's names; the values of an array are called c1, c2 and so on.
func namesOf(row jsontext.Value) ([]string, error) {
	names := []string{}
	switch row.Kind() {
	case '{':
		for m := (members{text: row}); m.next(); {
			name, err := jsontext.AppendUnquote(nil, m.name)
			if err != nil {
				return nil, err
			}
			names = append(names, string(name))
		}
	case '[':
		for m := (members{text: row}); m.next(); {
			names = append(names, "c"+strconv.Itoa(len(names)+1))
		}
	default:
		return nil, errRow
	}
	return names, nil
}

func (r *rows) Columns() []stream.Column {
	columns := make([]stream.Column, len(r.names))
	for i, name := range r.names {
		columns[i].Name = name
	}
	return columns
}

// Total is unknown: the APIs do not tell.
func (r *rows) Total() (int64, stream.TotalKind) { return 0, stream.KindUnknown }

func (r *rows) Err() error { return r.err }

func (r *rows) Next() bool {
	if r.err != nil {
		return false
	}
	var row jsontext.Value
	switch {
	case len(r.ahead) > 0:
		row, r.ahead = r.ahead[0], r.ahead[1:]
	case r.ended:
		return false
	default:
		var err error
		if row, err = r.decoder.next(); isEnd(err) {
			r.ended = true
			r.err = r.checkColumns()
			return false
		} else if err != nil {
			r.err = causeOf(r.ctx, err)
			return false
		}
	}
	r.err = r.take(row)
	return r.err == nil
}

// checkColumns fails where columns were told behind the rows that the rows seen so far did not show.
func (r *rows) checkColumns() error {
	if !r.guessed {
		return nil
	}
	for _, name := range r.decoder.columns() {
		if _, ok := r.index[name]; !ok && r.kind == '{' {
			return fmt.Errorf("the column %q was told behind all rows, and the first row has none", clip(name))
		}
	}
	return nil
}

// take makes row the current one.
func (r *rows) take(row jsontext.Value) error {
	if kind := row.Kind(); kind != r.kind || kind != '{' && kind != '[' {
		return errRow
	}
	clear(r.values)
	n := 0
	for m := (members{text: row}); m.next(); n++ {
		i := n
		switch {
		case r.kind == '[':
			if n >= len(r.names) {
				return fmt.Errorf("a row has more than %d values", len(r.names))
			}
		case n >= len(r.quoted) || r.quoted[n] != string(m.name):
			var ok bool
			if i, ok = r.find(m.name); !ok {
				continue
			}
		}
		r.values[i] = m.value
	}
	if r.kind == '[' && n < len(r.names) {
		return fmt.Errorf("a row has %d values and not %d", n, len(r.names))
	}
	return nil
}

// find gives the column of a quoted name.
func (r *rows) find(quoted []byte) (int, bool) {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		unquoted, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil {
			return 0, false
		}
		name = unquoted
	}
	i, ok := r.index[string(name)]
	return i, ok
}

func (r *rows) AppendValue(dst []byte, i int) []byte {
	v := r.values[i]
	if v == nil {
		return append(dst, "null"...)
	}
	if bytes.IndexByte(v, '\n') >= 0 || bytes.IndexByte(v, '\r') >= 0 {
		return stream.AppendJSON(dst, v)
	}
	return append(dst, v...)
}

// Close ends the request if it still runs. Its connection is used again only where the answer was read to its end.
func (r *rows) Close() error {
	if !r.ended {
		r.cancel(nil) // first, or Close would wait for more of it
	}
	_ = r.response.Body.Close() // all was there, or nobody wants it any more
	r.cancel(nil)
	return nil
}

var _ stream.Rows = (*rows)(nil)
