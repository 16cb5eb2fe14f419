package neuroquantumws_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/apitest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// answerOf is what a request was answered, without what names the request.
func answerOf(m M) string {
	return fmt.Sprint(m.Type(), m.Text("code"), m.Text("message"), m["stream_id"])
}

func TestRawSQL(t *testing.T) {
	server := postgres(t)
	superuser(t, server, "create role analyst login; grant select on orders to analyst; alter table orders disable row level security")
	t.Setenv("NQ_TEST_DSN", strings.Replace(server.DSN(), "user=postgres", "user=analyst", 1))
	address := freeAddress(t)
	path := database(t, "create table readings (id integer, sensor text)", "insert into readings values (1, 'a'), (2, 'b'), (3, 'a')")
	s := serve(t, fmt.Sprintf(`user {http.request.header.X-User}
		max_streams 2
		source demo sqlite %s
		source main postgres {
			dsn {env.NQ_TEST_DSN}
			max_connections 1
		}
		source api http {
			url http://%s/api/v1/query
		}
		source closed sqlite %[1]s
		query named {
			source demo
			sql "select 7 as seven"
			allow user:bob
		}
		allow_raw_sql main user:ann
		allow_raw_sql demo user:ann user:cid
		allow_raw_sql api authenticated`, path, address))
	api := apitest.New(t, address)
	dial := func(user string) *wstest.Client {
		return wstest.Dial(t, s.url(), wstest.Options{Header: http.Header{"X-User": {user}}})
	}
	ann, bob, cid, nobody := dial("ann"), dial("bob"), dial("cid"), dial("")

	// The first source that is open to the client, or the one that it names.
	const byDatabase = "select id from orders where id <= @n order by id"
	o := follow(ann, start(ann, M{"query": byDatabase, "params": M{"n": 3}}), nil)
	if o.completed(t, []string{"[1]", "[2]", "[3]"}); o.started.Text("query") != byDatabase || o.started.Text("total_kind") != "unknown" {
		t.Errorf("got %v", o.started)
	}
	of := M{"query": "select id, sensor from readings where sensor = @s and id < @n", "params": M{"s": "a", "n": 3}, "source": "demo"}
	follow(ann, start(ann, of), nil).completed(t, []string{`[1,"a"]`})
	delete(of, "source")
	follow(cid, start(cid, of), nil).completed(t, []string{`[1,"a"]`})
	api.Answer(apitest.Answer{Body: apitest.Envelope([]string{"id"}, [][]string{{"1"}})})
	follow(bob, start(bob, M{"query": "select id from orders where name = @s", "params": M{"s": "' or '"}}), nil).completed(t, []string{"[1]"})
	if got := api.Last().Body; got != `{"query":"select id from orders where name =  ''' or ''' "}` {
		t.Errorf("the API was asked %s", got)
	}
	// A configured name wins, whatever else is open.
	follow(bob, start(bob, M{"query": "named", "source": "api"}), nil).completed(t, []string{"[7]"})
	ann.Refused("FORBIDDEN", M{"type": "stream_query", "query": "named"})

	// To whom it is not open, it is as if it were not there.
	unknown := answerOf(nobody.Refused("QUERY_NOT_FOUND", M{"type": "stream_query", "query": "select 1"}))
	for _, request := range []M{{"source": "demo"}, {"source": "closed"}, {"source": "nowhere"}, {"source": ""}, {"source": nil}, {"params": M{"a": nil}}} {
		request["type"], request["query"] = "stream_query", "select 1"
		if got := answerOf(nobody.Refused("QUERY_NOT_FOUND", request)); got != unknown {
			t.Errorf("%v: %s and else %s", request, got, unknown)
		}
	}
	for _, source := range []string{"closed", "nowhere", "main"} {
		cid.Refused("QUERY_NOT_FOUND", M{"type": "stream_query", "query": "select 1", "source": source})
	}
	ann.Refused("INVALID_MESSAGE", M{"type": "stream_query", "query": "select 1", "source": 5})

	// What is wrong with a statement or its values.
	for _, c := range []struct {
		source, sql string
		params      any
		code        string
	}{
		{"demo", "select 1; select 2", nil, "QUERY_FAILED"},
		{"demo", "delete from readings", nil, "QUERY_FAILED"},
		{"demo", "attach 'x' as y", nil, "QUERY_FAILED"},
		{"demo", "selec 1", nil, "QUERY_FAILED"},
		{"demo", "select nothing from readings", nil, "QUERY_FAILED"},
		{"demo", "select @a", M{}, "INVALID_PARAMS"},
		{"demo", "select 1", M{"a": 1}, "INVALID_PARAMS"},
		{"demo", "select @a", M{"a": nil}, "INVALID_PARAMS"},
		{"demo", "select @a", M{"a": M{"b": 1}}, "INVALID_PARAMS"},
		{"demo", "select @a", M{"a": []int{1}}, "INVALID_PARAMS"},
		{"demo", "select @a", M{"a": "\x00"}, "INVALID_PARAMS"},
		{"demo", "select @a", M{"a b": 1}, "INVALID_PARAMS"},
		{"demo", "select ?", M{"a": 1}, "INVALID_PARAMS"},
		{"demo", "", nil, "QUERY_FAILED"},
		{"main", "select 1; select 2", nil, "QUERY_FAILED"},
		{"main", "drop table orders", nil, "QUERY_FAILED"},
		{"main", "select secret_thing from orders", nil, "QUERY_FAILED"},
		{"main", "select * from pg_authid", nil, "QUERY_FAILED"},
		{"main", "select $1", M{"a": 1}, "INVALID_PARAMS"},
		{"main", "select 1 where true = @a", M{"a": "x"}, "INVALID_PARAMS"},
		{"main", "select 1 where true = @a", M{"a": 1}, "INVALID_PARAMS"},
		{"api", "delete from orders", nil, "QUERY_FAILED"},
		{"api", "select 1 into x", nil, "QUERY_FAILED"},
		{"api", "select @a", M{"a": `\`}, "INVALID_PARAMS"},
	} {
		ann.Send(M{"type": "stream_query", "id": "this", "query": c.sql, "params": c.params, "source": c.source})
		m := ann.Next()
		answered := m["id"] == "this"
		if m.Type() == "query_started" {
			m = ann.Until("error")
		}
		if m.Text("code") != c.code || !answered {
			t.Errorf("%s: %s: got %v", c.source, c.sql, m)
		}
		message := m.Text("message")
		for _, secret := range []string{path, address, "secret_thing", "nothing", "selec 1", "orders", "readings", "pg_", "SQLSTATE"} {
			if strings.Contains(message, secret) {
				t.Errorf("%s: %s: the client is told %q", c.source, c.sql, message)
			}
		}
	}
	ann.Ping()
	// It is held to the limits of all queries, and stopped like them.
	for range 2 {
		start(ann, M{"query": endless, "source": "demo"})
	}
	ann.Refused("LIMIT_EXCEEDED", M{"type": "stream_query", "query": "select 1"})
	ann.Close()
	ann = dial("ann")
	started := start(ann, M{"query": "select pg_sleep(600)::text"})
	activity(t, server, "active", 1)
	ann.AskFor("query_cancelled", M{"type": "cancel_query", "stream_id": started["stream_id"]})
	activity(t, server, "active", 0)
	if got := superuser(t, server, "select count(*) from orders"); got[0][0] != "1000" {
		t.Errorf("%v orders are left", got)
	}
}

// What a source cannot be opened to is refused at its line, or where there is none when it is loaded.
func TestRawSQLThatCannotBeOpened(t *testing.T) {
	path := database(t, "create table readings (id integer)")
	for _, options := range []string{
		`{"allow_raw_sql": [{"source": "a", "allow": ["anyone"]}]}`,
		`{"source": {"a": {"source": "sqlite", "path": "PATH"}}, "allow_raw_sql": [{"source": "a"}]}`,
		`{"source": {"a": {"source": "sqlite", "path": "PATH"}}, "allow_raw_sql": [{"source": "a", "allow": ["nonsense"]}]}`,
		`{"source": {"a": {"source": "sqlite", "path": "PATH"}}, "allow_raw_sql": [{"source": "a", "allow": ["anyone"]}, {"source": "a", "allow": ["anyone"]}]}`,
		`{"source": {"a": {"source": "postgres", "dsn": "host=/nowhere", "role": "x"}}, "allow_raw_sql": [{"source": "a", "allow": ["anyone"]}]}`,
		`{"source": {"a": {"source": "postgres", "dsn": "host=/nowhere", "set": [{"name": "x.y", "value": "1"}]}}, "allow_raw_sql": [{"source": "a", "allow": ["anyone"]}]}`,
		`{"source": {"a": {"source": "http", "url": "http://localhost:1", "dialect": "ndjson"}}, "allow_raw_sql": [{"source": "a", "allow": ["anyone"]}]}`,
	} {
		err := caddy.Load(withHandler(t, freeAddress(t), strings.ReplaceAll(options, "PATH", path)), true)
		if err == nil {
			_ = caddy.Stop()
			t.Errorf("%s is accepted", options)
		} else if !strings.Contains(err.Error(), "allow_raw_sql a") {
			t.Errorf("%s: %v", options, err)
		}
	}
}
