package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// oldestFeed is the oldest PostgreSQL that has all that the change feed asks for.
const oldestFeed = 130000

// publicationFacts are what the database says of its change feed.
type publicationFacts struct {
	lacks   []string      // operations that the publication does not tell
	timeout time.Duration // after which the server gives up on one who says nothing; 0: never
}

const publicationQuery = `
select current_setting('server_version_num')::int, current_setting('wal_level'), pg_catalog.pg_is_in_recovery(),
	(select rolreplication or rolsuper from pg_catalog.pg_roles where rolname = session_user), session_user,
	p.pubname is not null, coalesce(p.pubinsert, false), coalesce(p.pubupdate, false), coalesce(p.pubdelete, false),
	coalesce(p.pubtruncate, false), coalesce((select setting from pg_catalog.pg_settings where name = 'wal_sender_timeout'), '0')
from (select 1) one left join pg_catalog.pg_publication p on p.pubname = $1`

// lookPublication checks that the database can tell of changes. Its error says what to do.
func lookPublication(ctx context.Context, c *conn, name string) (publicationFacts, error) {
	var f publicationFacts
	result := c.ExecParams(ctx, publicationQuery, [][]byte{[]byte(name)}, nil, nil, nil).Read()
	if result.Err != nil {
		return f, fmt.Errorf("looking for the publication %s: %w", name, result.Err)
	}
	r := result.Rows[0]
	is := func(i int) bool { return string(r[i]) == "t" }
	switch {
	case len(r[0]) < 6 || len(r[0]) == 6 && string(r[0]) < fmt.Sprint(oldestFeed):
		return f, errors.New("the change feed needs PostgreSQL 13 or newer")
	case string(r[1]) != "logical":
		return f, fmt.Errorf("the server's wal_level is %s: set wal_level = logical in postgresql.conf and restart it", r[1])
	case is(2):
		return f, errors.New("the server is a standby: the change feed needs the primary")
	case !is(3):
		return f, fmt.Errorf("the login has not the attribute REPLICATION: ALTER ROLE %s REPLICATION", quoteIdentifier(string(r[4])))
	case !is(5):
		return f, fmt.Errorf("there is no publication %s: CREATE PUBLICATION %s FOR TABLE …", name, quoteIdentifier(name))
	}
	for i, op := range []string{"insert", "update", "delete", "truncate"} {
		if !is(6 + i) {
			f.lacks = append(f.lacks, op)
		}
	}
	milliseconds, err := time.ParseDuration(string(r[10]) + "ms")
	if err == nil {
		f.timeout = milliseconds
	}
	return f, nil
}

// complete refuses a publication that does not tell of every kind of change, as a result that stands on it would be wrong unseen.
func (f *publicationFacts) complete(name string) error {
	if len(f.lacks) == 0 {
		return nil
	}
	return fmt.Errorf("the publication %s does not tell of %s: ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate')",
		name, strings.Join(f.lacks, ", "), quoteIdentifier(name))
}
