package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgtype"
)

// encoding is how the text of a value becomes JSON.
type encoding uint8

const (
	encText encoding = iota
	encNumber
	encFloat4
	encFloat8
	encInt64   // a number, or a string where int64 string is asked for
	encNumeric // the same
	encBool
	encBytea
	encJSON
	encTimestamptz
	encTimestamp
	encDate
	encVerbatim // text that needs no escapes
)

func encodingOf(oid uint32) encoding {
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.OIDOID:
		return encNumber
	case pgtype.Float4OID:
		return encFloat4
	case pgtype.Float8OID:
		return encFloat8
	case pgtype.Int8OID:
		return encInt64
	case pgtype.NumericOID:
		return encNumeric
	case pgtype.BoolOID:
		return encBool
	case pgtype.ByteaOID:
		return encBytea
	case pgtype.JSONOID, pgtype.JSONBOID:
		return encJSON
	case pgtype.TimestamptzOID:
		return encTimestamptz
	case pgtype.TimestampOID:
		return encTimestamp
	case pgtype.DateOID:
		return encDate
	case pgtype.UUIDOID:
		return encVerbatim
	default:
		return encText
	}
}

// typeInfo is what is known of a type of the database.
type typeInfo struct {
	name    string // as SQL has it, lower case
	value   encoding
	array   bool      // of values
	divider byte      // between the elements of an array
	inner   *typeInfo // of the elements, where those are arrays themselves: of a domain over an array
}

// types knows the types that results had so far. There are as many as the database has.
type types struct {
	mu    sync.Mutex
	known map[uint32]typeInfo
}

func newTypes() *types { return &types{known: make(map[uint32]typeInfo)} }

// find gives the types by their OIDs; nil where one is not known yet.
func (t *types) find(oids []uint32) []typeInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := make([]typeInfo, len(oids))
	for i, oid := range oids {
		info, ok := t.known[oid]
		if !ok {
			return nil
		}
		found[i] = info
	}
	return found
}

// An array of a domain holds values of the type that the domain stands on.
const typesQuery = `
with recursive base(oid, type) as (
	select t.oid, case when t.typtype = 'd' then t.typbasetype else t.oid end from pg_catalog.pg_type t
	where t.oid in (select u.typelem from pg_catalog.pg_type u where u.oid = any($1))
	union
	select b.oid, t.typbasetype from base b join pg_catalog.pg_type t on t.oid = b.type where t.typtype = 'd')
select t.oid, pg_catalog.format_type(t.oid, null), t.typlen = -1 and t.typcategory = 'A', coalesce(e.typdelim, ','),
	coalesce(b.type, 0), coalesce(u.typlen = -1 and u.typcategory = 'A', false)
from pg_catalog.pg_type t left join pg_catalog.pg_type e on e.oid = t.typelem
	left join (base b join pg_catalog.pg_type u on u.oid = b.type and u.typtype <> 'd') on b.oid = t.typelem
where t.oid = any($1)`

// look asks the database for the types with these OIDs; the connection is in a transaction.
func (t *types) look(ctx context.Context, c *conn, oids []uint32) error {
	var list strings.Builder
	for _, oid := range oids {
		list.WriteByte(',')
		list.WriteString(strconv.FormatUint(uint64(oid), 10))
	}
	arg := []byte("{" + list.String()[1:] + "}")
	result := c.ExecParams(ctx, typesQuery, [][]byte{arg}, []uint32{pgtype.OIDArrayOID}, nil, nil).Read()
	if result.Err != nil {
		return fmt.Errorf("looking types up: %w", result.Err)
	}
	var inner []uint32 // arrays that are elements of these
	for _, row := range result.Rows {
		if row[5][0] == 't' {
			inner = append(inner, parseOID(row[4]))
		}
	}
	if len(inner) > 0 && t.find(inner) == nil {
		if err := t.look(ctx, c, inner); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, row := range result.Rows {
		oid, element := parseOID(row[0]), parseOID(row[4])
		info := typeInfo{name: strings.ToLower(string(row[1])), value: encodingOf(oid)}
		if row[2][0] == 't' && element != 0 {
			info.array, info.value, info.divider = true, encodingOf(element), row[3][0]
			if row[5][0] == 't' {
				elements := t.known[element]
				info.inner = &elements
			}
		}
		t.known[oid] = info
	}
	for _, oid := range oids {
		if _, ok := t.known[oid]; !ok {
			t.known[oid] = typeInfo{} // a type that is gone already: text
		}
	}
	return nil
}

func parseOID(text []byte) uint32 {
	n, err := strconv.ParseUint(string(text), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
