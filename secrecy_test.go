package neuroquantumws_test

import (
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"

	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	"github.com/golang-jwt/jwt/v5"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// logged starts a site that logs all it can to files in the folder that it gives: what it does, at DEBUG, and every request.
func logged(t testing.TB, options string, more ...string) (s *site, folder string) {
	t.Helper()
	folder = t.TempDir()
	s = serve(t, "")
	to := func(name string) string {
		return fmt.Sprintf("log {\noutput file %s {\nroll_disabled\n}\nlevel DEBUG\n}\n", filepath.Join(folder, name))
	}
	directives := to("access.log") + strings.Join(more, "") + "route /plain {\nrespond ok\n}\n" + ws(options)
	caddyfile := strings.Replace(s.wrap(directives), "log {\n\t\toutput newest\n\t}", to("all.log"), 1)
	config, err := adapt(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	if err := sitetest.Load(config, s.address); err != nil {
		t.Fatal(err)
	}
	return s, folder
}

// output is everything that was logged. The site is stopped for it, so that nothing is still on its way.
func output(t testing.TB, folder string) string {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil || len(files) != 2 {
		t.Fatalf("the logs are %v, %v", files, err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// TestNothingSecretIsLogged: tokens and tickets, good and bad, shown in every way, do not stand in any log, nor do SQL and parameters.
func TestNothingSecretIsLogged(t *testing.T) {
	s, folder := logged(t, withJWT("")+"source demo sqlite "+demoDB(t)+`
query q {
	source demo
	sql "select id from readings where sensor = @mystery and 'SECRETSQL' <> ''"
	param mystery text
	allow anyone
}
query broken {
	source demo
	sql "select json('{' || @mystery) from readings"
	param mystery text
	allow anyone
}`)
	var secrets, told []string // told: what clients were told
	note := func(token string) string {
		secrets = append(secrets, token)
		for _, part := range strings.Split(token, ".") {
			if len(part) >= 10 {
				secrets = append(secrets, part)
			}
		}
		return token
	}
	good := func(user string) string { return note(tokenOf(t, user, M{"private": "PRIVATECLAIM"})) }
	expired := func() string { return note(tokenOf(t, "ann", M{"exp": 5, "private": "PRIVATECLAIM"})) }
	forged := func() string {
		return note(sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("y", 32)), M{"kid": "SECRETKEYID"}, claims("ann", nil)))
	}
	garbage := func() string { return note("GARBAGE" + strings.Repeat("g", 40)) }
	shown := 0
	for _, token := range []func() string{func() string { return good("ann") }, expired, forged, garbage} {
		for way := range ways {
			response, body := s.upgradeBy(way, token())
			told = append(told, body, fmt.Sprint(response.Header))
			shown++
		}
		for _, name := range []string{"ticket", "token", "access_token", "TOKEN", "%74icket", "jwt", "x;ticket", "authorization"} {
			query := name + "=" + url.QueryEscape(token())
			request := "GET /ws?" + query + " HTTP/1.1"
			raw := wstest.DialRaw(t, s.address, strings.Replace(wstest.Handshake(s.address, "/ws"), "GET /ws HTTP/1.1", request, 1), 0)
			told = append(told, fmt.Sprint(raw.Response.Header))
			raw.Close()
			// And where it is no upgrade.
			raw = wstest.DialRaw(t, s.address, request+"\r\nHost: "+s.address+"\r\n\r\n", 0)
			told = append(told, fmt.Sprint(raw.Response.Header))
			raw.Close()
			shown += 2
		}
	}
	ticket, _, err := instance.Find("default").IssueTicket(access.Grant{User: "ann"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // good, and used
		_, _, _ = wstest.TryDial(t, s.url()+"?ticket="+note(ticket), wstest.Options{})
	}
	c := s.dial()
	for _, token := range []string{expired(), forged(), garbage(), good("ann"), good("bob"), good("ann")} {
		told = append(told, fmt.Sprint(c.Ask(M{"type": "authenticate", "token": token})))
	}
	for _, query := range []string{"q", "broken"} {
		told = append(told, fmt.Sprint(c.Ask(M{"type": "stream_query", "query": query, "params": M{"mystery": note("SECRETVALUE")}})))
		told = append(told, fmt.Sprint(c.Next()))
	}
	told = append(told, fmt.Sprint(c.Ask(M{"type": "stream_query", "query": "q", "params": M{"mystery": 5}})))
	c.Ping()
	// The log is there at all, and other requests are in it.
	response, err := http.Get("http://" + s.address + "/plain?visible=yes")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()

	all := output(t, folder)
	for _, must := range []string{"visible=yes", "request with a token", "not authenticated", `"status":401`, `"status":101`} {
		if !strings.Contains(all, must) {
			t.Errorf("the log does not say %q", must)
		}
	}
	if n := strings.Count(all, "request with a token"); n < shown-2*len(ways) {
		t.Errorf("%d requests with a token were noted, %d made", n, shown)
	}
	secrets = append(secrets, "PRIVATECLAIM", "SECRETKEYID", "SECRETSQL", "SECRETVALUE", secret)
	for _, hidden := range secrets {
		for name, text := range map[string]string{"the log": all, "what clients were told": strings.Join(told, "\n")} {
			if at := strings.Index(text, hidden); at >= 0 {
				t.Fatalf("%s has %q: …%s…", name, hidden, text[max(0, at-300):min(len(text), at+len(hidden)+100)])
			}
		}
	}
}
