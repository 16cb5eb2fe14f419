package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// statement is a query that has been checked.
type statement struct {
	source  *Source
	params  []stream.Param
	url     template
	body    template // where hasBody
	sql     sqlTemplate
	hasBody bool
}

func (s *Source) prepare(text stream.Text, params []stream.Param) (*statement, error) {
	st := &statement{source: s, params: params}
	var err error
	if st.url, err = s.parseQueryURL(text.URL); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	names := slices.Clone(st.url.names)
	switch {
	case s.Dialect == NeuroQuantum:
		if text.Body != "" || strings.TrimSpace(text.SQL) == "" {
			return nil, errors.New("the dialect neuroquantum takes sql, and no body")
		}
		if st.sql, err = parseSQL(text.SQL); err != nil {
			return nil, err
		}
		names = append(names, st.sql.names...)
	case text.SQL != "":
		return nil, fmt.Errorf("the dialect %s takes url and body, and no sql", s.Dialect)
	case text.Body != "":
		if s.Method == http.MethodGet || s.Method == http.MethodHead {
			return nil, fmt.Errorf("a body goes not with %s", s.Method)
		}
		if st.body, err = bodyTemplate(text.Body); err != nil {
			return nil, fmt.Errorf("body: %w", err)
		}
		st.hasBody = true
		names = append(names, st.body.names...)
	}
	for _, name := range names {
		if !slices.ContainsFunc(params, func(p stream.Param) bool { return p.Name == name }) {
			return nil, stream.BadParam("there is no parameter %s", name)
		}
	}
	for _, p := range params {
		if !slices.Contains(names, p.Name) {
			return nil, stream.BadParam("parameter %s is not used by the statement", p.Name)
		}
	}
	return st, nil
}

// parseQueryURL parses a query's address: a whole one, or one that begins with a slash, on the source's host; or the source's.
func (s *Source) parseQueryURL(text string) (template, error) {
	if text == "" {
		return urlTemplate(s.url)
	}
	if strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") {
		base, err := parseURL(s.url)
		if err != nil {
			return template{}, err
		}
		text = base.Scheme + "://" + base.Host + text
	}
	return urlTemplate(text)
}

// request makes the request of one run for a user.
func (s *statement) request(ctx context.Context, user string, args []stream.Value) (*http.Request, error) {
	if len(args) != len(s.params) {
		return nil, fmt.Errorf("%d arguments for %d parameters", len(args), len(s.params))
	}
	address, err := s.url.render(s.params, args)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(address); err != nil {
		return nil, err
	} else if err := checkPath(u); err != nil {
		return nil, unfit(s.pathParam(), err)
	}
	method, body := s.source.Method, ""
	switch {
	case s.source.Dialect == NeuroQuantum:
		sql, err := s.sql.render(s.params, args)
		if err != nil {
			return nil, err
		}
		body = `{"query":` + string(stream.AppendText(nil, sql)) + "}"
	case s.hasBody:
		if body, err = s.body.render(s.params, args); err != nil {
			return nil, err
		}
	}
	if method == "" {
		if method = http.MethodGet; body != "" {
			method = http.MethodPost
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body == "" {
		r.Body, r.GetBody = http.NoBody, nil
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json")
	if s.source.Dialect == NDJSON {
		r.Header.Set("Accept", "application/x-ndjson, application/json")
	}
	r.Header.Set("User-Agent", "neuroquantum_ws")
	if err := setHeader(r.Header, s.source.header, user); err != nil {
		return nil, err
	}
	r.Header.Set("Accept-Encoding", "gzip")
	return r, nil
}

// pathParam returns a parameter in the path: one of them leads out of it together with the text around it.
func (s *statement) pathParam() string {
	if i := slices.IndexFunc(s.url.places, func(p place) bool { return p == inPath || p == inSegments }); i >= 0 {
		return s.url.names[i]
	}
	return ""
}

var errSlow = errors.New("the answer did not begin in time")

// Query asks the API and reads up to the first row; see stream.Statement.
func (s *statement) Query(ctx context.Context, run stream.Run) (stream.Rows, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	request, err := s.request(ctx, run.User, run.Args)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	slow := time.AfterFunc(time.Duration(s.source.Timeout), func() { cancel(errSlow) })
	defer slow.Stop()
	// The transport and no client: redirects could carry the header elsewhere.
	response, err := s.source.transport.RoundTrip(request)
	if err != nil {
		err = causeOf(ctx, err)
		cancel(nil)
		return nil, err
	}
	r := &rows{ctx: ctx, cancel: cancel, response: response}
	if err := r.open(s.source); err != nil {
		err = causeOf(ctx, err)
		r.Close()
		return nil, err
	}
	return r, nil
}

// causeOf is err, or what ended the request, which net/http does not always tell.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// Impersonal tells whether the rows are the same for every user: no header tells the API who that is. See stream.Impersonal.
func (s *statement) Impersonal() bool {
	return !slices.ContainsFunc(s.source.header, func(h header) bool { return len(h.parts) > 1 })
}
