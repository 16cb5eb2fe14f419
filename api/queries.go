package api

import (
	"net/http"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Query is a query that clients may run, as it is told to operators: without its statement.
type Query struct {
	*stream.Query
	Watch *QueryWatch  // nil where it cannot be watched
	Allow access.Terms // who may run it
}

// QueryWatch is how a query is watched.
type QueryWatch struct {
	Key     []string `json:"key"`      // the columns that tell the result's rows apart
	MaxRows int      `json:"max_rows"` // of the result
}

type queriesAnswer struct {
	Queries []queryAnswer `json:"queries"` // by name
	Cursor  string        `json:"cursor,omitempty"`
}

type queryAnswer struct {
	Name   string           `json:"name"`
	Source string           `json:"source"`
	Params []paramAnswer    `json:"params"` // that clients give, as the statement has them
	Total  stream.TotalMode `json:"total"`
	Watch  *QueryWatch      `json:"watch,omitempty"`
	Allow  []access.Term    `json:"allow"`
}

// paramAnswer is a parameter. Values are texts, whatever its type, as the configuration writes them.
type paramAnswer struct {
	Name      string           `json:"name"`
	Type      stream.ParamType `json:"type"`
	Required  bool             `json:"required"`
	Default   *stream.Literal  `json:"default,omitempty"`
	Enum      []stream.Literal `json:"enum,omitempty"`
	Min       *stream.Literal  `json:"min,omitempty"`
	Max       *stream.Literal  `json:"max,omitempty"`
	MaxLength int              `json:"max_length,omitempty"` // characters
}

func listQueries(a *Routes, r *request) (int, any, error) {
	limit, after, err := r.page()
	if err != nil {
		return 0, nil, err
	}
	answer := queriesAnswer{Queries: []queryAnswer{}}
	for _, q := range a.Queries() {
		if q.Name <= after {
			continue
		}
		if len(answer.Queries) == limit {
			answer.Cursor = cursor(answer.Queries[limit-1].Name)
			break
		}
		answer.Queries = append(answer.Queries, present(q))
	}
	return http.StatusOK, answer, nil
}

func present(q Query) queryAnswer {
	told := queryAnswer{
		Name: q.Name, Source: q.Source, Params: []paramAnswer{}, Total: q.Total, Watch: q.Watch, Allow: append([]access.Term{}, q.Allow...),
	}
	if told.Total == "" {
		told.Total = stream.TotalNone
	}
	for _, p := range q.Params {
		if p.Bind != "" {
			continue
		}
		told.Params = append(told.Params, paramAnswer{
			Name: p.Name, Type: p.Type, Required: p.Default == nil, Default: p.Default, Enum: p.Enum, Min: p.Min, Max: p.Max,
			MaxLength: p.MaxLength,
		})
	}
	return told
}
