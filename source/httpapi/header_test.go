package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/apitest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func TestHeaderOfTheUser(t *testing.T) {
	api := apitest.New(t, "")
	api.Answer(apitest.Answer{Body: "[]"})
	t.Setenv("NQ_TEST_SITE", "a")
	s := provision(t, &Source{URL: api.URL, Dialect: JSONArray, Header: http.Header{
		"X-User": {"{user}"}, "x-both": {"{env.NQ_TEST_SITE}:{user};{user}", "plain"}, "User-Agent": {"agent of {user}"},
	}})
	st := mustPrepare(t, s, stream.Text{})
	ask := func(user string) error {
		r, err := st.Query(t.Context(), stream.Run{User: user})
		if err == nil {
			err = r.Close()
		}
		return err
	}
	for _, user := range []string{"ann", "", "ann smith", "änn", "a,b;c=\"d\"", "{user}", "%0d%0a", `\r\n`} {
		if err := ask(user); err != nil {
			t.Errorf("%q: %v", user, err)
			continue
		}
		got := api.Last().Header
		if want := []string{"a:" + user + ";" + user, "plain"}; !slices.Equal(got["X-User"], []string{user}) ||
			!slices.Equal(got["X-Both"], want) || got.Get("User-Agent") != strings.TrimSpace("agent of "+user) {
			t.Errorf("%q: the API got %v", user, got)
		}
	}
	// A name that would be another on the other side, or another line.
	if err := ask("ann"); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{
		"a\r\nX-Admin: 1", "a\nb", "a\rb", "a\x00b", "a\tb", "a\x7fb", "a\u0085b", " ann", "ann ", "\u00a0ann", "a\xffb",
	} {
		err := ask(user)
		if e, ok := protocol.AsError(err); !ok || e.Code != protocol.Forbidden {
			t.Errorf("%q: %v", user, err)
		}
	}
	if got := api.Last().Header.Get("X-User"); got != "ann" {
		t.Errorf("the API was asked for %q", got)
	}
	// Where no header bears it, it does not matter.
	s = provision(t, &Source{URL: api.URL, Dialect: JSONArray, Header: http.Header{"X-A": {"b"}}})
	st = mustPrepare(t, s, stream.Text{})
	if err := ask("a\nb"); err != nil {
		t.Error(err)
	}
	for _, value := range []string{"{user}\n", "{nonsense}{user}", "{user", "{env.NQ_TEST_NONE}"} {
		if err := (&Source{URL: api.URL, Header: http.Header{"X-A": {value}}}).Provision(caddy.Context{}); (err == nil) != (value == "{user") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// A name either stands in the request as it is, or there is no request.
func FuzzHeader(f *testing.F) {
	for _, user := range []string{"ann", "a\r\nb: c", " a", "ä\u2028", "\xff"} {
		f.Add(user)
	}
	f.Fuzz(func(t *testing.T, user string) {
		to := make(http.Header)
		if setHeader(to, []header{{"X-User", []string{"<", ">"}}, {"X-Alone", []string{"", ""}}}, user) != nil {
			return
		}
		var text strings.Builder
		if err := to.Write(&text); err != nil {
			t.Fatal(err)
		}
		if want := "X-Alone: " + user + "\r\nX-User: <" + user + ">\r\n"; text.String() != want {
			t.Errorf("got %q, want %q", text.String(), want)
		}
	})
}
