package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// errMalformed is the error of a message that is not as it should be.
var errMalformed = errors.New("a message of the change feed is malformed")

// walReader reads the parts of a message of the plugin pgoutput. After the first one that is not there all are zero, and bad is set.
type walReader struct {
	rest []byte
	bad  bool
}

func (r *walReader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	part := r.rest[:n]
	r.rest = r.rest[n:]
	return part
}

func (r *walReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *walReader) uint16() int {
	if b := r.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *walReader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *walReader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text reads a string that ends with a zero.
func (r *walReader) text() string {
	end := bytes.IndexByte(r.rest, 0)
	part := r.take(end + 1)
	if end < 0 || part == nil {
		r.bad = true
		return ""
	}
	return string(part[:end])
}

// The kinds of messages of protocol version 1 that say something here; the others are passed over.
const (
	walBegin    = 'B'
	walCommit   = 'C'
	walRelation = 'R'
	walInsert   = 'I'
	walUpdate   = 'U'
	walDelete   = 'D'
	walTruncate = 'T'
)

// field is a column's value in a row.
type field struct {
	kind byte   // one of the constants below
	text []byte // of fieldText
}

const (
	fieldNull      = 'n'
	fieldUnchanged = 'u' // large, and left as it is
	fieldText      = 't'
)

// row reads a row into dst.
func (r *walReader) row(dst []field) []field {
	dst = dst[:0]
	for range r.uint16() {
		f := field{kind: r.byte()}
		switch f.kind {
		case fieldNull, fieldUnchanged:
		case fieldText:
			f.text = r.take(int(r.uint32()))
		default:
			r.bad = true
		}
		if r.bad {
			return dst
		}
		dst = append(dst, f)
	}
	return dst
}

// walRow is the message of a row's change.
type walRow struct {
	op       byte // walInsert and so on
	relation uint32
	oldKind  byte // 'K': old holds the columns of the replica identity only; 'O': all; 0: there is no old
	old, new []field
}

// read reads an insert, update or delete. What it had before is used again; texts are parts of msg.
func (w *walRow) read(msg []byte) error {
	r := walReader{rest: msg}
	w.op, w.relation = r.byte(), r.uint32()
	w.oldKind, w.old, w.new = 0, w.old[:0], w.new[:0]
	part := r.byte()
	if part == 'K' || part == 'O' {
		w.oldKind = part
		w.old = r.row(w.old)
		if w.op == walDelete {
			return r.end()
		}
		part = r.byte()
	}
	if part != 'N' || w.op == walDelete {
		return errMalformed
	}
	w.new = r.row(w.new)
	return r.end()
}

func (r *walReader) end() error {
	if r.bad || len(r.rest) > 0 {
		return errMalformed
	}
	return nil
}

// walColumn is a column of a table.
type walColumn struct {
	name     string
	oid      uint32
	identity bool // it is of the replica identity
}

// walTable is the message that tells how a table is made, before its first change and after it was altered.
type walTable struct {
	id      uint32
	name    tableName
	columns []walColumn
}

func readWALTable(msg []byte) (*walTable, error) {
	r := walReader{rest: msg[1:]}
	t := &walTable{id: r.uint32(), name: tableName{r.text(), r.text()}}
	r.byte() // the setting of the replica identity: the columns say it as well
	for range r.uint16() {
		c := walColumn{identity: r.byte()&1 != 0, name: r.text(), oid: r.uint32()}
		r.uint32() // the type's modifier
		if r.bad {
			break
		}
		t.columns = append(t.columns, c)
	}
	if t.name.schema == "" {
		t.name.schema = "pg_catalog"
	}
	return t, r.end()
}

// readTruncate gives the tables that were truncated.
func readTruncate(msg []byte) ([]uint32, error) {
	r := walReader{rest: msg[1:]}
	n := r.uint32()
	r.byte() // cascade, restart identity
	if uint64(n)*4 != uint64(len(r.rest)) {
		return nil, errMalformed
	}
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = r.uint32()
	}
	return ids, r.end()
}
