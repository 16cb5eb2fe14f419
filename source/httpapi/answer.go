package httpapi

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxProblem is how much is read of an answer that tells of a failure.
const maxProblem = 64 << 10

var (
	errLong    = errors.New("a row is longer than max_row")
	errBehind  = errors.New("something follows the end of the answer")
	errUnended = errors.New("the answer does not say where it ends")
)

// apiError is a failure that the API tells of.
type apiError struct {
	Status int
	Kind   string // InvalidQuery, Unauthorized, Forbidden, ValidationError, RateLimitExceeded, or what else the API says
	Detail string
}

func (e *apiError) Error() string {
	text := fmt.Sprintf("the API answers %d", e.Status)
	if e.Kind != "" {
		text += " " + e.Kind
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// newAPIError reads an error member of the envelope: {"Kind":…}, or a text.
func newAPIError(status int, raw jsontext.Value) *apiError {
	e := &apiError{Status: status}
	switch raw.Kind() {
	case '"':
		text, _ := jsontext.AppendUnquote(nil, raw)
		e.Detail = clip(string(text))
	case '{':
		name, value, _ := firstMember(raw)
		e.Kind, e.Detail = clip(name), clip(string(value))
	case 'n', 0:
	default:
		e.Detail = clip(string(raw))
	}
	return e
}

func clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), 500)], "") }

// problem makes the error of an answer that is no success.
func problem(response *http.Response, body io.Reader) error {
	text, _ := io.ReadAll(io.LimitReader(body, maxProblem))
	e := &apiError{Status: response.StatusCode}
	if v := jsontext.Value(text); v.IsValid() && v.Kind() == '{' {
		for m := (members{text: v}); m.next(); {
			if m.is(`"error"`) {
				e = newAPIError(response.StatusCode, m.value)
			}
		}
	}
	return e
}

// plainBody is the answer's body, inflated where it is compressed. It fails where it cannot tell that the body was cut short.
func plainBody(response *http.Response, marked bool) (io.Reader, error) {
	switch encoding := strings.ToLower(response.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		if !marked && response.ProtoMajor == 1 && response.ContentLength < 0 && len(response.TransferEncoding) == 0 {
			return nil, errUnended
		}
		return response.Body, nil
	case "gzip", "x-gzip":
		buffered := bufio.NewReader(response.Body)
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, unexpected(err)
		}
		z.Multistream(false)
		return &inflated{z: z, rest: buffered}, nil
	default:
		return nil, fmt.Errorf("the answer is encoded as %.50q", encoding)
	}
}

// inflated reads one gzip stream, which must be all there is.
type inflated struct {
	z    *gzip.Reader
	rest *bufio.Reader
	err  error // how it ended
}

func (i *inflated) Read(p []byte) (int, error) {
	if i.err != nil {
		return 0, i.err
	}
	n, err := i.z.Read(p)
	if errors.Is(err, io.EOF) {
		// The body must end here too, and in order.
		if _, err = i.rest.ReadByte(); err == nil {
			err = errBehind
		}
	}
	i.err = err
	return n, err
}

// unexpected is err, where the end of the body is an error as well.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// limited gives a decoder no more than may belong to one row.
type limited struct {
	from  io.Reader
	read  int64
	limit int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.read >= l.limit {
		return 0, errLong
	}
	n, err := l.from.Read(p[:min(int64(len(p)), l.limit-l.read)])
	l.read += int64(n)
	return n, err
}

// answer decodes an answer row by row.
type answer struct {
	dec    *jsontext.Decoder
	input  *limited
	maxRow int64
	status int
}

func newAnswer(body io.Reader, maxRow int64, status int) *answer {
	a := &answer{input: &limited{from: body}, maxRow: maxRow, status: status}
	a.dec = jsontext.NewDecoder(a.input)
	return a
}

// expect lets the decoder read what is at most one row long from here.
func (a *answer) expect() { a.input.limit = a.dec.InputOffset() + a.maxRow + 2 }

// value reads a value, which is good until the next read. io.EOF is the regular end where a value may begin or not.
func (a *answer) value() (jsontext.Value, error) {
	a.expect()
	v, err := a.dec.ReadValue()
	if err == nil && int64(len(v)) > a.maxRow {
		err = errLong
	}
	return v, err
}

func (a *answer) token(want jsontext.Kind) error {
	a.expect()
	t, err := a.dec.ReadToken()
	if err == nil && t.Kind() != want {
		err = fmt.Errorf("the answer has %s where %s should be", t.Kind(), want)
	}
	return unexpected(err)
}

// end checks that nothing follows; its io.EOF says so.
func (a *answer) end() error {
	a.expect()
	_, err := a.dec.ReadToken()
	if err == nil {
		return errBehind
	}
	return err
}

// decoder gives an answer's rows; next ends with io.EOF once the whole answer is there. columns are their names as far as the answer
// has told them.
type decoder interface {
	next() (jsontext.Value, error)
	columns() []string
}

// lines are the rows of ndjson.
type lines struct{ *answer }

func (l lines) next() (jsontext.Value, error) { return l.value() }
func (lines) columns() []string               { return nil }

// array are the rows of json_array.
type array struct {
	*answer
	began bool
}

func (a *array) next() (jsontext.Value, error) {
	if !a.began {
		if err := a.token('['); err != nil {
			return nil, err
		}
		a.began = true
	}
	return a.element(a.end)
}

func (*array) columns() []string { return nil }

// element reads the next element of the array that the decoder is in; behind the last it goes on with then.
func (a *answer) element(then func() error) (jsontext.Value, error) {
	a.expect()
	if a.dec.PeekKind() == ']' {
		if err := a.token(']'); err != nil {
			return nil, err
		}
		return nil, then()
	}
	v, err := a.value()
	return v, unexpected(err)
}
