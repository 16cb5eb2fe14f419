package neuroquantumws_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// divider stands in a golden file between the Caddyfile and the JSON that it gives.
const divider = "\n----------\n"

// handlerJSON is the handler's part of an adapted configuration.
func handlerJSON(t testing.TB, config []byte) string {
	t.Helper()
	var found json.RawMessage
	var search func(raw json.RawMessage)
	search = func(raw json.RawMessage) {
		var list []json.RawMessage
		var object map[string]json.RawMessage
		switch {
		case json.Unmarshal(raw, &list) == nil:
			for _, item := range list {
				search(item)
			}
		case json.Unmarshal(raw, &object) == nil:
			if string(object["handler"]) == `"neuroquantum_ws"` {
				found = raw
				return
			}
			for _, item := range object {
				search(item)
			}
		}
	}
	search(config)
	if found == nil {
		t.Fatalf("no neuroquantum_ws in %s", config)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, found, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestCaddyfileGivesJSON(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) < 4 {
		t.Fatalf("golden files: %v %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, want, _ := strings.Cut(string(golden), divider)
			config, err := adapt(caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			got := handlerJSON(t, config) + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(caddyfile+divider+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

// badCaddyfiles are options that must be refused. The last line is the one at fault unless at says otherwise; the error must name
// its number and hold each of the words.
var badCaddyfiles = []struct {
	options string
	words   string
	at      int // lines before the last
}{
	{"max_conections 5", "max_conections", 0},
	{"hub a\nhub b", "hub twice", 0},
	{"hub", "hub", 0},
	{"hub a b", "hub", 0},
	{"hub \"\"", "hub", 0},
	{"max_connections many", "max_connections many", 0},
	{"max_connections 0", "max_connections", 0},
	{"max_connections -1", "max_connections", 0},
	{"max_connections 1 2", "max_connections", 0},
	{"max_connections 99999999999", "max_connections", 0},
	{"max_connections_per_ip x", "max_connections_per_ip", 0},
	{"max_connections_per_user 1.5", "max_connections_per_user", 0},
	{"max_message_size big", "max_message_size", 0},
	{"max_message_size 0", "max_message_size", 0},
	{"max_message_size 64KiB\nmax_message_size 64KiB", "max_message_size twice", 0},
	{"max_subscriptions", "max_subscriptions", 0},
	{"max_streams none", "max_streams", 0},
	{"max_streams_per_user 0", "max_streams_per_user", 0},
	{"max_streams_total x", "max_streams_total", 0},
	{"rate_limit", "rate_limit", 0},
	{"rate_limit fast", "rate_limit fast", 0},
	{"rate_limit 1 2 3", "rate_limit", 0},
	{"rate_limit NaN", "rate_limit", 0},
	{"rate_limit +Inf", "rate_limit", 0},
	{"heartbeat 30s", "heartbeat", 0},
	{"heartbeat 30 90", "heartbeat", 0},
	{"heartbeat 90s 30s", "heartbeat", 0},
	{"idle_timeout -5m", "idle_timeout", 0},
	{"idle_timeout soon", "idle_timeout", 0},
	{"write_timeout 0s", "write_timeout", 0},
	{"queue 1000", "queue", 0},
	{"queue 1000 1MiB forget", "queue forget", 0},
	{"queue 1000 1MiB drop_oldest more", "queue", 0},
	{"queue none 1MiB", "queue", 0},
	{"queue 10 3GiB", "queue", 0},
	{"queue 10 1KiB block", "queue block history", -1},
	{"queue 10 1KiB block\nchannel a", "queue block history", -1},
	{"max_queued x", "max_queued", 0},
	{"max_history x", "max_history", 0},
	{"throttle 0.7 0.9", "throttle", 0},
	{"throttle 0.9 0.7 500ms", "throttle", 0},
	{"throttle 0.7 1.5 500ms", "throttle", 0},
	{"health", "health", 0},
	{"health 0.1", "health", 0},
	{"health 0.5 0.1", "health", 0},
	{"health 0.1 1.5", "health", 0},
	{"health on", "health", 0},
	{"origins", "origins", 0},
	{"origins only", "origins only", 0},
	{"origins only *", "origins only", 0},
	{"origins https://a only", "origins only", 0},
	{"origins app.example.com", "origins app.example.com", 0},
	{"origins https://app.example.com/path", "origins", 0},
	{"origins https://a.*.example.com", "origins", 0},
	{"user", "user", 0},
	{"user a b", "user", 0},
	{"user X-User", "user X-User placeholder", 0},
	{"user {claim.sub}", "user claim", 0},
	{"user {jwt.sub}", "user {jwt.sub}", 0},
	{"hub {env.HUB}", "hub {env.HUB} placeholders", 0},
	{"metadata team {claims.team}", "metadata team {claims.team} {claim.NAME}", 0},
	{"metadata version", "metadata", 0},
	{"metadata v {a}\nmetadata v {b}", "metadata v twice", 0},

	{"max_watches none", "max_watches none", 0},
	{"max_watches 0", "max_watches", 0},
	{"max_watches_total -1", "max_watches_total", 0},
	{"max_watches_total 5\nmax_watches_total 5", "max_watches_total twice", 0},
	{"auth_timeout soon", "auth_timeout", 0},
	{"auth_timeout 0s", "auth_timeout", 0},
	{"drain 0s", "drain", 0},
	{"jwt", "jwt key", 0},
	{"jwt x", "jwt", 0},
	{"jwt {\n}", "jwt key jwks", 0},
	{"jwt {\nkey a\njwks https://a/keys\n}", "jwt key jwks", 0},
	{"jwt {\nkey a\nkey b\n}", "key twice", 1},
	{"jwt {\nkey /etc/caddy/keys/jwt-public.pem\n}", "path secret:", 1},
	{"jwt {\nkey jwt-public.pem\nissuer a\n}", "path secret:", 2},
	{"jwt {\nkey short\n}", "32 bytes", 1},
	{"jwt {\nkey a\nalgorithms none\n}", "algorithms none", 1},
	{"jwt {\nkey a\nalgorithms\n}", "algorithms", 1},
	{"jwt {\nkey a\nalgorithms HS256 hs256\n}", "algorithms hs256", 1},
	{"jwt {\njwks https://a/keys\nalgorithms HS256\n}", "jwks HS256", 0},
	{"jwt {\nkey a\nrequired always\n}", "required always message", 1},
	{"jwt {\nkey a\nleeway 1h\n}", "leeway 25s", 0},
	{"jwt {\nkey a\nleeway soon\n}", "leeway", 1},
	{"jwt {\nkey a\ncookie \"a b\"\n}", "cookie", 0},
	{"jwt {\nkey a\naudience \"\"\n}", "audience", 1},
	{"jwt {\nkey a\nexpiry 5s\n}", "expiry", 1},
	{"jwt {\nkey secret:0123456789abcdef0123456789abcdef\n}\njwt {\nkey a\n}", "jwt twice", 2},
	{"allow_raw_sql", "allow_raw_sql", 0},
	{"allow_raw_sql demo", "allow_raw_sql term", 0},
	{"source demo sqlite a\nallow_raw_sql demo everyone", "allow_raw_sql demo everyone", 0},
	{"source demo sqlite a\nallow_raw_sql other anyone", "allow_raw_sql other no such source", 0},
	{"allow_raw_sql other anyone\nsource demo sqlite a", "allow_raw_sql other no such source", 1},
	{"source demo sqlite a\nallow_raw_sql demo anyone\nallow_raw_sql demo anyone", "allow_raw_sql demo twice", 0},
	{"allow_raw_sql main anyone\nsource main postgres {\ndsn x\nrole web\n}", "allow_raw_sql main role login", 4},
	{"source main postgres {\ndsn x\nset a.b c\n}\nallow_raw_sql main anyone", "allow_raw_sql main set login", 0},
	{"source api http {\nurl http://a\ndialect ndjson\n}\nallow_raw_sql api anyone", "allow_raw_sql api ndjson", 0},
	{"broker nats {\nservers nats://a:4222\nspeed fast\n}", "unknown speed", 1},
	{"broker nats {\nreplicas 3\n}", "broker nats servers embedded", 0},
	{"broker memory {\nx\n}", "broker memory", 1},
	{"broker memory fast", "broker memory", 0},
	{"broker", "broker", 0},
	{"broker memory\nbroker memory", "broker twice", 0},
	{"source api http", "source api http url", 0},
	{"source api http {\nspeed 3\n}", "speed", 1},
	{"source api http {\nurl http://a\nmax_row 1GiB\n}", "max_row", 1},
	{"query q {\nsource a\nurl x y\n}", "url", 1},
	{"query q {\nsource a\nbody\n}", "body", 1},
	{"source main postgres {\nrole x\n}", "dsn", 0},
	{"source main postgres {\npublication\n}", "publication", 1},
	{"source main postgres {\npublication a b\n}", "postgres argument", 1},
	{"source main postgres {\npublication a\npublication a\n}", "publication twice", 1},
	{"source main postgres {\npublication " + strings.Repeat("a", 64) + "\n}", "publication 63", 1},
	{"source demo", "source demo", 0},
	{"source", "source", 0},
	{"source demo sqlite", "sqlite", 0},
	{"source demo sqlite a b", "sqlite", 0},
	{"source demo sqlite a {\nspeed 3\n}", "speed", 1},
	{"source demo sqlite a {\nmax_connections 0\n}", "max_connections", 1},
	{"source demo sqlite a\nsource demo sqlite b", "source demo twice", 0},

	{"channel", "channel", 0},
	{"channel a b", "channel", 0},
	{"channel temp*", "channel temp*", 0},
	{"channel a//b", "channel a//b", 0},
	{"channel users/u{user}/**", "channel u{user} whole", 0},
	{"channel {user}{user}", "channel whole", 0},
	{"channel a/{http.request.host}", "channel {user} {claim.NAME}", 0},
	{"channel a/{claim.}", "channel {claim.NAME}", 0},
	{"channel a/{user}\nchannel a/*", "channel a/* a/{user}", 0},
	{"channel a\nchannel a", "channel a twice", 0},
	{"channel a {\npresence on\n}", "presence", 1},
	{"channel a {\npresence\npresence\n}", "presence twice", 1},
	{"channel a {\nhistory\n}", "history", 1},
	{"channel a {\nhistory 0\n}", "history", 1},
	{"channel a {\nhistory 5 soon\n}", "history", 1},
	{"channel a {\nhistory 5\nhistory 6\n}", "history twice", 1},
	{"channel a {\nallow\n}", "allow", 1},
	{"channel a {\nallow subscribe\n}", "allow", 1},
	{"channel a {\nallow shout anyone\n}", "allow shout", 1},
	{"channel a {\nallow publish role:\n}", "allow role:", 1},
	{"channel a {\nallow publish everyone\n}", "allow everyone", 1},
	{"channel a {\nallow publish user:{env.BACKEND}\n}", "allow user:{env.BACKEND} placeholders", 1},
	{"channel a {\nallow publish user:\n}", "allow user:", 1},
	{"channel a {\nqueue 10 1KiB block\n}", "block history", 0},
	{"channel a {\nretain 5\n}", "retain", 1},

	{"stream 5", "stream", 0},
	{"stream {\nbatch_size\n}", "batch_size", 1},
	{"stream {\nbatch_size x\n}", "batch_size", 1},
	{"stream {\nbatch_size 5\nbatch_size 5\n}", "batch_size twice", 1},
	{"stream {\nspeed 5\n}", "speed", 1},
	{"stream {\nbatch_size 100\nmax_batch_size 10\n}", "stream batch", 0},
	{"stream {\nmax_duration 0s\n}", "max_duration", 1},
	{"stream {\n}\nstream {\n}", "stream twice", 1},

	{"query", "query", 0},
	{"query q {\nsource demo\n}", "query q sql", 0},
	{"query q {\nsql x\n}", "query q source", 0},
	{"query q {\nsource demo\nsql x\n}\nquery q {\nsource demo\nsql x\n}", "query q twice", 3},
	{"query q {\nsource a\nsource b\n}", "source twice", 1},
	{"query q {\nwatch on\n}", "watch", 1},
	{"query q {\nwatch {\nevery 1s\n}\n}", "watch key", 1},
	{"query q {\nwatch {\nkey id\n}\n}", "watch on every", 1},
	{"query q {\nwatch {\nkey\n}\n}", "key", 2},
	{"query q {\nwatch {\nkey id id\nevery 1s\n}\n}", "key id twice", 1},
	{"query q {\nwatch {\nkey id\nkey id\n}\n}", "key twice", 2},
	{"query q {\nwatch {\non table\n}\n}", "on", 2},
	{"query q {\nwatch {\non table a b\n}\n}", "on", 2},
	{"query q {\nwatch {\non file x\n}\n}", "on file", 2},
	{"query q {\nwatch {\nkey id\non channel a*\n}\n}", "channel a*", 1},
	{"query q {\nwatch {\nkey id\non channel a/{user}\n}\n}", "channel a/{user} placeholders", 1},
	{"query q {\nwatch {\nevery soon\n}\n}", "every soon", 2},
	{"query q {\nwatch {\nkey id\nevery 1ms\n}\n}", "every 10ms", 1},
	{"query q {\nwatch {\nevery 1s\nevery 2s\n}\n}", "every twice", 2},
	{"query q {\nwatch {\ndebounce 0s\n}\n}", "debounce", 2},
	{"query q {\nwatch {\nmax_rows 0\n}\n}", "max_rows", 2},
	{"query q {\nwatch {\nkey id\nevery 1s\nmax_rows 1000001\n}\n}", "max_rows", 1},
	{"query q {\nwatch {\nspeed 3\n}\n}", "speed", 2},
	{"query q {\nwatch {\nkey id\nevery 1s\n}\nwatch {\n}\n}", "watch twice", 2},
	{"query q {\ntotal some\n}", "total some", 1},
	{"query q {\nmax_duration x\n}", "max_duration", 1},
	{"query q {\nallow\n}", "allow", 1},
	{"query q {\nallow role:\n}", "allow role:", 1},
	{"query q {\nbind x\n}", "bind", 1},
	{"query q {\nbind x {claims.team}\n}", "bind x {claims.team} {claim.NAME}", 1},
	{"query q {\nbind x {user.name}\n}", "bind x {user.name} {user}", 1},
	{"query q {\nbind x {Claim.team}\n}", "bind x {Claim.team}", 1},
	{"jwt {\nkey a\nuser_claim {env.CLAIM}\n}", "user_claim braces", 0},
	{"query q {\nparam x\n}", "param", 1},
	{"query q {\nparam x string\n}", "x string", 1},
	{"query q {\nparam 1x text\n}", "1x", 1},
	{"query q {\nparam x text\nparam x text\n}", "x twice", 1},
	{"query q {\nparam x text\nbind x {a}\n}", "x twice", 1},
	{"query q {\nparam x text {\nmax_length 0\n}\n}", "max_length", 2},
	{"query q {\nparam x integer {\nmax_length 5\n}\n}", "max_length", 1},
	{"query q {\nparam x integer {\nmin 5\nmax 4\n}\n}", "x min max", 1},
	{"query q {\nparam x integer {\nmin five\n}\n}", "x min", 1},
	{"query q {\nparam x integer {\nmin 1\nmin 2\n}\n}", "min twice", 2},
	{"query q {\nparam x integer {\ndefault five\n}\n}", "x default five", 1},
	{"query q {\nparam x text {\nenum\n}\n}", "enum", 2},
	{"query q {\nparam x text {\nlength 3\n}\n}", "length", 2},

	{"feed f {\nsource demo\n}", "feed f", 0},
	{"feed f {\ntable public.orders id\n}", "feed f source publish", 0},
	{"feed f {\ntable public.orders\n}", "table columns", 1},
	{"feed f {\ntable\n}", "table columns", 1},
	{"feed f {\ntable a b\ntable a b\n}", "table twice", 1},
	{"feed f {\nint64 float\n}", "int64 float", 1},
	{"feed f {\nsource main\npublish a\nint64 string\n}", "feed f table", 0},
	{"feed f {\nsource main\npublish a\ntable orders id id\n}", "feed f id twice", 0},
	{"feed f {\nsource main\npublish a/{row.tenant}\ntable orders id\n}", "feed f publish {row.tenant}", 0},
	{"feed f {\nsource main\npublish a\ntable orders id\nsql x\n}", "feed f either table", 0},
	{"feed f {\nsource main\npublish a\ntable orders id\nreplay 1s\n}", "feed f either table", 0},
	{"feed f {\nsource main\npublish a\nsql x\n}", "feed f replay", 0},
	{"feed f {\npublish $sys/x\n}", "publish", 1},
	{"feed f {\npublish a/{user}\n}", "publish {user}", 1},
	{"feed f {\nreplay never\n}", "replay", 1},
	{"feed f {\nreplay 1s 0\n}", "replay", 1},
	{"feed f {\nsource demo\nsql x\npublish a\nreplay 1s\n}\nfeed f {\nsource demo\nsql x\npublish a\nreplay 1s\n}", "feed f twice", 5},
}

// place is where an error says it is.
var place = regexp.MustCompile(`Caddyfile:(\d+)\b`)

// TestHubArgument: the hub is the directive's argument or its option; both must agree.
func TestHubArgument(t *testing.T) {
	for caddyfile, line := range map[string]string{
		":0 {\nneuroquantum_ws /ws live {\nmax_streams 5\nhub main\n}\n}\n": "Caddyfile:4",
		":0 {\nneuroquantum_ws /ws live main\n}\n":                          "Caddyfile:2",
		":0 {\nneuroquantum_ws /ws \"\"\n}\n":                               "Caddyfile:2",
	} {
		if _, err := adapt(caddyfile); err == nil || !strings.Contains(err.Error(), line) {
			t.Errorf("%s: got %v, want an error at %s", caddyfile, err, line)
		}
	}
}

func TestBadCaddyfilesAreRefused(t *testing.T) {
	for _, c := range badCaddyfiles {
		t.Run(strings.ReplaceAll(c.options, "\n", " "), func(t *testing.T) {
			caddyfile := ":0 {\nneuroquantum_ws {\n" + c.options
			line := strings.Count(caddyfile, "\n") + 1 - c.at
			_, err := adapt(caddyfile + "\n}\n}\n")
			if err == nil {
				t.Fatal("it is accepted")
			}
			for word := range strings.FieldsSeq(c.words) {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error does not say %q: %v", word, err)
				}
			}
			if named := place.FindStringSubmatch(err.Error()); named == nil || named[1] != strconv.Itoa(line) {
				t.Errorf("the error does not name line %d: %v", line, err)
			}
		})
	}
}
