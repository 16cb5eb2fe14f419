package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// statement is a query whose text has been taken apart. The database checks it at the first run, or before.
type statement struct {
	source *Source
	raw    bool   // a client wrote it
	text   string // with $1, $2 …
	params []stream.Param
	order  []int // for each placeholder, from $1 on: the argument to bind

	mu      sync.Mutex
	checked bool
	oids    []uint32 // types of the placeholders, once checked
}

// parse takes the statement apart: its placeholders must be @names of params, and all of params must be used.
func (s *Source) parse(text string, params []stream.Param) (*statement, error) {
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.Name
	}
	q, err := rewrite(text, names)
	if err != nil {
		return nil, err
	}
	st := &statement{source: s, text: q.text, params: params, order: make([]int, len(q.names))}
	for i, name := range q.names {
		if st.order[i] = slices.Index(names, name); st.order[i] < 0 {
			return nil, stream.BadParam("there is no parameter @%s", name)
		}
	}
	for i, name := range names {
		if !slices.Contains(st.order, i) {
			return nil, stream.BadParam("parameter @%s is not used by the statement", name)
		}
	}
	return st, nil
}

// checkNow lets the database check the statement, on a connection of its own.
func (s *statement) checkNow(ctx context.Context) error {
	t, err := s.source.begin(ctx, stream.Run{})
	if err != nil {
		return err
	}
	_, err = s.types(ctx, t.conn)
	return failure(ctx, errors.Join(err, t.end()))
}

// types gives the types of the placeholders, and asks the database for them the first time. The connection is in a transaction.
func (s *statement) types(ctx context.Context, c *conn) ([]uint32, error) {
	s.mu.Lock()
	checked, oids := s.checked, s.oids
	s.mu.Unlock()
	if checked {
		return oids, nil
	}
	oids, err := s.check(ctx, c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.checked, s.oids = true, oids
	s.mu.Unlock()
	return oids, nil
}

func (s *statement) check(ctx context.Context, c *conn) ([]uint32, error) {
	d, err := s.describe(ctx, c)
	if err != nil {
		return nil, err
	}
	if len(d.Fields) == 0 {
		return nil, stream.BadText("the statement gives no columns")
	}
	for i, oid := range d.ParamOIDs {
		p := s.params[s.order[i]]
		if !fits(p.Type, oid) {
			return nil, stream.BadParam("parameter @%s has the type %s, but the statement uses it as %s; a cast says what is meant, such as @%[1]s::%[4]s",
				p.Name, p.Type, typeName(oid), typeName(standard(p.Type)))
		}
	}
	return d.ParamOIDs, nil
}

// describe asks what the placeholders are. PostgreSQL takes text for what could be anything: there the declared type stands.
func (s *statement) describe(ctx context.Context, c *conn) (*pgconn.StatementDescription, error) {
	if _, err := c.Exec(ctx, "savepoint checked").ReadAll(); err != nil {
		return nil, err
	}
	d, err := c.Prepare(ctx, "", s.text, nil)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P18" { // a placeholder whose type cannot be told
		declared := make([]uint32, len(s.order))
		for i, from := range s.order {
			declared[i] = standard(s.params[from].Type)
		}
		if _, err := c.Exec(ctx, "rollback to savepoint checked").ReadAll(); err != nil {
			return nil, err
		}
		return c.Prepare(ctx, "", s.text, declared)
	}
	if err != nil {
		return nil, err
	}
	oids := slices.Clone(d.ParamOIDs)
	for i, oid := range oids {
		if oid == pgtype.TextOID {
			oids[i] = standard(s.params[s.order[i]].Type)
		}
	}
	if slices.Equal(oids, d.ParamOIDs) {
		return d, nil
	}
	return c.Prepare(ctx, "", s.text, oids)
}

// standard is the type of a parameter where the statement leaves it open.
func standard(t stream.ParamType) uint32 {
	switch t {
	case stream.TypeInteger:
		return pgtype.Int8OID
	case stream.TypeNumber:
		return pgtype.Float8OID
	case stream.TypeBoolean:
		return pgtype.BoolOID
	case stream.TypeTimestamp:
		return pgtype.TimestamptzOID
	case stream.TypeUUID:
		return pgtype.UUIDOID
	default:
		return pgtype.TextOID
	}
}

// fits reports whether every value of a declared type means the same as the database's. A text may become anything, by the
// database's own reading of it.
func fits(t stream.ParamType, oid uint32) bool {
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		return t == stream.TypeInteger || t == stream.TypeText
	case pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID:
		return t == stream.TypeInteger || t == stream.TypeNumber || t == stream.TypeText
	case pgtype.BoolOID:
		return t == stream.TypeBoolean || t == stream.TypeText
	case pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID:
		return t == stream.TypeTimestamp || t == stream.TypeText
	case pgtype.UUIDOID:
		return t == stream.TypeUUID || t == stream.TypeText
	default:
		return t == stream.TypeText
	}
}

var typeMap = sync.OnceValue(pgtype.NewMap)

// typeName names a type for the operator.
func typeName(oid uint32) string {
	if t, ok := typeMap().TypeForOID(oid); ok {
		return t.Name
	}
	return "a type of its own (" + strconv.FormatUint(uint64(oid), 10) + ")"
}

// bind makes the text of each placeholder's value, which the database reads as the placeholder's type.
func (s *statement) bind(args []stream.Value) ([][]byte, error) {
	values := make([][]byte, len(s.order))
	for i, from := range s.order {
		if from >= len(args) {
			return nil, fmt.Errorf("%d arguments are too few", len(args))
		}
		switch v := args[from]; v.Type {
		case stream.TypeInteger:
			values[i] = strconv.AppendInt(nil, v.Integer, 10)
		case stream.TypeNumber:
			values[i] = strconv.AppendFloat(nil, v.Number, 'g', -1, 64)
		case stream.TypeBoolean:
			values[i] = strconv.AppendBool(nil, v.Boolean)
		case stream.TypeTimestamp:
			values[i] = v.Timestamp.UTC().AppendFormat(nil, time.RFC3339Nano)
		case stream.TypeText, stream.TypeUUID:
			values[i] = append([]byte{}, v.Text...)
		default:
			return nil, fmt.Errorf("argument %d has no type", from+1)
		}
	}
	return values, nil
}

// Impersonal tells whether the rows are the same for every user: no setting knows who that is. See stream.Impersonal.
func (s *statement) Impersonal() bool {
	return !slices.ContainsFunc(s.source.settings, func(set setting) bool { return len(set.parts) > 1 })
}
