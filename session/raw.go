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

// mayRun tells whether the client may run a query of this name, or a statement of its own where it is none.
func (s *Session) mayRun(query string, id *access.Identity) bool {
	if _, err := s.config.Catalog.Lookup(query); err == nil {
		return s.config.QueryAccess[query].Allow(id)
	}
	return slices.ContainsFunc(s.config.RawSQL, func(raw RawSQL) bool { return raw.Allow.Allow(id) })
}

func forbiddenQuery() error {
	return protocol.Errorf(protocol.Forbidden, "this query is not open to you")
}
