package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Row is a row as the server sent it: a JSON object with a member for each column, or an array in the columns' order where
// QueryOptions.Arrays is set. It is the caller's own.
type Row json.RawMessage

// Decode puts the row into v, as json.Unmarshal does. Numbers keep all their digits in a json.Number, an int64 or a json.RawMessage, but not
// in a float64 or any.
func (r Row) Decode(v any) error {
	if err := json.Unmarshal(r, v); err != nil {
		return fmt.Errorf("client: a row: %w", err)
	}
	return nil
}

// missing reports whether there is no row.
func (r Row) missing() bool { return len(r) == 0 || string(r) == "null" }

// String is the row's JSON.
func (r Row) String() string { return string(r) }

// MarshalJSON gives the row as it came.
func (r Row) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON keeps a copy of the text.
func (r *Row) UnmarshalJSON(text []byte) error {
	if r == nil {
		return errors.New("client: a nil Row")
	}
	*r = slices.Clone(text)
	return nil
}

// Into decodes rows into values of T, such as a struct: for order, err := range client.Into[Order](rows.All()). A row that does not
// fit T ends it with an error; breaking off breaks the rows off.
func Into[T any](rows iter.Seq2[Row, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for row, err := range rows {
			var value T
			if err == nil {
				err = row.Decode(&value)
			}
			if !yield(value, err) || err != nil {
				return
			}
		}
	}
}

// Column is a column of a query's result.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // the database's name for it, lower case; empty where it has none
}
