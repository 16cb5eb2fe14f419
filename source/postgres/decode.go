package postgres

import (
	"fmt"
	"slices"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// change is a row's change as the change feed tells of it. It is valid until the call that it was given to returns.
type change struct {
	table *walTable
	key   []string // the columns of the table's key
	types []typeInfo
	row   *walRow // nil where all rows went
}

// decoder makes changes of a table those of the columns that are listened to.
type decoder struct {
	textEncoder
	columns []string

	// For the table as it is made at the moment.
	table *walTable
	wrong error // why its changes cannot be told
	at    []int // where the columns stand
	key   []int

	out    stream.RowChange
	values []byte // what the values of out are parts of
	isNew  [][]byte
	isOld  [][]byte
}

// learn finds the columns in a table that is made otherwise than the last one.
func (d *decoder) learn(c *change) {
	d.table, d.wrong = c.table, nil
	find := func(name string) int {
		return slices.IndexFunc(c.table.columns, func(column walColumn) bool { return column.name == name })
	}
	d.at, d.key = d.at[:0], d.key[:0]
	for _, name := range d.columns {
		i := find(name)
		if i < 0 {
			d.wrong = fmt.Errorf("the publication tells of no column %s of %s", name, c.table.name)
			return
		}
		d.at = append(d.at, i)
	}
	for _, name := range c.key {
		i := find(name)
		if i < 0 || !slices.Contains(d.columns, name) {
			d.wrong = fmt.Errorf("the column %s, which is part of the key of %s, is not among those that are told", name, c.table.name)
			return
		}
		d.key = append(d.key, i)
	}
	if len(d.key) == 0 {
		d.wrong = fmt.Errorf("the table %s has no primary key", c.table.name)
	}
}

// decode gives a change as it is told. What it gave before is void.
func (d *decoder) decode(c *change) (*stream.RowChange, error) {
	if d.table != c.table {
		d.learn(c)
	}
	if d.wrong != nil {
		return nil, d.wrong
	}
	d.values = d.values[:0]
	d.out = stream.RowChange{Op: protocol.OpTruncate}
	row := c.row
	if row == nil {
		return &d.out, nil
	}
	if row.op != walDelete && len(row.new) != len(c.table.columns) || row.oldKind != 0 && len(row.old) != len(c.table.columns) {
		return nil, errMalformed
	}
	d.isNew, d.isOld = d.isNew[:0], d.isOld[:0]
	for _, i := range d.at {
		before := d.before(c, i)
		d.isOld = append(d.isOld, before)
		if row.op != walDelete {
			d.isNew = append(d.isNew, d.value(c, d.after(row, i), i))
		}
	}
	switch row.op {
	case walInsert:
		d.out.Op, d.out.New = protocol.OpInsert, d.isNew
		d.out.Key = d.keyOf(c, func(i int) field { return row.new[i] })
	case walUpdate:
		d.out.Op, d.out.New, d.out.Old = protocol.OpUpdate, d.isNew, d.isOld
		d.out.Key = d.keyOf(c, func(i int) field { return d.after(row, i) })
		if row.oldKind != 0 {
			if old := d.keyOf(c, func(i int) field { return row.old[i] }); string(old) != string(d.out.Key) {
				d.out.OldKey = old
			}
		}
	case walDelete:
		if row.oldKind == 0 {
			return nil, errMalformed
		}
		d.out.Op, d.out.Old = protocol.OpDelete, d.isOld
		d.out.Key = d.keyOf(c, func(i int) field { return row.old[i] })
	}
	return &d.out, nil
}

// after is a column's value behind an update. One that is left as it was is known where the row from before is.
func (*decoder) after(row *walRow, i int) field {
	f := row.new[i]
	if f.kind == fieldUnchanged && row.oldKind == 'O' {
		return row.old[i]
	}
	return f
}

// before is a column's value before a change as JSON, nil where it is not known. Without the old row only those of the replica identity
// are, and where not even these are told they are as the new ones.
func (d *decoder) before(c *change, i int) []byte {
	row := c.row
	identity := c.table.columns[i].identity
	switch {
	case row.oldKind == 'O' || row.oldKind == 'K' && identity:
		return d.value(c, row.old[i], i)
	case row.oldKind == 0 && row.op == walUpdate && identity:
		return d.value(c, row.new[i], i)
	}
	return nil
}

// value is a field as JSON, nil where it is not known.
func (d *decoder) value(c *change, f field, i int) []byte {
	start := len(d.values)
	if d.values = d.append(d.values, c, f, i); len(d.values) == start {
		return nil
	}
	return d.values[start:len(d.values):len(d.values)]
}

func (d *decoder) append(dst []byte, c *change, f field, i int) []byte {
	switch t := &c.types[i]; {
	case f.kind == fieldNull:
		return append(dst, "null"...)
	case f.kind == fieldUnchanged:
		return dst
	case t.array:
		return d.appendArray(dst, f.text, t)
	default:
		return d.appendText(dst, f.text, t.value)
	}
}

// keyOf is a row's key as JSON.
func (d *decoder) keyOf(c *change, value func(i int) field) []byte {
	start := len(d.values)
	if len(d.key) > 1 {
		d.values = append(d.values, '[')
	}
	for n, i := range d.key {
		if n > 0 {
			d.values = append(d.values, ',')
		}
		d.values = d.append(d.values, c, value(i), i)
	}
	if len(d.key) > 1 {
		d.values = append(d.values, ']')
	}
	return d.values[start:len(d.values):len(d.values)]
}
