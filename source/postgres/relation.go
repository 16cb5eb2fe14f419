package postgres

import (
	"context"
	"fmt"
	"strconv"
)

// relation is a table that changes, as the change feed tells of it.
type relation struct {
	*walTable
	names *tableNames
	key   []string // the columns of its key
	types []typeInfo

	state    int // of the listeners, when those below were found
	triggers []*listener
	feeds    []*listener
}

// tableNames are the tables in which a change shows.
type tableNames struct {
	up   []tableName // the table itself, and those that it is a part or an heir of
	down []tableName // its partitions, where it is told of in their place
}

// match tells whether a change shows in a table. Within the parts of a table that is told of as a whole it only may.
func (n *tableNames) match(table tableName, maybe bool) bool {
	for _, name := range n.up {
		if name.name == table.name && (table.schema == "" || table.schema == name.schema) {
			return true
		}
	}
	if maybe {
		for _, name := range n.down {
			if name.name == table.name && (table.schema == "" || table.schema == name.schema) {
				return true
			}
		}
	}
	return false
}

// What the catalog says now may be newer than the change. A table that is gone by now is known by its own name.
const relationQuery = `
with recursive t as (select oid, relkind, relreplident from pg_catalog.pg_class where oid = $1),
up(oid) as (
	select oid from t union select i.inhparent from up join pg_catalog.pg_inherits i on i.inhrelid = up.oid),
down(oid) as (
	select oid from t where relkind = 'p' union select i.inhrelid from down join pg_catalog.pg_inherits i on i.inhparent = down.oid)
select n.nspname, c.relname, c.oid in (select oid from up), c.oid = $1, (select ` + keyOf + ` from t)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.oid in (select oid from up union select oid from down)`

// learn takes in how a table is made.
func (s *session) learn(ctx context.Context, t *walTable) error {
	r := &relation{walTable: t, names: &tableNames{up: []tableName{t.name}}, state: -1}
	id := []byte(strconv.FormatUint(uint64(t.id), 10))
	rows, err := s.query(ctx, relationQuery, [][]byte{id})
	if err != nil {
		return fmt.Errorf("looking for the table %s: %w", t.name, err)
	}
	for _, row := range rows {
		name := tableName{string(row[0]), string(row[1])}
		switch {
		case string(row[3]) == "t": // its name when it changed is in t
		case string(row[2]) == "t":
			r.names.up = append(r.names.up, name)
		default:
			r.names.down = append(r.names.down, name)
		}
		r.key = textArray(row[4])
	}
	oids := make([]uint32, len(t.columns))
	for i, c := range t.columns {
		oids[i] = c.oid
	}
	if r.types = s.types.find(oids); r.types == nil {
		if err := s.types.look(ctx, s.ask, oids); err != nil {
			return err
		}
		if r.types = s.types.find(oids); r.types == nil {
			return fmt.Errorf("the types of the table %s are not known", t.name)
		}
	}
	s.tables[t.id] = r
	return nil
}

// find gives a table of which the server has told how it is made.
func (s *session) find(id uint32) (*relation, error) {
	if r := s.tables[id]; r != nil {
		return r, nil
	}
	return nil, errMalformed
}

// match finds those who listen to a table, where that may have changed since the last time.
func (s *session) match(r *relation) {
	if r.state == s.state() {
		return
	}
	r.triggers, r.feeds = nil, nil
	var matched []*listener
	matched, r.state = s.interested(r.names)
	for _, l := range matched {
		if l.take != nil {
			r.feeds = append(r.feeds, l)
		} else {
			r.triggers = append(r.triggers, l)
		}
	}
}
