package neuroquantumws_test

import (
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/sitetest"

	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	_ "modernc.org/sqlite"
)

// database makes a small database with these statements.
func database(t testing.TB, statements ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return path
}

func TestWhatCannotWorkIsRefusedWhenLoaded(t *testing.T) {
	path := database(t, "create table readings (id integer, sensor text)")
	folder := t.TempDir()
	text := filepath.Join(folder, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	query := func(lines ...string) string {
		return fmt.Sprintf("source demo sqlite %s\nquery q {\nsource demo\nallow anyone\n%s\n}", path, strings.Join(lines, "\n"))
	}
	tests := map[string]struct{ options, words string }{
		"no SQL":               {query("sql `selekt id from readings`"), "q syntax"},
		"unknown table":        {query("sql `select id from writings`"), "q writings"},
		"unknown column":       {query("sql `select size from readings`"), "q size"},
		"undeclared parameter": {query("sql `select id from readings where sensor = @sensor`"), "q @sensor"},
		"unused parameter":     {query("sql `select id from readings`", "param sensor text"), "q @sensor"},
		"unnamed parameter":    {query("sql `select id from readings where sensor = ?`", "param sensor text"), "q ?"},
		"a write":              {query("sql `delete from readings`"), "q"},
		"a write that returns": {query("sql `delete from readings returning id`"), "q"},
		"an attach":            {query("sql `attach ':memory:' as x`"), "q"},
		"a pragma":             {query("sql `pragma table_info(readings)`"), "q"},
		"two statements":       {query("sql `select 1; select 2`"), "q"},
		"only a comment":       {query("sql `-- nothing`"), "q"},
		"missing source":       {"query q {\nsource demo\nsql `select 1`\nallow anyone\n}", "q demo"},
		"missing file":         {"source demo sqlite " + filepath.Join(folder, "none.db"), "none.db"},
		"a folder":             {"source demo sqlite " + folder, folder},
		"no database":          {"source demo sqlite " + text, "text.db"},
		"feed of bad SQL":      {"source demo sqlite " + path + "\nfeed f {\nsource demo\nsql `select x`\npublish a\nreplay 1s\n}", "f x"},
		"feed of a table":      {"source demo sqlite " + path + "\nfeed f {\nsource demo\ntable readings id\npublish a\n}", "f table PostgreSQL"},
		"table without source": {"feed f {\nsource demo\ntable readings id\npublish a\n}", "f demo"},
		"watch of no table":    {query("sql `select id from readings`", "watch {\nkey id\non table writings\n}"), "q watch writings"},
		"watch of NOTIFY":      {query("sql `select id from readings`", "watch {\nkey id\non notify x\n}"), "q watch PostgreSQL"},
		"table, no publication": {
			"source main postgres {\ndsn postgres://127.0.0.1:1/x\n}\nfeed f {\nsource main\ntable readings id\npublish a\n}", "f table publication",
		},
		"feed without source": {"feed f {\nsource demo\nsql `select 1`\npublish a\nreplay 1s\n}", "f demo"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &site{t: t, address: freeAddress(t)}
			err := s.load(ws(test.options))
			if err == nil {
				_ = caddy.Stop()
				t.Fatal("it is accepted")
			}
			for word := range strings.FieldsSeq(test.words) {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error does not say %q: %v", word, err)
				}
			}
			if instance.Find("default") != nil {
				t.Error("the hub lives on")
			}
		})
	}
}

// The same options in JSON must be refused by the same rules, where no Caddyfile has checked them before.
func TestBadJSONIsRefused(t *testing.T) {
	for _, options := range []string{
		`{"max_connections": -1}`,
		`{"max_message_size": -5}`,
		`{"max_streams": -5}`,
		`{"rate_limit": {"rate": -5}}`,
		`{"heartbeat": {"interval": "90s", "timeout": "30s"}}`,
		`{"heartbeat": {"interval": "-1s"}}`,
		`{"idle_timeout": "-1s"}`,
		`{"health": {"warn": 0.5, "close": 0.1}}`,
		`{"queue": {"messages": -1}}`,
		`{"queue": {"policy": "forget"}}`,
		`{"queue": {"policy": "block"}}`,
		`{"throttle": {"start": 2}}`,
		`{"origins": ["nonsense"]}`,
		`{"channel": [{"pattern": "a*"}]}`,
		`{"channel": [{"pattern": ""}]}`,
		`{"channel": [{"pattern": "a", "history": {"messages": 0}}]}`,
		`{"channel": [{"pattern": "a", "queue": {"policy": "block"}}]}`,
		`{"channel": [{"pattern": "a", "allow": {"publish": ["role:"]}}]}`,
		`{"stream": {"batch_size": -1}}`,
		`{"broker": {"broker": "nats"}}`,
		`{"source": {"a": {"source": "nonsense"}}}`,
		`{"source": {"a": {"source": "postgres"}}}`,
		`{"query": {"q": {"source": "a", "sql": "select 1"}}}`,
		`{"feed": {"f": {"source": "a", "sql": "select 1"}}}`,
		`{"feed": {"f": {"source": "a", "table": "t", "columns": ["id"]}}}`,
		`{"max_watches": -1}`,
		`{"max_watches_total": -1}`,
		`{"source": {"a": {"source": "postgres", "dsn": "host=/x", "publication": "` + strings.Repeat("a", 64) + `"}}}`,
		`{"jwt": {}}`,
		`{"user": "X-User"}`,
		`{"user": "{env.NQ_TEST_UNSET}"}`,
		`{"hub": "{env.HUB}"}`,
		`{"metadata": {"team": "{claims.team}"}}`,
		`{"metadata": {"team": "{env.NQ_TEST_UNSET}"}}`,
		`{"query": {"q": {"source": "a", "sql": "select 1", "param": [{"name": "x", "type": "text", "bind": "{claims.team}"}]}}}`,
		`{"jwt": {"key": "secret:0123456789abcdef0123456789abcdef", "issuer": "https://{env.NQ_TEST_UNSET}/realm"}}`,
		`{"jwt": {"key": "secret:0123456789abcdef0123456789abcdef", "audience": ["{nonsense}"]}}`,
		`{"source": {"a": {"source": "postgres", "dsn": "postgres://u:{env.NQ_TEST_UNSET}@h/d"}}}`,
		`{"source": {"a": {"source": "postgres", "dsn": "host=/x", "set": [{"name": "app.tenant", "value": "{env.NQ_TEST_UNSET} {user}"}]}}}`,
		`{"source": {"a": {"source": "http", "url": "http://a", "header": {"X-Key": ["{env.NQ_TEST_UNSET}"]}}}}`,
		`{"source": {"a": {"source": "http", "url": "http://a", "header": {"X-Key": ["{env.NQ_TEST_UNSET} {user}"]}}}}`,
		`{"max_conections": 1}`,
	} {
		t.Run(options, func(t *testing.T) {
			err := caddy.Load(withHandler(t, freeAddress(t), options), true)
			if err == nil {
				_ = caddy.Stop()
				t.Fatal("it is accepted")
			}
			if unset := "NQ_TEST_UNSET"; strings.Contains(options, unset) && !strings.Contains(err.Error(), unset) {
				t.Errorf("the error does not name the variable: %v", err)
			}
		})
	}
}

// withHandler is a whole configuration with the handler's options in JSON.
func withHandler(t testing.TB, address, options string) []byte {
	t.Helper()
	var handler map[string]any
	if err := json.Unmarshal([]byte(options), &handler); err != nil {
		t.Fatal(err)
	}
	handler["handler"] = "neuroquantum_ws"
	config, err := json.Marshal(map[string]any{
		"admin":   map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"writer": map[string]any{"output": "discard"}}}},
		"apps": map[string]any{"http": map[string]any{"servers": map[string]any{"site": map[string]any{
			"listen": []string{address}, "automatic_https": map[string]any{"disable": true},
			"routes": []any{map[string]any{
				"match": []any{map[string]any{"path": []string{"/ws"}}}, "handle": []any{handler},
			}},
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Every option does the same in JSON, with durations as text, as in the Caddyfile.
func TestCaddyfileAndJSONBehaveTheSame(t *testing.T) {
	path := database(t, "create table n (i integer)", "insert into n values (1), (2), (3)")
	caddyfile := ws(`
		hub twin
		max_message_size 1000
		max_subscriptions 2
		max_streams 1
		rate_limit 1 40
		heartbeat 7s 21s
		origins https://app.example.com
		channel open/** {
			history 2
			allow subscribe anyone
			allow publish anyone
			allow history anyone
		}
		channel closed/**
		source db sqlite ` + path + `
		stream {
			batch_size 2
		}
		query numbers {
			source db
			sql "select i from n where i >= @least"
			param least integer {
				default 2
				min 0
			}
			total exact
			allow anyone
		}`)
	options := fmt.Sprintf(`{
		"hub": "twin", "max_message_size": 1000, "max_subscriptions": 2, "max_streams": 1, "rate_limit": {"rate": 1, "burst": 40},
		"heartbeat": {"interval": "7s", "timeout": "21s"}, "origins": ["https://app.example.com"],
		"channel": [
			{"pattern": "open/**", "history": {"messages": 2},
			 "allow": {"subscribe": ["anyone"], "publish": ["anyone"], "history": ["anyone"]}},
			{"pattern": "closed/**"}
		],
		"source": {"db": {"source": "sqlite", "path": %q}},
		"stream": {"batch_size": 2},
		"query": {"numbers": {"source": "db", "sql": "select i from n where i >= @least",
			"param": [{"name": "least", "type": "integer", "default": 2, "min": "0"}], "total": "exact", "allow": ["anyone"]}}
	}`, path)

	for name, start := range map[string]func(*testing.T) *site{
		"Caddyfile": func(t *testing.T) *site { return serveSite(t, caddyfile) },
		"JSON": func(t *testing.T) *site {
			s := serveSite(t, "respond ok")
			if err := sitetest.Load(withHandler(t, s.address, options), s.address); err != nil {
				t.Fatal(err)
			}
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			response, _ := s.get(upgradeHeader("Origin", "https://elsewhere.example"))
			if response.StatusCode != http.StatusForbidden {
				t.Errorf("a foreign origin gets %s", response.Status)
			}
			c := s.dial()
			if w := c.Welcome; w.Int("heartbeat_interval_ms") != 7000 || w.Int("heartbeat_timeout_ms") != 21000 ||
				w.Int("max_message_bytes") != 1000 {
				t.Errorf("welcome: %v", w)
			}
			for i := range 3 {
				c.Publish("open/a", i)
			}
			if h := c.AskFor("history", M{"type": "history", "channel": "open/a"}); len(h.List("messages")) != 2 {
				t.Errorf("history: %v", h)
			}
			c.Refused("FORBIDDEN", M{"type": "publish", "channel": "closed/a", "data": 1})
			c.Refused("FORBIDDEN", M{"type": "publish", "channel": "other", "data": 1})
			c.Subscribe("open/a", "open/b")
			c.Refused("LIMIT_EXCEEDED", M{"type": "subscribe", "channel": "open/c"})
			started := c.AskFor("query_started", M{"type": "stream_query", "query": "numbers", "credits": 0})
			if started.Int("estimated_rows") != 2 || started.Text("total_kind") != "exact" {
				t.Errorf("query_started: %v", started)
			}
			c.Refused("LIMIT_EXCEEDED", M{"type": "stream_query", "query": "numbers"})
			c.Send(M{"type": "credit", "stream_id": started["stream_id"], "batches": 1})
			if b := c.Until("query_batch"); len(b.List("rows")) != 2 || b.Bool("has_more") {
				t.Errorf("query_batch: %v", b)
			}
			c.Until("query_completed")
			for range 40 {
				c.Send(M{"type": "pong"})
			}
			if e := c.ExpectError("RATE_LIMITED"); e.Int("retry_after_ms") < 1 {
				t.Errorf("error: %v", e)
			}
		})
	}
}

// What two handlers say of one hub must be the same, but for who may connect.
func TestTwoHandlersOfOneHub(t *testing.T) {
	two := func(first, second string) string {
		return "neuroquantum_ws /ws {\nhub one\n" + first + "\n}\nneuroquantum_ws /other {\nhub one\n" + second + "\n}"
	}
	s := serveSite(t, two("max_streams 3\nqueue 5 1KiB", "max_streams 3\nqueue 5 1KiB\norigins https://a.example\nuser {http.request.header.X}\nmetadata a b"))
	for _, other := range []string{"", "max_streams 4", "max_streams 3\nqueue 6 1KiB", "max_streams 3\nqueue 5 1KiB\nchannel a"} {
		if err := s.load(two("max_streams 3\nqueue 5 1KiB", other)); err == nil || !strings.Contains(err.Error(), "hub one") {
			t.Errorf("%q: got %v", other, err)
		}
	}
	s.dial().Ping()
}
