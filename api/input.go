package api

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Bounds of a page.
const (
	defaultPage = 100
	maxPage     = 1000
)

func invalid(format string, args ...any) error {
	return protocol.Errorf(protocol.InvalidParams, format, args...)
}

// parameters reads a query, in which each parameter stands once. One that is not known is refused: a misspelt filter would show all.
func parameters(raw string, known []string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalid("the query part of the URL cannot be read")
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name):
			return nil, invalid("there is no parameter %q here", clip(name))
		case len(values) > 1:
			return nil, invalid("the parameter %q stands more than once", name)
		}
	}
	return query, nil
}

// clip keeps an answer from growing with what it quotes.
func clip(text string) string {
	const most = 64
	return strings.ToValidUTF8(text[:min(len(text), most)], "\ufffd")
}

// number reads a parameter from least to most, standard where it is absent.
func (r *request) number(name string, standard, least, most int) (int, error) {
	if !r.query.Has(name) {
		return standard, nil
	}
	n, err := strconv.Atoi(r.query.Get(name))
	if err != nil || n < least || n > most {
		return 0, invalid("%s must be an integer from %d to %d", name, least, most)
	}
	return n, nil
}

// page reads how much of a list is asked for, and behind which of its keys; key is empty for the beginning.
func (r *request) page() (limit int, key string, err error) {
	if limit, err = r.number("limit", defaultPage, 1, maxPage); err != nil {
		return 0, "", err
	}
	if text := r.query.Get("cursor"); text != "" {
		decoded, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(decoded) == 0 {
			return 0, "", invalid("the cursor is none that was given out here")
		}
		key = string(decoded)
	}
	return limit, key, nil
}

// cursor is what page makes the key of again.
func cursor(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

// maxReconnect is the longest that a client may be asked to stay away.
const maxReconnect = time.Hour

// reconnectAfter reads when a client that is closed shall come back; a negative time says nothing of it.
func (r *request) reconnectAfter() (time.Duration, error) {
	ms, err := r.number("reconnect_after_ms", -1, 1, int(maxReconnect.Milliseconds()))
	return time.Duration(ms) * time.Millisecond, err
}

// channel is the name in the path.
func (r *request) channel() (string, error) {
	if err := protocol.CheckName(r.name); err != nil {
		return "", protocol.Errorf(protocol.InvalidChannel, "%v", err)
	}
	return r.name, nil
}

// read gives the body of a request, which must be JSON. That it must say so keeps pages of other sites from publishing with the
// credentials of their visitors: a browser asks first.
func (a *Routes) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	kind, options, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, given := options["charset"]
	switch {
	case err != nil || kind != "application/json", given && !strings.EqualFold(charset, "utf-8"):
		return nil, &Problem{
			Status: http.StatusUnsupportedMediaType, Code: CodeUnsupportedMediaType,
			Detail: "the body must be of the content type application/json, in UTF-8",
		}
	case r.Header.Get("Content-Encoding") != "":
		return nil, &Problem{
			Status: http.StatusUnsupportedMediaType, Code: CodeUnsupportedMediaType, Detail: "the body must not be encoded",
		}
	}
	limit := a.MaxBody
	if limit == 0 {
		limit = DefaultMaxBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, &Problem{
			Status: http.StatusRequestEntityTooLarge, Code: protocol.LimitExceeded,
			Detail: fmt.Sprintf("the body may have %d bytes", long.Limit),
		}
	case err != nil:
		return nil, protocol.Errorf(protocol.InvalidMessage, "the body could not be read to its end")
	}
	return body, nil
}
