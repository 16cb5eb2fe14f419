package neuroquantumws_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// block is a channel block as an operator reads it.
type block struct {
	pattern           string
	history, presence bool
	allow             map[string][]string // terms by verb
}

// person is who a client is.
type person struct {
	name   string // empty for an anonymous client
	roles  []string
	tenant string
}

var oracleBlocks = []block{
	{"secret/**", true, true, map[string][]string{
		"subscribe": {"role:admin"}, "publish": {"role:admin"}, "history": {"role:admin", "user:bob"}, "presence": {"role:admin"},
	}},
	{"users/{user}/**", true, true, map[string][]string{
		"subscribe": {"authenticated"}, "publish": {"role:device", "user:ann"}, "history": {"authenticated"}, "presence": {"authenticated"},
	}},
	{"tenants/{claim.tenant}/{user}/*", true, false, map[string][]string{"subscribe": {"anyone"}, "publish": {"anyone"}, "history": {"anyone"}}},
	{"tenants/{claim.tenant}/**", true, true, map[string][]string{
		"subscribe": {"anyone"}, "publish": {"role:admin"}, "history": {"anyone"}, "presence": {"anyone"},
	}},
	{"mail.{user}.*", false, true, map[string][]string{"subscribe": {"user:ann", "user:bob"}, "publish": {"authenticated"}}},
	{"closed/**", true, true, nil},
	{"**", true, true, map[string][]string{
		"subscribe": {"anyone"}, "publish": {"authenticated"}, "history": {"anyone"}, "presence": {"authenticated"},
	}},
}

var oraclePersons = []person{
	{}, {name: "ann", tenant: "blue"}, {name: "bob", roles: []string{"device"}, tenant: "red"},
	{name: "eve", roles: []string{"admin", "device"}, tenant: "blue"}, {name: "ann.x", tenant: "x/y"}, {name: "*", tenant: "*"}, {name: "**", tenant: "blue"},
	{name: "users/ann", tenant: ""},
}

var oracleChannels = []string{
	"secret", "secret/a", "secret/a/b", "users", "users/ann", "users/ann/a", "users/bob/a", "users/eve/a/b", "users/ann.x/a",
	"tenants/blue", "tenants/blue/a", "tenants/blue/ann/a", "tenants/blue/eve/a", "tenants/red/bob/a", "tenants/red/bob/a/b",
	"mail.ann.in", "mail.bob.in", "mail.ann", "closed", "closed/a", "open", "free/a", "free.a", "mail/ann/in",
}

var oraclePatterns = []string{
	"**", "*", "*/**", "**/a", "secret/**", "secret/*", "users/**", "users/*", "users/ann/**", "users/ann/*", "users/*/a", "users/bob/**",
	"users/ann.x/**", "tenants/**", "tenants/blue/**", "tenants/blue/ann/*", "tenants/*/ann/*", "tenants/red/bob/*", "tenants/blue/eve/**",
	"mail.ann.*", "mail.*.in", "mail.**", "closed/**", "free/*", "free.*", "users/*/*/*", "**/ann/**", "users/**/a",
}

// general is the block's pattern for everybody.
func (b block) general() string {
	return strings.NewReplacer("{user}", "*", "{claim.tenant}", "*").Replace(b.pattern)
}

// own is the block's pattern for one client; ok is false where there is none.
func (b block) own(who person) (pattern string, ok bool) {
	pattern = b.pattern
	for placeholder, value := range map[string]string{"{user}": who.name, "{claim.tenant}": who.tenant} {
		if !strings.Contains(b.pattern, placeholder) {
			continue
		}
		if value == "" || strings.ContainsAny(value, "/* ") || strings.HasPrefix(b.pattern, "mail.") && strings.Contains(value, ".") {
			return "", false
		}
		pattern = strings.ReplaceAll(pattern, placeholder, value)
	}
	return pattern, true
}

func (b block) meets(verb string, who person) bool {
	for _, term := range b.allow[verb] {
		role, isRole := strings.CutPrefix(term, "role:")
		if term == "anyone" || who.name != "" && (term == "authenticated" || term == "user:"+who.name || isRole && slices.Contains(who.roles, role)) {
			return true
		}
	}
	return false
}

// ruling is the block of a channel.
func ruling(channel string) block {
	for _, b := range oracleBlocks {
		if matches(b.general(), channel) {
			return b
		}
	}
	return block{}
}

// may is the oracle: may who do this with the channel?
func may(verb string, who person, channel string) bool {
	b := ruling(channel)
	own, ok := b.own(who)
	return b.meets(verb, who) && ok && matches(own, channel)
}

// universe are names enough to tell patterns apart.
var universe = func() (names []string) {
	words := []string{"secret", "users", "tenants", "mail", "closed", "ann", "bob", "eve", "blue", "a", "zzz"}
	for _, separator := range []string{"/", "."} {
		longest := words
		names = append(names, longest...)
		for range 3 {
			var next []string
			for _, name := range longest {
				for _, word := range words {
					next = append(next, name+separator+word)
				}
			}
			names = append(names, next...)
			longest = next
		}
	}
	return append(names, oracleChannels...)
}()

// contains tells whether all names of the universe that asked matches are matched by pattern.
func contains(pattern, asked string) bool {
	return !slices.ContainsFunc(universe, func(name string) bool { return matches(asked, name) && !matches(pattern, name) })
}

// mayAll is the oracle for patterns: one block must contain all of it, and be the client's own.
func mayAll(verb string, who person, asked string) bool {
	for _, b := range oracleBlocks {
		if contains(b.general(), asked) {
			own, ok := b.own(who)
			return b.meets(verb, who) && ok && contains(own, asked)
		}
	}
	return false
}

func oracleOptions() string {
	var out strings.Builder
	for _, b := range oracleBlocks {
		fmt.Fprintf(&out, "channel %s {\n", b.pattern)
		if b.history {
			out.WriteString("history 100\n")
		}
		if b.presence {
			out.WriteString("presence\n")
		}
		for verb, terms := range b.allow {
			fmt.Fprintf(&out, "allow %s %s\n", verb, strings.Join(terms, " "))
		}
		out.WriteString("}\n")
	}
	return out.String()
}

// as connects a person.
func (s *site) as(who person) *wstest.Client {
	s.t.Helper()
	if who.name == "" {
		return s.dial()
	}
	token := sign(s.t, jwt.SigningMethodHS256, []byte(secret), nil, claims(who.name, M{"roles": who.roles, "tenant": who.tenant}))
	return s.dialWith(http.Header{"Authorization": {"Bearer " + token}})
}

// agree holds an answer against the oracle.
func agree(t *testing.T, what string, answer wstest.Message, allowed bool) {
	t.Helper()
	refused := answer.Type() == "error" && answer.Text("code") == "FORBIDDEN"
	if refused == allowed || !refused && answer.Type() == "error" && answer.Text("code") != "HISTORY_UNAVAILABLE" {
		t.Errorf("%s: the oracle says %v, the answer is %v", what, allowed, answer)
	}
}

// TestRulesAgainstOracle: every person by every verb by every channel and pattern, live, by history and by recovery.
func TestRulesAgainstOracle(t *testing.T) {
	s := serve(t, withJWT("")+"rate_limit 100000\nmax_subscriptions 1000\n"+oracleOptions())
	for _, who := range oraclePersons {
		t.Run(who.name, func(t *testing.T) {
			s := s.in(t)
			var live []string // the patterns that it got
			for _, channel := range oracleChannels {
				c := s.as(who)
				b := ruling(channel)
				agree(t, "publish "+channel, c.Ask(M{"type": "publish", "channel": channel, "data": 1}), may("publish", who, channel))
				agree(t, "history "+channel, c.Ask(M{"type": "history", "channel": channel}), may("history", who, channel))
				agree(t, "presence "+channel, c.Ask(M{"type": "presence", "channel": channel}), b.presence && may("presence", who, channel))
				agree(t, "subscribe "+channel, c.Ask(M{"type": "subscribe", "channel": channel}), may("subscribe", who, channel))
				agree(t, "watch "+channel, c.Ask(M{"type": "subscribe", "channel": channel, "presence": true}),
					b.presence && may("subscribe", who, channel) && may("presence", who, channel))
				agree(t, "replay "+channel, c.Ask(M{"type": "subscribe", "channel": channel, "history": 1}), may("subscribe", who, channel))
				c.Close()
			}
			c := s.as(who)
			for _, pattern := range oraclePatterns {
				allowed := mayAll("subscribe", who, pattern)
				agree(t, "subscribe "+pattern, c.Ask(M{"type": "subscribe", "channel": pattern}), allowed)
				if allowed {
					live = append(live, pattern)
				}
			}
			heardAsOracle(t, s, who, c, live)
		})
	}
}

// heardAsOracle publishes to every channel, and holds what reaches the person, live and by either recovery, against the oracle.
func heardAsOracle(t *testing.T, s *site, who person, c *wstest.Client, live []string) {
	t.Helper()
	h := hubOf(t, "default")
	since := h.Position()
	mark := "mark " + who.name
	for _, channel := range append(slices.Clone(oracleChannels), "open") {
		if _, err := h.Publish(t.Context(), hub.Publication{Channel: channel, Data: []byte(fmt.Sprintf("%q", mark))}); err != nil {
			t.Fatal(err)
		}
	}
	// `open` is open to all, is published to last, and both times.
	want := make(map[string]int)
	kept := make(map[string]int)
	for _, channel := range append(slices.Clone(oracleChannels), "open") {
		if may("subscribe", who, channel) && slices.ContainsFunc(live, func(p string) bool { return matches(p, channel) }) {
			want[channel]++
			if ruling(channel).history {
				kept[channel]++
			}
		}
	}
	got := make(map[string]int)
	take := func(c *wstest.Client) map[string]int {
		clear(got)
		for got["open"] < 2 {
			if m := c.Next(); m.Type() == "channel_message" && m["data"] == mark {
				got[m.Text("channel")]++
			}
		}
		c.Ping()
		return got
	}
	if heard := take(c); !maps.Equal(heard, want) {
		t.Errorf("live: heard %v, want %v", heard, want)
	}
	for how, ask := range map[string]M{
		"since":   {"since": M{"epoch": since.Epoch, "offset": since.Offset}},
		"history": {"history": 2 * len(oracleChannels)},
	} {
		c := s.as(who)
		ask["type"], ask["channels"] = "subscribe", slices.DeleteFunc(slices.Clone(live), func(p string) bool {
			return how == "history" && strings.HasPrefix(p, "mail.") // keeps none
		})
		c.Send(ask)
		if heard := take(c); !maps.Equal(heard, kept) {
			t.Errorf("%s: heard %v, want %v", how, heard, kept)
		}
		c.Close()
	}
}
