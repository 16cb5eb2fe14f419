package client

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// keyed are rows by their key as JSON, of bounded size.
type keyed struct {
	limit   int
	rows    map[string]Row
	order   []string // in which the keys came, while ordered
	ordered bool
	bytes   int
}

func newKeyed(limit int) keyed { return keyed{limit: limit, rows: make(map[string]Row)} }

// put puts a row in its place, or with nil takes it away. It is false where that is too much.
func (k *keyed) put(key string, row Row) bool {
	was, there := k.rows[key]
	if there {
		k.bytes -= len(key) + len(was)
	}
	if row == nil {
		delete(k.rows, key)
		return true
	}
	if k.ordered && !there {
		k.order = append(k.order, key)
	}
	k.bytes += len(key) + len(row)
	k.rows[key] = row
	return k.bytes <= k.limit
}

// changes is which rows the taker of a Live's changes does not know as they are. What it holds of each is only whether the taker has one,
// so it never is more than one entry for each key.
type changes struct {
	had   map[string]bool // by key: the taker has a row
	order []string        // the keys, in the order in which they changed first
}

func newChanges() changes { return changes{had: make(map[string]bool)} }

// note notes that a row is about to change; rows is the copy before it does.
func (c *changes) note(key string, rows map[string]Row) {
	if _, noted := c.had[key]; !noted {
		_, c.had[key] = rows[key]
		c.order = append(c.order, key)
	}
}

// replace notes what differs between the copy and the result that takes its place.
func (c *changes) replace(old map[string]Row, with *keyed) {
	for key := range old {
		if with.rows[key] == nil {
			c.note(key, old)
		}
	}
	for _, key := range with.order {
		if was, there := old[key]; !there || !bytes.Equal(was, with.rows[key]) {
			c.note(key, old)
		}
	}
	with.order, with.ordered = nil, false
}

// pop takes the first change off; rows is the copy.
func (c *changes) pop(rows map[string]Row) (Change, bool) {
	for len(c.order) > 0 {
		key := c.order[0]
		c.order[0] = ""
		if c.order = c.order[1:]; len(c.order) == 0 {
			c.order = nil
		}
		had := c.had[key]
		delete(c.had, key)
		row, has := rows[key]
		change := Change{Key: json.RawMessage(key), Row: row}
		switch {
		case had && has:
			change.Op = Update
		case has:
			change.Op = Insert
		case had:
			change.Op = Delete
		default:
			continue // it came and went
		}
		return change, true
	}
	return Change{}, false
}

// keyOf is the key of a row as JSON: the value of its column, or an array where there are several.
func keyOf(row Row, columns []string) (string, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(row, &members); err != nil {
		return "", fmt.Errorf("%w: a row that is no object", ErrProtocol)
	}
	var key []byte
	for i, column := range columns {
		value, there := members[column]
		if !there {
			return "", fmt.Errorf("client: the rows have no column %q", column)
		}
		if i > 0 {
			key = append(key, ',')
		}
		key = append(key, value...)
	}
	if len(columns) > 1 {
		key = append(append([]byte{'['}, key...), ']')
	}
	return compact(key)
}

// compact is JSON without white space.
func compact(text []byte) (string, error) {
	var out bytes.Buffer
	err := json.Compact(&out, text)
	return out.String(), err
}
