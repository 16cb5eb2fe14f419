package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/goleak"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/apitest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func provision(t testing.TB, s *Source) *Source {
	t.Helper()
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func mustPrepare(t testing.TB, s *Source, text stream.Text, params ...stream.Param) stream.Statement {
	t.Helper()
	st, err := s.Prepare(context.Background(), text, params)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// textOf is a query in a dialect.
func textOf(d Dialect) stream.Text {
	if d == NeuroQuantum {
		return stream.Text{SQL: "select 1"}
	}
	return stream.Text{}
}

// run asks and gives the columns, the rows as arrays, and the error.
func run(ctx context.Context, st stream.Statement, args ...stream.Value) (columns string, all []string, err error) {
	r, err := st.Query(ctx, stream.Run{Args: args})
	if err != nil {
		return "", nil, err
	}
	var names []string
	for _, c := range r.Columns() {
		names = append(names, c.Name)
	}
	for r.Next() {
		var buf []byte
		for i := range r.Columns() {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = r.AppendValue(buf, i)
		}
		all = append(all, string(buf))
	}
	_, kind := r.Total()
	if err = errors.Join(r.Err(), r.Close(), r.Close()); err == nil && kind != stream.KindUnknown {
		err = fmt.Errorf("the total is %s", kind)
	}
	return strings.Join(names, ","), all, err
}

func text(s string) stream.Value { return stream.Value{Type: stream.TypeText, Text: s} }

// envelope5 is an envelope around a part.
func data(part string) string {
	return `{"success":true,"data":{"success":true,` + part + `},"error":null}`
}

func TestDialects(t *testing.T) {
	api := apitest.New(t, "")
	for _, test := range []struct {
		dialect       Dialect
		body          string
		columns, rows string
	}{
		{NDJSON, "", "", ""},
		{NDJSON, " \n", "", ""},
		{NDJSON, `{"b":1,"a":"x"}` + "\n" + `{"a":"y","b":2}` + "\n", "b,a", `1,"x" 2,"y"`},
		{NDJSON, `{"a":1.10,"b":12345678901234567890123}` + "\r\n\r\n" + `{"c":1,"a":-0.0e+5}`, "a,b", `1.10,12345678901234567890123 -0.0e+5,null`},
		{NDJSON, `{"a":{"x":[1,"}"]},"b":[]}` + `{"b":"\"\\","a":null}`, "a,b", `{"x":[1,"}"]},[] null,"\"\\"`},
		{NDJSON, "[1,\"a\"]\n[2,null]", "c1,c2", `1,"a" 2,null`},
		{NDJSON, "{\"a\" :\n{ \"b\" :\n1 } , \"\\u0062\":2}\n{\"b\":3,\"\\u0061\":4}", "a,b", `{"b":1},2 4,3`},
		{NDJSON, "{}\n{}", "", " "},
		{JSONArray, "[]", "", ""},
		{JSONArray, ` [ {"a":1} , {"a":2,"b":3} ] ` + "\n", "a", "1 2"},
		{JSONArray, `[[true],[false]]`, "c1", "true false"},
		{NeuroQuantum, apitest.Envelope(nil, nil), "", ""},
		{NeuroQuantum, apitest.Envelope([]string{"id", "name", "zero", "a"}, [][]string{{"1", `"x"`, "0", "null"}, {"2", `"y"`, "0", "[1]"}}),
			"id,name,zero,a", `1,"x",0,null 2,"y",0,[1]`},
		{NeuroQuantum, data(`"columns":["b","a"],"rows":[{"a":1,"b":2},{"a":3}]`), "b,a", "2,1 null,3"},
		{NeuroQuantum, data(`"rows":[{"b":1,"a":2},{"a":3,"b":4}]`), "a,b", "2,1 3,4"},
		{NeuroQuantum, data(`"rows":[[1,2]],"columns":["x","y"]`), "x,y", "1,2"},
		{NeuroQuantum, data(`"rows":[]`), "", ""},
		{NeuroQuantum, data(`"rows":[],"columns":["a"]`), "a", ""},
		{NeuroQuantum, `{"data":{"rows":[{"a":1}]},"success":true}`, "a", "1"},
		{NeuroQuantum, `{"success":true,"data":null,"error":null}`, "", ""},
	} {
		s := provision(t, &Source{URL: api.URL, Dialect: test.dialect})
		st := mustPrepare(t, s, textOf(test.dialect))
		for _, framing := range []apitest.Framing{apitest.Length, apitest.Chunked} {
			for _, gzip := range []bool{false, true} {
				api.Answer(apitest.Answer{Body: test.body, Gzip: gzip, Framing: framing})
				columns, rows, err := run(t.Context(), st)
				if got := strings.Join(rows, " "); err != nil || columns != test.columns || got != test.rows {
					t.Errorf("%s %s: got %s: %s, %v", test.dialect, test.body, columns, got, err)
				}
			}
		}
	}
}

func TestBadAnswers(t *testing.T) {
	api := apitest.New(t, "")
	for _, test := range []struct {
		dialect Dialect
		answer  apitest.Answer
		words   string
	}{
		{NDJSON, apitest.Answer{Body: `{"a":1}` + "\n7"}, "row"},
		{NDJSON, apitest.Answer{Body: `7`}, "row"},
		{NDJSON, apitest.Answer{Body: "{\"a\":1}\n[1]"}, "row"},
		{NDJSON, apitest.Answer{Body: "[1]\n[1,2]"}, "more than 1"},
		{NDJSON, apitest.Answer{Body: "[1,2]\n[1]"}, "1 values"},
		{NDJSON, apitest.Answer{Body: "{\"a\":1}\n{\"a\":1,\"a\":2}"}, "duplicate"},
		{NDJSON, apitest.Answer{Body: "{\"a\":1}\nnonsense"}, "invalid"},
		{NDJSON, apitest.Answer{Body: "{\"a\":\"\xff\"}"}, "UTF-8"},
		{NDJSON, apitest.Answer{Body: "{\"a\":1}\n", Framing: apitest.Close}, "where it ends"},
		{NDJSON, apitest.Answer{Body: "x", Header: http.Header{"Content-Encoding": {"br"}}}, "br"},
		{NDJSON, apitest.Answer{Body: "x", Header: http.Header{"Content-Encoding": {"gzip"}}}, ""},
		{NDJSON, apitest.Answer{Body: string(apitest.Gzipped("{}")) + "x", Header: http.Header{"Content-Encoding": {"gzip"}}}, "follows"},
		{NDJSON, apitest.Answer{Body: "{\"a\":\"" + strings.Repeat("x", 2000) + "\"}"}, "max_row"},
		{NDJSON, apitest.Answer{Body: "{}\n{\"a\":\"" + strings.Repeat("x", 2_000_000) + "\"}", Gzip: true}, "max_row"},
		{NDJSON, apitest.Answer{Body: strings.Repeat(" ", 5000)}, "max_row"},
		{NDJSON, apitest.Answer{Status: 404, Body: "nothing here"}, "404"},
		{NDJSON, apitest.Answer{Status: 206, Body: "{}"}, "206"},
		{NDJSON, apitest.Answer{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}, "302"},
		{JSONArray, apitest.Answer{Body: `{"a":1}`}, "["},
		{JSONArray, apitest.Answer{Body: `[{"a":1}]]`}, ""},
		{JSONArray, apitest.Answer{Body: `[{"a":1}] []`}, "follows"},
		{JSONArray, apitest.Answer{Body: `[{"a":1},]`}, ""},
		{JSONArray, apitest.Answer{Body: ``}, "EOF"},
		{NeuroQuantum, apitest.Answer{Body: `[]`}, "{"},
		{NeuroQuantum, apitest.Answer{Body: `{}`}, "success"},
		{NeuroQuantum, apitest.Answer{Body: `<html>`}, ""},
		{NeuroQuantum, apitest.Answer{Body: data(`"rows":[{"a":1}]`) + "x"}, ""},
		{NeuroQuantum, apitest.Answer{Body: data(`"rows":[{"a":1}],"columns":["a","a"]`)}, "columns"},
		{NeuroQuantum, apitest.Answer{Body: data(`"rows":7`)}, "rows"},
		{NeuroQuantum, apitest.Answer{Body: `{"success":true,"data":{"success":false,"rows":[]}}`}, "200"},
		{NeuroQuantum, apitest.Answer{Body: `{"success":true,"data":{"rows":[{"a":1}],"error":"lock"}}`}, "lock"},
		{NeuroQuantum, apitest.Answer{Body: `{"data":{"success":true,"rows":[{"a":1}],"columns":["a"]},"success":false}`}, "200"},
		{NeuroQuantum, apitest.Answer{Body: `{"data":{"rows":[{"a":1}],"success":false},"success":true}`}, "200"},
		{NeuroQuantum, apitest.Answer{Body: `{"data":{"rows":[{"a":1}]},"success":true,"error":{"Internal":"late"}}`}, "200 Internal late"},
		{NeuroQuantum, apitest.Answer{Body: `{"success":true,"data":{"rows":[` + strings.Repeat(`{"a":1},`, 20_000) + `{"a":2}]},"error":"late"}`}, "late"},
		{NeuroQuantum, apitest.Answer{Body: `{"success":false,"data":{"rows":[{"a":1}]}}`}, "200"},
		{NeuroQuantum, apitest.Answer{Body: `{"data":{"rows":[{"a":1}]}}`}, "success"},
		{NeuroQuantum, apitest.Answer{Body: `{"success":"true","data":{"rows":[{"a":1}]}}`}, "200"},
		{NeuroQuantum, apitest.Answer{Body: apitest.Failure(`{"InvalidQuery":{"details":"near x"}}`)}, "200 InvalidQuery near"},
		{NeuroQuantum, apitest.Answer{Status: 500, Body: apitest.Failure(`{"InvalidQuery":{"details":"near x"}}`)}, "500 InvalidQuery near"},
		{NeuroQuantum, apitest.Answer{Status: 401, Body: apitest.Failure(`{"Unauthorized":"no key"}`)}, "401 Unauthorized key"},
		{NeuroQuantum, apitest.Answer{Status: 403, Body: apitest.Failure(`{"Forbidden":"no"}`), Gzip: true}, "403 Forbidden"},
		{NeuroQuantum, apitest.Answer{Status: 400, Body: apitest.Failure(`{"ValidationError":{"field":"query"}}`)}, "400 ValidationError"},
		{NeuroQuantum, apitest.Answer{Status: 429, Body: apitest.Failure(`{"RateLimitExceeded":{"limit":1}}`)}, "429 RateLimitExceeded"},
		{NeuroQuantum, apitest.Answer{Status: 503, Body: "busy", Framing: apitest.Close}, "503"},
	} {
		s := provision(t, &Source{URL: api.URL, Dialect: test.dialect, MaxRow: 1000})
		api.Answer(test.answer)
		_, rows, err := run(t.Context(), mustPrepare(t, s, textOf(test.dialect)))
		if err == nil {
			t.Errorf("%s %d %.100s: %d rows and no error", test.dialect, test.answer.Status, test.answer.Body, len(rows))
			continue
		}
		for word := range strings.FieldsSeq(test.words) {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s %.100s: the error does not say %q: %v", test.dialect, test.answer.Body, word, err)
			}
		}
		if _, told := protocol.AsError(err); told {
			t.Errorf("the client is told %v", err)
		}
	}
	// A row that is just long enough passes.
	s := provision(t, &Source{URL: api.URL, Dialect: NDJSON, MaxRow: 1000})
	row := `{"a":"` + strings.Repeat("x", 1000-8) + `"}`
	api.Answer(apitest.Answer{Body: row + "\n" + row})
	if _, rows, err := run(t.Context(), mustPrepare(t, s, stream.Text{})); err != nil || len(rows) != 2 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// Wherever an answer is cut, it is an error and never a short success.
func TestCutAtEveryByte(t *testing.T) {
	api := apitest.New(t, "")
	for dialect, body := range map[Dialect]string{
		NDJSON:       "{\"a\":1}\n{\"a\":2}\n",
		JSONArray:    `[{"a":1},{"a":2}]`,
		NeuroQuantum: data(`"rows":[{"a":1},{"a":2}],"columns":["a"]`),
	} {
		st := mustPrepare(t, provision(t, &Source{URL: api.URL, Dialect: dialect}), textOf(dialect))
		for _, gzip := range []bool{false, true} {
			size := len(body)
			if gzip {
				size = len(apitest.Gzipped(body))
			}
			for _, framing := range []apitest.Framing{apitest.Length, apitest.Chunked, apitest.Close} {
				last := size
				if framing != apitest.Chunked {
					last-- // with the last byte it is whole
				}
				for cut := 1; cut <= last; cut++ {
					api.Answer(apitest.Answer{Body: body, Gzip: gzip, Framing: framing, Cut: cut})
					if _, rows, err := run(t.Context(), st); err == nil {
						t.Errorf("%s, gzip %v, framing %d: cut behind %d of %d bytes: %d rows and no error", dialect, gzip, framing, cut, size, len(rows))
					}
				}
			}
		}
	}
}

func TestCancel(t *testing.T) {
	api := apitest.New(t, "")
	s := provision(t, &Source{URL: api.URL, Dialect: NDJSON})
	st := mustPrepare(t, s, stream.Text{})
	// In the middle of the rows.
	api.Answer(apitest.Answer{Body: "{\"a\":1}\n{\"a\":2}\n", Stall: 10})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := st.Query(ctx, stream.Run{Args: nil})
	if err != nil || !r.Next() {
		t.Fatal(err)
	}
	cancel()
	<-api.Gone
	if r.Next() || !errors.Is(r.Err(), context.Canceled) {
		t.Errorf("got %v", r.Err())
	}
	r.Close()
	// Closed by who reads.
	if r, err = st.Query(t.Context(), stream.Run{}); err != nil {
		t.Fatal(err)
	}
	r.Close()
	<-api.Gone
	// Before the answer.
	seen := make(chan struct{})
	api.Answer(apitest.Answer{Delay: make(chan struct{}), Seen: seen})
	ctx, cancel = context.WithCancel(t.Context())
	go func() { <-seen; cancel() }()
	if _, err := st.Query(ctx, stream.Run{Args: nil}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-api.Gone
	// By the timeout, before and within the first row.
	s = provision(t, &Source{URL: api.URL, Dialect: NDJSON, Timeout: 1})
	api.Answer(apitest.Answer{Delay: make(chan struct{})})
	if _, err := mustPrepare(t, s, stream.Text{}).Query(t.Context(), stream.Run{}); err == nil {
		t.Error("no timeout")
	}
	s.Timeout = caddy.Duration(20_000_000)
	api.Answer(apitest.Answer{Body: `{"a":1}`, Stall: 3})
	if _, err := mustPrepare(t, s, stream.Text{}).Query(t.Context(), stream.Run{}); !errors.Is(err, errSlow) {
		t.Errorf("got %v", err)
	}
}

func params(names ...string) (all []stream.Param) {
	for _, name := range names {
		all = append(all, stream.Param{Name: name, Type: stream.TypeText})
	}
	return all
}

func TestRequests(t *testing.T) {
	api := apitest.New(t, "")
	api.Answer(apitest.Answer{Body: "{}"})
	t.Setenv("NQ_TEST_KEY", "secret")
	s := provision(t, &Source{URL: api.URL + "/base", Dialect: NDJSON, Header: http.Header{"x-api-key": {"{env.NQ_TEST_KEY}"}, "X-Two": {"a", "b"}}})
	evil := `?a=b&c=d#"` + "'\n} ä;"
	for _, test := range []struct {
		text   stream.Text
		method string
		uri    string
		body   string
	}{
		{stream.Text{URL: "/t/{param.a}/x?q={param.a}"}, "GET", "/t/%3Fa=b&c=d%23%22%27%0A%7D%20%C3%A4%3B/x?q=%3Fa%3Db%26c%3Dd%23%22%27%0A%7D+%C3%A4%3B", ""},
		{stream.Text{Body: `{"q":"x {param.a}","v":{param.a}}`}, "POST", "/base",
			`{"q":"x ?a=b&c=d#\"'\n} ä;","v":"?a=b&c=d#\"'\n} ä;"}`},
		{stream.Text{URL: api.URL + "?a={param.a}", Body: `1`}, "POST", "/?a=%3Fa%3Db%26c%3Dd%23%22%27%0A%7D+%C3%A4%3B", "1"},
	} {
		st := mustPrepare(t, s, test.text, params("a")...)
		if _, _, err := run(t.Context(), st, text(evil)); err != nil {
			t.Fatal(err)
		}
		got := api.Last()
		if got.Method != test.method || got.URI != test.uri || got.Body != test.body || got.Header.Get("X-Api-Key") != "secret" ||
			len(got.Header["X-Two"]) != 2 {
			t.Errorf("%+v:\n%s %s\n%s\n%v", test.text, got.Method, got.URI, got.Body, got.Header)
		}
	}
	st := mustPrepare(t, s, stream.Text{URL: "/?a={param.a}"}, params("a")...)
	if _, _, err := run(t.Context(), st, text("../a")); err != nil || api.Last().URI != "/?a=..%2Fa" {
		t.Errorf("%s, %v", api.Last().URI, err)
	}
	typed := mustPrepare(t, s, stream.Text{Body: `[{param.i},{param.n},{param.b},"{param.i}"]`},
		stream.Param{Name: "i", Type: stream.TypeInteger}, stream.Param{Name: "n", Type: stream.TypeNumber}, stream.Param{Name: "b", Type: stream.TypeBoolean})
	if _, _, err := run(t.Context(), typed, stream.Value{Type: stream.TypeInteger, Integer: -5}, stream.Value{Type: stream.TypeNumber, Number: 0.5},
		stream.Value{Type: stream.TypeBoolean, Boolean: true}); err != nil || api.Last().Body != `[-5,0.5,true,"-5"]` {
		t.Errorf("%s, %v", api.Last().Body, err)
	}

	api.Answer(apitest.Answer{Body: apitest.Envelope(nil, nil)})
	nq := provision(t, &Source{URL: api.URL, Dialect: NeuroQuantum})
	st = mustPrepare(t, nq, stream.Text{SQL: `select '@x', "@y" -- @z` + "\n" + `from t where a = @a /* @b */ and b=-@a`}, params("a")...)
	if _, _, err := run(t.Context(), st, text(`' or 1=1 --"`)); err != nil {
		t.Fatal(err)
	}
	if got, want := api.Last(), `{"query":"select '@x', \"@y\" -- @z\nfrom t where a =  ''' or 1=1 --\"'  /* @b */ and b=- ''' or 1=1 --\"' "}`; got.Body != want || got.Method != http.MethodPost {
		t.Errorf("got %s", got.Body)
	}
	for _, bad := range []string{`\`, `\' or 1=1 --`, "a\x00b"} {
		_, _, err := run(t.Context(), st, text(bad))
		if told, ok := protocol.AsError(err); !ok || told.Code != protocol.InvalidParams {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestPrepareRefuses(t *testing.T) {
	for _, test := range []struct {
		dialect Dialect
		text    stream.Text
	}{
		{NeuroQuantum, stream.Text{}}, {NeuroQuantum, stream.Text{SQL: "select 1", Body: "1"}}, {NeuroQuantum, stream.Text{SQL: "select @b, @a"}},
		{NeuroQuantum, stream.Text{SQL: "select 1"}}, {NeuroQuantum, stream.Text{SQL: "select '@a'"}}, {NeuroQuantum, stream.Text{SQL: "select 'x@a"}},
		{NeuroQuantum, stream.Text{SQL: `select '\', @a`}}, {NeuroQuantum, stream.Text{SQL: "select @@a"}}, {NeuroQuantum, stream.Text{SQL: "select x@a"}},
		{NeuroQuantum, stream.Text{SQL: "select @ a"}}, {NeuroQuantum, stream.Text{SQL: "/* select @a"}}, {NeuroQuantum, stream.Text{SQL: "select @a \x00"}},
		{NDJSON, stream.Text{SQL: "select @a"}}, {NDJSON, stream.Text{URL: "/x"}}, {NDJSON, stream.Text{URL: "/{param.b}/{param.a}"}},
		{NDJSON, stream.Text{URL: "http://{param.a}/"}}, {NDJSON, stream.Text{URL: "{param.a}"}}, {NDJSON, stream.Text{URL: "ftp://x/{param.a}"}},
		{NDJSON, stream.Text{URL: "//{param.a}/x"}}, {NDJSON, stream.Text{URL: "/{param.a}#x"}}, {NDJSON, stream.Text{URL: "/{env.HOME}/{param.a}"}},
		{NDJSON, stream.Text{URL: "/../{param.a}"}}, {NDJSON, stream.Text{URL: "http://u:p@x/{param.a}"}}, {NDJSON, stream.Text{URL: "/a b/{param.a}"}},
		{NDJSON, stream.Text{Body: "{param.a"}}, {NDJSON, stream.Text{Body: `{"a":}{param.a}`}}, {NDJSON, stream.Text{Body: `{"a":"{param.a}`}},
	} {
		s := provision(t, &Source{URL: "http://localhost:1", Dialect: test.dialect})
		if _, err := s.Prepare(t.Context(), test.text, params("a")); err == nil {
			t.Errorf("%s %+v passes", test.dialect, test.text)
		}
	}
	if _, err := new(Source).Prepare(t.Context(), stream.Text{}, nil); err == nil {
		t.Error("prepared on nothing")
	}
	for _, s := range []*Source{
		{}, {URL: "x"}, {URL: "{env.NQ_TEST_NONE}"}, {URL: "http://a", Dialect: "x"}, {URL: "http://a", MaxRow: -1}, {URL: "http://a", MaxRow: 1 << 30},
		{URL: "http://a", Timeout: -1}, {URL: "http://a", MaxConnections: -1}, {URL: "http://a", Method: "a b"}, {URL: "http://a", Method: "GET"},
		{URL: "http://a", Header: http.Header{"Host": {"b"}}}, {URL: "http://a", Header: http.Header{"A": {"b\nc"}}}, {URL: "http://a", Header: http.Header{"A": {"{env.NQ_TEST_NONE}"}}},
	} {
		if err := s.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v passes", s)
		}
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	}
}

func TestUnmarshalCaddyfile(t *testing.T) {
	var s Source
	err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser("http {\n url http://a/b\n dialect ndjson\n header X-A 1\n header X-A 2\n max_row 2KiB\n timeout 5s\n method PUT\n max_connections 3\n}"))
	if err != nil || s.URL != "http://a/b" || s.Dialect != NDJSON || len(s.Header["X-A"]) != 2 || s.MaxRow != 2048 || s.Timeout != 5_000_000_000 ||
		s.Method != http.MethodPut || s.MaxConnections != 3 {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, input := range []string{
		"http", "http a", "http {\n}", "http {\n url\n}", "http {\n url a b\n}", "http {\n url http://a\n url http://b\n}", "http {\n url http://a\n dialect x\n}",
		"http {\n url http://a\n header X\n}", "http {\n url http://a\n header Host x\n}", "http {\n url http://a\n max_row 0\n}", "http {\n url http://a\n max_row 1GiB\n}",
		"http {\n url http://a\n timeout 0\n}", "http {\n url http://a\n method \"a b\"\n}", "http {\n url http://a\n max_connections 0\n}", "http {\n url http://a\n x 1\n}",
	} {
		var s Source
		if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)); err == nil || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: %v", input, err)
		}
	}
}

// Rows cost no memory of their own.
func TestRowsDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 1<<10)
	allocs := func(count int) float64 {
		body := strings.Repeat(`{"id":1,"name":"x","v":[1,2],"ok":true,"at":null}`+"\n", count)
		return testing.AllocsPerRun(5, func() {
			r := &rows{ctx: context.Background(), decoder: newDecoder(NDJSON, newAnswer(strings.NewReader(body), 1<<20, http.StatusOK))}
			if err := r.findColumns(false); err != nil {
				t.Fatal(err)
			}
			n := 0
			for ; r.Next(); n++ {
				for i := range r.names {
					buf = r.AppendValue(buf[:0], i)
				}
			}
			if n != count || r.Err() != nil {
				t.Fatal(n, r.Err())
			}
		})
	}
	if few, many := allocs(100), allocs(10_000); many-few > 50 {
		t.Errorf("%v allocations for 100 rows, %v for 10,000", few, many)
	}
}

// More rows than are held back until the columns are known.
func TestColumnsBehindManyRows(t *testing.T) {
	api := apitest.New(t, "")
	st := mustPrepare(t, provision(t, &Source{URL: api.URL}), textOf(NeuroQuantum))
	var many [][]string
	for i := range 5000 {
		many = append(many, []string{fmt.Sprint(i), `"a name of some length"`})
	}
	answer := apitest.Envelope([]string{"z", "a"}, many)
	api.Answer(apitest.Answer{Body: answer, Framing: apitest.Chunked})
	columns, rows, err := run(t.Context(), st)
	if columns != "a,z" || len(rows) != len(many) || err != nil || rows[4999] != `"a name of some length",4999` {
		t.Errorf("got %s, %d rows, %v", columns, len(rows), err)
	}
	api.Answer(apitest.Answer{Body: strings.Replace(answer, `"columns":["z"`, `"columns":["other","z"`, 1)})
	if _, rows, err := run(t.Context(), st); err == nil || !strings.Contains(err.Error(), "other") || len(rows) != len(many) {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}
