package httpapi

import (
	"errors"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/apitest"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/dml"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func TestRaw(t *testing.T) {
	api := apitest.New(t, "")
	s := provision(t, &Source{URL: api.URL + "/api/v1/query"})
	if err := errors.Join(s.CheckRaw(), s.AllowRaw(t.Context())); err != nil {
		t.Fatal(err)
	}
	name := []stream.Param{{Name: "name", Type: stream.TypeText}}
	st, err := s.PrepareRaw(t.Context(), "select id, '@name' from orders where name=@name;", name)
	if err != nil {
		t.Fatal(err)
	}
	api.Answer(apitest.Answer{Body: apitest.Envelope([]string{"id"}, [][]string{{"1"}})})
	if _, got, err := run(t.Context(), st, text("'; delete from orders; --")); err != nil || len(got) != 1 || got[0] != "1" {
		t.Errorf("got %v, %v", got, err)
	}
	if got := api.Last(); got.Body != `{"query":"select id, '@name' from orders where name= '''; delete from orders; --' ;"}` {
		t.Errorf("the API was asked %s", got.Body)
	}
	api.Answer(apitest.Answer{Body: "nothing is to be asked"})
	asked := api.Last()
	for sql, want := range map[string]protocol.Code{
		"":                         protocol.QueryFailed,
		"delete from orders":       protocol.QueryFailed,
		"select 1; select 2":       protocol.QueryFailed,
		"select 1 into t":          protocol.QueryFailed,
		"select `a`":               protocol.QueryFailed,
		"select 'a":                protocol.QueryFailed,
		"select @other, @name":     protocol.InvalidParams,
		"select '@name'":           protocol.InvalidParams,
		"select @@name":            protocol.InvalidParams,
		"select a@name":            protocol.InvalidParams,
		"select @name -- @name\r;": protocol.QueryFailed,
	} {
		var bad *stream.TextError
		if _, err := s.PrepareRaw(t.Context(), sql, name); !errors.As(err, &bad) || bad.Code != want {
			t.Errorf("%s: got %v", sql, err)
		}
	}
	if api.Last().Body != asked.Body {
		t.Errorf("the API was asked %s", api.Last().Body)
	}
	// What the API says of a statement may quote it.
	api.Answer(apitest.Answer{Status: 500, Body: apitest.Failure(`{"InvalidQuery":{"details":"near secret"}}`)})
	_, _, err = run(t.Context(), st, text("secret"))
	var failed *apiError
	if !errors.As(err, &failed) || failed.Gist() != "the API answers 500 InvalidQuery" {
		t.Errorf("got %v", err)
	}
	for _, dialect := range []Dialect{NDJSON, JSONArray} {
		if err := (&Source{Dialect: dialect}).CheckRaw(); err == nil {
			t.Errorf("%s takes SQL", dialect)
		}
	}
}

// Whatever a client sends and whatever its values are, what goes to the API is one SELECT.
func FuzzRaw(f *testing.F) {
	for _, sql := range []string{
		"select @v", "select 'a', @v from t -- @v", "select -@v", "select /* @v */ \"@v\", @v;", "select '@v''' || @v", "select @v@v",
	} {
		f.Add(sql, "'; delete from t; --")
		f.Add(sql, `*/ \`)
	}
	s := provision(f, &Source{URL: "http://localhost/api/v1/query"})
	params := []stream.Param{{Name: "v", Type: stream.TypeText}}
	f.Fuzz(func(t *testing.T, sql, value string) {
		prepared, err := s.PrepareRaw(t.Context(), sql, params)
		if err != nil {
			return
		}
		st := prepared.(*statement)
		text, err := st.sql.render(params, []stream.Value{text(value)})
		if err != nil {
			return
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f || r == '`' }) {
			return // harmless within a string, but not taken from a client's own text
		}
		if err := dml.Select(text); err != nil {
			t.Errorf("%q with %q becomes %q: %v", sql, value, text, err)
		}
	})
}
