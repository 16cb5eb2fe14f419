package httpapi

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/apitest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func TestPathParameters(t *testing.T) {
	api := apitest.New(t, "")
	api.Answer(apitest.Answer{Body: "{}"})
	s := provision(t, &Source{URL: api.URL, Dialect: NDJSON})
	for _, test := range []struct {
		url, value string
		want       string // the request's target; empty where the value is refused
	}{
		{"/t/{param.a}", "5", "/t/5"},
		{"/t/{param.a}", "a b;c?d#e", "/t/a%20b%3Bc%3Fd%23e"},
		{"/t/{param.a}", "...", "/t/..."},
		{"/t/{param.a}", "..a", "/t/..a"},
		{"/t/{param.a}", "100%", "/t/100%25"},
		{"/t/{param.a}", "100%25", "/t/100%2525"},
		{"/t/{param.a}.json", ".x", "/t/.x.json"},
		{"/t/{param.a}", "", ""},
		{"/t/{param.a}", ".", ""},
		{"/t/{param.a}", "..", ""},
		{"/t/{param.a}", "../admin", ""},
		{"/t/{param.a}", "a/b", ""},
		{"/t/{param.a}", `a\b`, ""},
		{"/t/{param.a}", "a%2fb", ""},
		{"/t/{param.a}", "a%252fb", ""},
		{"/t/{param.a}", "%2e%2e", ""},
		{"/t/{param.a}", "..%2fadmin", ""},
		{"/t/{param.a}", `..\admin`, ""},
		{"/t/{param.a}", "..;", ""},
		{"/t/{param.a}", "..;x=y", ""},
		{"/t/{param.a}", "..%3bx", ""},
		{"/t/{param.a}", " ..", ""},
		{"/t/{param.a}", "..\x00", ""},
		{"/t/{param.a}", "%" + strings.Repeat("25", 10) + "2e.", ""},
		{"/t/.{param.a}", ".", ""},
		{"/t/.{param.a}", ";a", ""},
		{"/t/{param.a}{param.a}", ".", ""},
		{"/t/{param.a...}", "a", "/t/a"},
		{"/t/{param.a...}", "a/b c/d?", "/t/a/b%20c/d%3F"},
		{"/t/{param.a...}/x", "a/b", "/t/a/b/x"},
		{"/t/{param.a...}", "a/../../b", ""},
		{"/t/{param.a...}", "a/..", ""},
		{"/t/{param.a...}", "../b", ""},
		{"/t/{param.a...}", "a/./b", ""},
		{"/t/{param.a...}", `a\..\..\b`, ""},
		{"/t/{param.a...}", "a/%2e%2e/b", ""},
		{"/t/{param.a...}", "a/..;/b", ""},
		{"/{param.a...}", "/evil.example/x", ""},
		{"/{param.a...}", "a//b", ""},
		{"/{param.a...}", "a/", ""},
		{"/{param.a...}", `\evil.example`, ""},
		{"/.{param.a...}", "./x", ""},
	} {
		st := mustPrepare(t, s, stream.Text{URL: test.url}, params("a")...)
		_, _, err := run(t.Context(), st, text(test.value))
		told, refused := protocol.AsError(err)
		switch {
		case test.want == "" && (!refused || told.Code != protocol.InvalidParams || !strings.Contains(told.Message, `"a"`)):
			t.Errorf("%s with %q: got %s, %v, want a refusal", test.url, test.value, api.Last().URI, err)
		case test.want != "" && (err != nil || api.Last().URI != test.want):
			t.Errorf("%s with %q: got %s, %v, want %s", test.url, test.value, api.Last().URI, err, test.want)
		}
	}
	for _, bad := range []string{"/?a={param.a...}", "/{param.a..}", "/{param....}"} {
		if _, err := s.Prepare(t.Context(), stream.Text{URL: bad}, params("a")); err == nil {
			t.Errorf("%s passes", bad)
		}
	}
	if _, err := s.Prepare(t.Context(), stream.Text{Body: `"{param.a...}"`}, params("a")); err == nil {
		t.Error("{param.a...} passes in a body")
	}
}

// However often the servers along the way decode a path, and whichever separators and suffixes they know, it stays below the prefix.
func FuzzPath(f *testing.F) {
	for _, value := range []string{"5", "../x", "..;/x", "%2e%2e/x", `..\x`, "a/b/../../..", "%25252e./x", "a//..", ".\x00./x", "..%09/x"} {
		f.Add(value)
	}
	one, err := urlTemplate("http://h/a/b/{param.a}")
	if err != nil {
		f.Fatal(err)
	}
	many, err := urlTemplate("http://h/a/b/{param.a...}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, template := range []template{one, many} {
			address, err := template.render(params("a"), []stream.Value{text(value)})
			if err != nil {
				continue
			}
			u, err := url.Parse(address)
			if err != nil {
				t.Fatalf("%q becomes %q: %v", value, address, err)
			}
			read := u.EscapedPath()
			for range 8 {
				plain := strings.ReplaceAll(read, `\`, "/")
				segments := strings.Split(plain, "/")
				for i, segment := range segments {
					segments[i], _, _ = strings.Cut(segment, ";")
				}
				for _, reading := range []string{plain, strings.Join(segments, "/")} {
					if clean := path.Clean(reading); !strings.HasPrefix(clean, "/a/b/") && clean != "/a/b" {
						t.Fatalf("%q is sent as %q and read as %q", value, address, clean)
					}
				}
				read = decodeOnce(read)
			}
			if !strings.Contains(one.literals[0], u.Host) || template.places[0] == inPath && strings.Count(u.EscapedPath(), "/") != 3 {
				t.Fatalf("%q becomes %q", value, address)
			}
		}
	})
}
