package handshake

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestExposed(t *testing.T) {
	for line, want := range map[string]bool{
		"GET /ws":                             false,
		"GET /ws?room=5&lang=de":              false,
		"GET /ws?ticket=x":                    true,
		"GET /ws?a=b&TICKET=x":                true,
		"GET /ws?%74%69cket=x":                true,
		"GET /ws?access_token=eyJhbGciOi":     true,
		"GET /ws?a=1;token=eyJhbGciOi":        true,
		"GET /ws?bad=%zz&%74oken":             true,
		"GET /ws?next=%2F%3Ftoken=eyJhbGciOi": true,
		"GET /ws?auth=1&x=eyJhbGciOi":         true,
		"GET /ws?auth=1":                      false,
		"GET /ws?token=&jwt":                  false,
		"GET /ws?q=secretary":                 false,
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + " HTTP/1.1\r\nHost: a\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		if got := Exposed(r); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
	for value, want := range map[string]bool{"neuroquantum.v1": false, "neuroquantum.v1, bearer.x": true, "Bearer.x": true, "x,bearer.": true} {
		r := &http.Request{URL: mustURL(t), Header: http.Header{"Sec-Websocket-Protocol": {value}}}
		if got := Exposed(r); got != want {
			t.Errorf("%s: %v", value, got)
		}
	}
}

// FuzzCredential: whatever a request looks like, a credential is one that stands in it, in a place that counts; and where an access
// log would write it, it is told to be exposed.
func FuzzCredential(f *testing.F) {
	for _, seed := range []string{
		"Authorization: Bearer abc\r\n", "authorization:bearer\tabc\r\nAuthorization: Basic eA==\r\n", "Authorization: Bearer\r\n",
		"Sec-WebSocket-Protocol: neuroquantum.v1, bearer.abc\r\n", "Sec-WebSocket-Protocol: bearer.\r\nSec-WebSocket-Protocol: ,bearer.a,\r\n",
		"Cookie: session=abc; session=def\r\n", "Cookie: session=\"a b\"\r\nOrigin: http://a\r\n", "Origin: null\r\nCookie: session=abc\r\n",
		"Origin: http://a\r\nOrigin: http://b\r\nCookie: session=x\r\n", "X: y\r\n",
	} {
		f.Add("/ws", seed, true, true)
		f.Add("/ws?ticket=abc&ticket=d", seed, true, false)
		f.Add("/ws?a=%74;ticket=%zz", seed, false, true)
	}
	f.Fuzz(func(t *testing.T, target, header string, tokens, named bool) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: a\r\n" + header + "\r\n")))
		if err != nil {
			return
		}
		cookie := ""
		if named {
			cookie = "session"
		}
		trusted := len(r.Header["Origin"]) == 1
		got := Find(r, tokens, cookie, trusted)
		stands := false
		switch got.Kind {
		case None:
			stands = got.Text == ""
		case Header:
			stands = tokens && strings.Contains(strings.Join(r.Header["Authorization"], "\n"), got.Text)
		case Subprotocol:
			stands = tokens && strings.Contains(strings.Join(r.Header["Sec-Websocket-Protocol"], "\n"), got.Text) && Exposed(r)
		case Ticket:
			stands = (got.Text == "" || r.URL.Query().Get("ticket") == got.Text) && Exposed(r)
		case Cookie:
			stands = tokens && named && trusted && strings.Contains(strings.Join(r.Header["Cookie"], "\n"), got.Text)
		}
		if !stands {
			t.Errorf("got %+v", got)
		}
	})
}

func mustURL(t testing.TB) *url.URL {
	t.Helper()
	u, err := url.Parse("/ws")
	if err != nil {
		t.Fatal(err)
	}
	return u
}
