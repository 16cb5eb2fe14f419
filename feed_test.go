package neuroquantumws_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/pgtest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// itemsServer is a PostgreSQL whose table items is told of.
func itemsServer(t testing.TB, more string) *pgtest.Server {
	t.Helper()
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	superuser(t, server, `
		create role feed login replication;
		create table items (id bigint primary key, owner text, text text, n numeric);
		grant select on items to feed;
		create publication nq for table items;
		insert into items select i, 'ann', 'x', i from generate_series(1, 3) i;`+more)
	return server
}

const itemsSource = `
	source main postgres {
		dsn {env.NQ_TEST_DSN}
		publication nq
	}
`

func TestFeedOfTable(t *testing.T) {
	server := itemsServer(t, "")
	t.Setenv("NQ_TEST_DSN", strings.Replace(server.DSN(), "user=postgres", "user=feed", 1))
	s := serve(t, itemsSource+`
		channel items/** {
			history 1000
			allow subscribe anyone
			allow history anyone
		}
		feed items {
			source main
			table items id owner n
			publish items/all
		}`)
	c := s.dial()
	c.Subscribe("items/**")
	_ = wstest.Patience
	superuser(t, server, "insert into items values (9, 'bob', 'y', 1.50); update items set n = n + 1 where id = 2; delete from items where id = 1; truncate items")
	for range 4 {
		m := c.Until("channel_message")
		fmt.Println(jsonText(t, m))
	}
}
