package stream

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Query is a query that clients may run by its name.
type Query struct {
	// Name is what clients call it.
	Name string
	// Source is the name of the source that it runs on, by which its streams are counted.
	Source string
	// Statement is what runs, prepared with Params.
	Statement Statement
	// Params are what the statement takes, in the order of Prepare.
	Params []Param
	// Total is how much may be spent on the number of rows. Default: none.
	Total TotalMode
	// Int64Strings gives 64-bit integers and decimals as JSON strings, for clients whose numbers are float64. Default: as numbers.
	Int64Strings bool
	// MaxDuration is the longest that one run may take. Default: 0, Options.MaxDuration.
	MaxDuration time.Duration
	// RawText is the statement that a client wrote itself; empty for a configured query. See NewRawQuery.
	RawText string
}

// Validate checks the query; its error is for the operator.
func (q *Query) Validate() error {
	switch {
	case q.Name == "":
		return errors.New("a query has no name")
	case q.Statement == nil:
		return fmt.Errorf("query %q has no statement", q.Name)
	case q.MaxDuration < 0:
		return fmt.Errorf("query %q: the longest duration must not be negative", q.Name)
	}
	switch q.Total {
	case "", TotalNone, TotalEstimate, TotalExact:
	default:
		return fmt.Errorf("query %q: unknown total %q: must be none, estimate or exact", q.Name, q.Total)
	}
	if err := ValidateParams(q.Params); err != nil {
		return fmt.Errorf("query %q: %w", q.Name, err)
	}
	return nil
}

// Catalog holds the queries of a configuration by their names. It does not change, and is safe for concurrent use. A nil Catalog
// is empty.
type Catalog struct {
	queries map[string]*Query
}

// NewCatalog makes a Catalog of valid queries whose names differ; its error is for the operator.
func NewCatalog(queries ...*Query) (*Catalog, error) {
	c := &Catalog{queries: make(map[string]*Query, len(queries))}
	for _, q := range queries {
		if err := q.Validate(); err != nil {
			return nil, err
		}
		if c.queries[q.Name] != nil {
			return nil, fmt.Errorf("query %q is configured twice", q.Name)
		}
		c.queries[q.Name] = q
	}
	return c, nil
}

// Lookup finds a query by its name; its error is a *protocol.Error, QUERY_NOT_FOUND.
func (c *Catalog) Lookup(name string) (*Query, error) {
	if c != nil {
		if q := c.queries[name]; q != nil {
			return q, nil
		}
	}
	return nil, notFound(name)
}

// Names lists the queries in alphabetical order.
func (c *Catalog) Names() []string {
	if c == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(c.queries))
}

func notFound(name string) error {
	return protocol.Errorf(protocol.QueryNotFound, "there is no query %q", clip(name))
}
