package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// tableName names a table. Without schema it stands for whatever the search path finds.
type tableName struct{ schema, name string }

func (t tableName) String() string {
	if t.schema == "" {
		return t.name
	}
	return t.schema + "." + t.name
}

// parseTable reads a table's name as SQL has it: name, schema.name, "Name", and so on.
func parseTable(text string) (tableName, error) {
	var parts []string
	for rest := text; ; {
		part, behind, err := identifier(rest)
		if err != nil {
			return tableName{}, fmt.Errorf("%q is no name of a table: %w", text, err)
		}
		parts = append(parts, part)
		if behind == "" {
			break
		}
		if behind[0] != '.' {
			return tableName{}, fmt.Errorf("%q is no name of a table", text)
		}
		rest = behind[1:]
	}
	switch len(parts) {
	case 1:
		return tableName{"", parts[0]}, nil
	case 2:
		return tableName{parts[0], parts[1]}, nil
	}
	return tableName{}, fmt.Errorf("%q: a table's name has at most a schema before it", text)
}

// identifier reads one identifier and gives what stands behind it.
func identifier(text string) (name, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, `."`)
		if end < 0 {
			end = len(text)
		}
		name = text[:end]
		valid := name != "" && (name[0] < '0' || name[0] > '9') && name[0] != '$'
		for _, c := range name {
			valid = valid && (c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80)
		}
		if !valid {
			return "", "", errors.New(`other characters than letters, digits, _ and $ need quotes, as in "my table"`)
		}
		return lowerASCII(name), text[end:], nil
	}
	var b strings.Builder
	for rest = text[1:]; ; {
		part, behind, closed := strings.Cut(rest, `"`)
		b.WriteString(part)
		if !closed {
			return "", "", errors.New("a quote is not closed")
		}
		if !strings.HasPrefix(behind, `"`) {
			if b.Len() == 0 {
				return "", "", errors.New("a name is empty")
			}
			return b.String(), behind, nil
		}
		b.WriteByte('"')
		rest = behind[1:]
	}
}

// lowerASCII folds as the database does, whose UTF-8 letters beyond ASCII stay.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// tableFacts are what the catalog says of a table.
type tableFacts struct {
	name        tableName // with its schema
	kind        byte      // relkind
	persistence byte
	identity    byte     // relreplident
	security    bool     // row-level security is enabled
	told        bool     // the publication tells of it, or of all of it through its partitions
	root        string   // the table under whose name the publication tells of it, where that is another; else empty
	columns     []string // that are told of
	key         []string
}

// Without a schema the search path counts, as for the queries. A partition is told of under its root's name where the publication says
// so, and a partitioned table else under those of its partitions.
const tableQuery = `
with recursive t as (
	select c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relreplident, c.relrowsecurity, c.relispartition
	from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
	where c.relname = $2 and case when $1 = '' then n.nspname = any(pg_catalog.current_schemas(true)) else n.nspname = $1 end
		and c.relkind in ('r', 'p', 'v', 'm', 'f')
	order by array_position(pg_catalog.current_schemas(true), n.nspname) limit 1),
up(oid) as (
	select oid from t where relispartition
	union select i.inhparent from up join pg_catalog.pg_inherits i on i.inhrelid = up.oid),
down(oid) as (
	select oid from t where relkind = 'p'
	union select i.inhrelid from down join pg_catalog.pg_inherits i on i.inhparent = down.oid),
published(oid, name) as (
	select c.oid, n.nspname || '.' || c.relname from pg_catalog.pg_publication_tables p
	join pg_catalog.pg_namespace n on n.nspname = p.schemaname
	join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.tablename where p.pubname = $3)
select t.nspname, t.relname, t.relkind, t.relpersistence, t.relreplident, t.relrowsecurity,
	exists (select from published where oid in (select oid from t union select oid from up union select oid from down)),
	coalesce((select name from published where oid in (select oid from up) and oid not in (select oid from t)
		and not exists (select from published p where p.oid in (select oid from t)) limit 1), ''),
	(select coalesce(array_agg(a.attname::text), '{}') from pg_catalog.pg_attribute a
		where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''),
	` + keyOf + `
from t`

// keyOf gives the columns of the key of the table t: those of the index that is its replica identity, else of its primary key.
const keyOf = `(select coalesce(array_agg(a.attname::text order by array_position(i.indkey::int2[], a.attnum)), '{}')
	from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
	where i.indrelid = t.oid and case when t.relreplident = 'i' then i.indisreplident else i.indisprimary end)`

// lookTable asks the catalog for a table. Its error says what to do.
func lookTable(ctx context.Context, c *conn, publication string, name tableName) (tableFacts, error) {
	args := [][]byte{[]byte(name.schema), []byte(name.name), []byte(publication)}
	result := c.ExecParams(ctx, tableQuery, args, nil, nil, nil).Read()
	if result.Err != nil {
		return tableFacts{}, fmt.Errorf("looking for the table %s: %w", name, result.Err)
	}
	if len(result.Rows) == 0 {
		return tableFacts{}, fmt.Errorf("there is no table %s", name)
	}
	r := result.Rows[0]
	f := tableFacts{
		name: tableName{string(r[0]), string(r[1])}, kind: r[2][0], persistence: r[3][0], identity: r[4][0], security: r[5][0] == 't',
		told: r[6][0] == 't', root: string(r[7]), columns: textArray(r[8]), key: textArray(r[9]),
	}
	switch {
	case f.kind == 'v' || f.kind == 'm':
		return f, fmt.Errorf("%s is a view, of which PostgreSQL does not tell changes: name the tables that it reads", f.name)
	case f.kind == 'f':
		return f, fmt.Errorf("%s is a foreign table, of which PostgreSQL does not tell changes", f.name)
	case f.persistence != 'p':
		return f, fmt.Errorf("%s is a temporary or unlogged table, of which PostgreSQL does not tell changes", f.name)
	case !f.told:
		return f, fmt.Errorf("the publication %s does not hold the table %s: ALTER PUBLICATION %s ADD TABLE %s",
			publication, f.name, quoteIdentifier(publication), quoteIdentifier(f.name.schema)+"."+quoteIdentifier(f.name.name))
	}
	return f, nil
}

// textArray reads the database's text of an array of texts.
func textArray(raw []byte) []string {
	var out []string
	text := string(raw)
	for i := 1; i < len(text)-1; i++ {
		var b strings.Builder
		if text[i] == '"' {
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
				b.WriteByte(text[i])
			}
			i++
		} else {
			for ; i < len(text)-1 && text[i] != ','; i++ {
				b.WriteByte(text[i])
			}
		}
		out = append(out, b.String())
	}
	return out
}

func quoteIdentifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
