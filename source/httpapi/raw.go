package httpapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/dml"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// CheckRaw implements stream.RawSource.
func (s *Source) CheckRaw() error {
	if s.Dialect != "" && s.Dialect != NeuroQuantum {
		return fmt.Errorf("a source of the dialect %s takes no SQL", s.Dialect)
	}
	return nil
}

// AllowRaw implements stream.RawSource.
func (s *Source) AllowRaw(context.Context) error { return nil }

// PrepareRaw implements stream.RawSource. As the API is not asked before it is to run, and may well write, nothing is passed on but
// what is one SELECT however it is read.
func (s *Source) PrepareRaw(_ context.Context, sql string, params []stream.Param) (stream.Statement, error) {
	if s.transport == nil {
		return nil, errors.New("the HTTP source is not provisioned")
	}
	switch err := dml.Select(sql); {
	case err == nil:
	case errors.Is(err, dml.ErrSeveral):
		return nil, stream.BadText("there is more than one statement")
	case errors.Is(err, dml.ErrNotSelect):
		return nil, stream.BadText("the statement is not a select")
	case errors.Is(err, dml.ErrWrites):
		return nil, stream.BadText("the statement does more than read, or has a name that must be in quotes")
	default:
		return nil, stream.BadText("the statement holds what databases read differently, or ends within quotes or a comment")
	}
	st, err := s.prepare(stream.Text{SQL: sql}, params)
	if err != nil {
		return nil, fmt.Errorf("HTTP: %w", err)
	}
	return st, nil
}

// Gist is the error without the API's words, which may quote the statement and its values.
func (e *apiError) Gist() string {
	gist := apiError{Status: e.Status, Kind: e.Kind}
	return gist.Error()
}

var _ stream.RawSource = (*Source)(nil)
