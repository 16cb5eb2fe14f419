package stream

import (
	"fmt"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// RowEncoder writes the rows of a result as JSON.
type RowEncoder struct {
	columns []protocol.QueryColumn
	keys    [][]byte // what stands before each value of a row
	arrays  bool
}

// NewRowEncoder makes a RowEncoder for a result of these columns: rows are objects, or arrays.
func NewRowEncoder(columns []Column, arrays bool) *RowEncoder {
	names := uniqueNames(columns)
	e := &RowEncoder{columns: make([]protocol.QueryColumn, len(columns)), keys: rowKeys(names, arrays), arrays: arrays}
	for i, c := range columns {
		e.columns[i] = protocol.QueryColumn{Name: names[i], Type: c.Type}
	}
	return e
}

// Columns are the columns as they are told to clients; names that stand twice have been made to differ.
func (e *RowEncoder) Columns() []protocol.QueryColumn { return e.columns }

// Append appends the current row.
func (e *RowEncoder) Append(dst []byte, rows Rows) []byte {
	for i, key := range e.keys {
		dst = append(dst, key...)
		dst = rows.AppendValue(dst, i)
	}
	if e.arrays {
		if len(e.keys) == 0 {
			dst = append(dst, '[')
		}
		return append(dst, ']')
	}
	if len(e.keys) == 0 {
		dst = append(dst, '{')
	}
	return append(dst, '}')
}

// rowKeys is what stands before each value of a row: the opening or a comma, and in objects the column's name.
func rowKeys(names []string, arrays bool) [][]byte {
	keys := make([][]byte, len(names))
	for i, name := range names {
		switch {
		case arrays && i == 0:
			keys[i] = []byte("[")
		case arrays:
			keys[i] = []byte(",")
		case i == 0:
			keys[i] = append(AppendText([]byte("{"), name), ':')
		default:
			keys[i] = append(AppendText([]byte(","), name), ':')
		}
	}
	return keys
}

// uniqueNames gives the columns' names, those that stand before unchanged and every further one of the same name with a number that
// makes it differ from all: a, a_2, a_3.
func uniqueNames(columns []Column) []string {
	taken := make(map[string]bool, len(columns))
	for _, c := range columns {
		taken[c.Name] = true
	}
	names := make([]string, len(columns))
	seen := make(map[string]bool, len(columns))
	for i, c := range columns {
		name := c.Name
		for n := 2; seen[c.Name] && taken[name]; n++ {
			name = fmt.Sprintf("%s_%d", c.Name, n)
		}
		seen[c.Name], taken[name] = true, true
		names[i] = name
	}
	return names
}
