package neuroquantumws_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/apitest"
)

func TestQueriesOfAnHTTPAPI(t *testing.T) {
	address := freeAddress(t)
	t.Setenv("NQ_TEST_API_KEY", "secret-key")
	s := serve(t, fmt.Sprintf(`
		source nq http {
			url http://%[1]s/api/v1/query
			dialect neuroquantum
			header X-API-Key {env.NQ_TEST_API_KEY}
		}
		source lines http {
			url http://%[1]s/lines
			dialect ndjson
			max_row 1KiB
		}
		query orders {
			source nq
			sql "select id, name from orders where name = @name and id > @after"
			param name text
			param after integer
			allow anyone
		}
		query lines {
			source lines
			url /lines/{param.place}?from={param.from}
			body `+"`"+`{"place":"{param.place}","from":{param.from}}`+"`"+`
			param place text
			param from integer {
				default 0
			}
			total exact
			allow anyone
		}`, address))
	api := apitest.New(t, address)
	c := s.dial()

	var rows [][]string
	var want []string
	for i := range 250 {
		rows = append(rows, []string{fmt.Sprint(i), `"x"`})
		want = append(want, fmt.Sprintf(`[%d,"x"]`, i))
	}
	api.Answer(apitest.Answer{Body: apitest.Envelope([]string{"id", "name"}, rows), Gzip: true})
	started := start(c, M{"query": "orders", "params": M{"name": "' or 1=1 --", "after": -1}})
	if started.Text("total_kind") != "unknown" || started["estimated_rows"] != nil {
		t.Errorf("got %v", started)
	}
	follow(c, started, nil).completed(t, want)
	if got := api.Last(); got.URI != "/api/v1/query" || got.Header.Get("X-API-Key") != "secret-key" ||
		got.Body != `{"query":"select id, name from orders where name =  ''' or 1=1 --'  and id >  -1 "}` {
		t.Errorf("the API was asked %+v", got)
	}
	c.Refused("INVALID_PARAMS", M{"type": "stream_query", "query": "orders", "params": M{"name": `\`, "after": 1}})
	c.Refused("INVALID_PARAMS", M{"type": "stream_query", "query": "orders", "params": M{"name": 5, "after": 1}})

	api.Answer(apitest.Answer{Body: "{\"a\":1.50}\n{\"a\":[null]}\n"})
	o := follow(c, start(c, M{"query": "lines", "params": M{"place": "a b?c"}}), nil)
	if o.completed(t, []string{"[1.5]", "[[null]]"}); api.Last().URI != "/lines/a%20b%3Fc?from=0" || api.Last().Body != `{"place":"a b?c","from":0}` {
		t.Errorf("the API was asked %+v", api.Last())
	}

	for _, place := range []string{"a/b", "..", "%2e%2E", `a\b`} {
		c.Refused("INVALID_PARAMS", M{"type": "stream_query", "query": "lines", "params": M{"place": place}})
	}

	// What goes wrong is told without its cause.
	for name, answer := range map[string]apitest.Answer{
		"refused":  {Status: 500, Body: apitest.Failure(`{"InvalidQuery":{"details":"secret-detail"}}`)},
		"no JSON":  {Body: "secret-detail"},
		"cut":      {Body: "{\"a\":1}\n{\"a\":\"secret-detail\"}\n", Cut: 12},
		"bad row":  {Body: "{\"a\":1}\n\"secret-detail\"\n"},
		"long row": {Body: "{\"a\":1}\n{\"a\":\"" + strings.Repeat("secret-detail", 100) + "\"}\n"},
	} {
		api.Answer(answer)
		c.Send(M{"type": "stream_query", "query": "lines", "params": M{"place": "x"}})
		all := c.Collect(func(m M) bool { return m.Type() == "error" || m.Type() == "query_completed" })
		if last := all[len(all)-1]; last.Text("code") != "QUERY_FAILED" || strings.Contains(fmt.Sprint(all), "secret") || strings.Contains(fmt.Sprint(all), address) {
			t.Errorf("%s: %v", name, all)
		}
	}

	// Cancel reaches the API in the middle of its answer.
	api.Answer(apitest.Answer{Body: strings.Repeat("{\"a\":1}\n", 1000), Stall: 4000})
	started = start(c, M{"query": "lines", "params": M{"place": "x"}})
	c.Until("query_batch")
	c.Send(M{"type": "cancel_query", "stream_id": started["stream_id"]})
	<-api.Gone
	c.Until("query_cancelled")
	// And so does the end of the connection.
	d := s.dial()
	start(d, M{"query": "lines", "params": M{"place": "x"}})
	d.Cut()
	<-api.Gone
}

func TestBadHTTPQueriesAreRefusedWhenLoaded(t *testing.T) {
	for name, options := range map[string]string{
		"url on SQLite":   "source a sqlite " + demoDB(t) + "\nquery q {\nsource a\nurl /x\n}",
		"body on SQLite":  "source a sqlite " + demoDB(t) + "\nquery q {\nsource a\nsql \"select 1\"\nbody 1\n}",
		"sql on ndjson":   "source a http {\nurl http://localhost:1\ndialect ndjson\n}\nquery q {\nsource a\nsql \"select 1\"\n}",
		"no sql":          "source a http {\nurl http://localhost:1\n}\nquery q {\nsource a\nurl /x\n}",
		"unknown param":   "source a http {\nurl http://localhost:1\ndialect ndjson\n}\nquery q {\nsource a\nurl /{param.x}\n}",
		"no address":      "source a http {\nurl localhost:1\n}",
		"no such env":     "source a http {\nurl http://localhost:1\nheader X {env.NQ_TEST_NONE}\n}",
		"param elsewhere": "source a http {\nurl http://localhost:1\ndialect ndjson\n}\nquery q {\nsource a\nurl http://{param.x}/\nparam x text\n}",
	} {
		s := &site{t: t, address: freeAddress(t)}
		if err := s.load(ws(options)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
