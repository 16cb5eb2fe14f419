package session

import (
	"slices"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// RawSQL is a source that clients may send statements of their own to.
type RawSQL struct {
	Name   string // of the source
	Source stream.RawSource
	Allow  access.Terms
}

// findQuery is the query that a request means: the one of its name, else the client's own statement, where any source takes it. A
// client to whom none is open is told what it would be told if there were no such sources.
func (s *Session) findQuery(req protocol.Request) (*stream.Query, error) {
	query, err := s.config.Catalog.Lookup(req.Query)
	if err == nil {
		if !s.config.QueryAccess[req.Query].Allow(s.conn.Identity()) {
			return nil, forbiddenQuery()
		}
		return query, nil
	}
	for _, raw := range s.config.RawSQL {
		if (req.Source == "" || req.Source == raw.Name) && raw.Allow.Allow(s.conn.Identity()) {
			query, err := stream.NewRawQuery("SQL of a client on "+raw.Name, raw.Source, req.Query, req.Params)
			if err == nil {
				query.Source = raw.Name
			}
			return query, err
		}
	}
	return nil, err
}

// refusal is why the client may no longer run a query that it called by this name when it began; nil where it may.
func (s *Session) refusal(name string, query *stream.Query, id *access.Identity) *protocol.Error {
	_, err := s.config.Catalog.Lookup(name)
	switch {
	case err == nil && s.config.QueryAccess[name].Allow(id):
		return nil
	case err != nil && query.Name == name:
		return protocol.Errorf(protocol.QueryNotFound, "the query is not there any more")
	case err != nil && slices.ContainsFunc(s.config.RawSQL, func(raw RawSQL) bool { return raw.Name == query.Source && raw.Allow.Allow(id) }):
		return nil
	}
	return protocol.Errorf(protocol.Forbidden, "this query is no longer open to you")
}

func forbiddenQuery() error {
	return protocol.Errorf(protocol.Forbidden, "this query is not open to you")
}
