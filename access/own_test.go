package access

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func TestParsePattern(t *testing.T) {
	for _, test := range []struct{ text, general, placeholders string }{
		{"users/{user}/**", "users/*/**", "user"},
		{"users/{user}", "users/*", "user"},
		{"{user}", "*", "user"},
		{"{user}.inbox", "*.inbox", "user"},
		{"tenants.{claim.tenant}.**", "tenants.*.**", "claim.tenant"},
		{"t/{claim.realm.tenant}/{user}/*", "t/*/*/*", "claim.realm.tenant user"},
		{"a.b/{claim.x}", "a.b/*", "claim.x"},
		{"{user}/{user}", "*/*", "user user"},
		{"plain/**", "plain/**", ""},
	} {
		general, own, err := ParsePattern(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if general.String() != test.general || strings.Join(own.Placeholders(), " ") != test.placeholders {
			t.Errorf("%s: %s with %q", test.text, general, own.Placeholders())
		}
	}
	for _, text := range []string{
		"", "users/{user", "users/user}", "{}", "{name}", "{claim.}", "{claim}", "{http.auth.user.id}/x", "u{user}", "{user}x",
		"{user}{user}", "*{user}", "{user}*", "users/{user}{claim.x}/**", "{user}//x", "{user}/temp*", "a.{user}/b", "{ user }",
		"{{user}}", "{user}}",
	} {
		if general, _, err := ParsePattern(text); err == nil {
			t.Errorf("%q is %s", text, general)
		}
	}
}

func TestOwn(t *testing.T) {
	ann := &Identity{User: "ann", Claims: map[string]string{"tenant": "blue", "mail": "ann@example.com", "deep.er": "x"}}
	for _, test := range []struct {
		pattern, channel string
		own              bool
	}{
		{"users/{user}/**", "users/ann/inbox", true},
		{"users/{user}/**", "users/ann", true},
		{"users/{user}/**", "users/bob/inbox", false},
		{"users/{user}/**", "users/ann2", false},
		{"users/{user}/**", "users/bob/ann", false},
		{"users/{user}/**", "users/ANN", false},
		{"{claim.tenant}/{user}", "blue/ann", true},
		{"{claim.tenant}/{user}", "ann/blue", false},
		{"{claim.none}/**", "/**", false},
		{"m/{claim.mail}", "m/ann@example.com", true},
		{"m.{claim.mail}", "m.ann@example.com", false},
		{"{claim.deep.er}.a", "x.a", true},
		{"**/{user}/**", "a/b/ann/c", true},
		{"**/{user}/**", "a/b/bob/c", false},
		{"{user}", "ann", true},
		{"{user}", "bob", false},
		{"plain", "plain", true},
	} {
		_, own, err := ParsePattern(test.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := own.Holds(ann, test.channel); got != test.own {
			t.Errorf("%s holds %s: %v", test.pattern, test.channel, got)
		}
		if own.Holds(Anonymous, test.channel) && len(own.Placeholders()) > 0 {
			t.Errorf("%s holds %s for nobody", test.pattern, test.channel)
		}
	}
}

// TestStrangeNamesOwnNothing: what a client is called must not reach beyond its segment.
func TestStrangeNamesOwnNothing(t *testing.T) {
	_, own, err := ParsePattern("users/{user}/**")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "*", "**", "a/b", "bob/**", " ", "a b", "a\x00", "\n", "a\u2003", "\xff", "bob*"} {
		for _, text := range []string{"users/bob/x", "users/**", "users/*/x", "users/a/b/x", "users/**/x"} {
			q, err := protocol.ParsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			if own.HoldsAll(&Identity{User: name}, q, protocol.NewWork(protocol.MaxWork)) || !q.IsPattern() && own.Holds(&Identity{User: name}, text) {
				t.Errorf("%q owns %s", name, text)
			}
		}
	}
}

func TestOwnAllocatesNothing(t *testing.T) {
	_, own, err := ParsePattern("users/{user}/{claim.tenant}/**")
	if err != nil {
		t.Fatal(err)
	}
	ann := &Identity{User: "ann", Claims: map[string]string{"tenant": "blue"}}
	if n := testing.AllocsPerRun(100, func() {
		if !own.Holds(ann, "users/ann/blue/7") || own.Holds(ann, "users/ann/red/7") {
			t.Fatal("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// segmentsOf splits a name or pattern as the protocol says.
func segmentsOf(text string) (segments []string, separator string) {
	for _, separator := range []string{"/", "."} {
		if strings.Contains(text, separator) {
			return strings.Split(text, separator), separator
		}
	}
	return []string{text}, ""
}

// naiveMatch is the definition of matching, without any cleverness.
func naiveMatch(pattern, name string) bool {
	p, ps := segmentsOf(pattern)
	n, ns := segmentsOf(name)
	return (ps == "" || ns == "" || ps == ns) && naiveSegments(p, n)
}

func naiveSegments(p, n []string) bool {
	switch {
	case len(p) == 0:
		return len(n) == 0
	case p[0] == "**":
		return naiveSegments(p[1:], n) || len(n) > 0 && naiveSegments(p, n[1:])
	case len(n) == 0:
		return false
	}
	return (p[0] == "*" || p[0] == n[0]) && naiveSegments(p[1:], n[1:])
}

// allNames are all names of up to three segments over an alphabet that has more than any pattern can name.
func allNames() []string {
	alphabet := []string{"a", "b", "ann", "bob", "z"}
	var all, longest []string
	for _, separator := range []string{"/", "."} {
		longest = append(longest[:0:0], alphabet...)
		all = append(all, longest...)
		for range 3 {
			var next []string
			for _, name := range longest {
				for _, segment := range alphabet {
					next = append(next, name+separator+segment)
				}
			}
			longest = next
			all = append(all, longest...)
		}
	}
	return all
}

// checkOwn holds Own against writing the client's name into the pattern and trying every name.
func checkOwn(t interface{ Fatalf(string, ...any) }, names []string, block, asked, user string) {
	general, own, err := ParsePattern(block)
	if err != nil {
		return
	}
	q, err := protocol.ParsePattern(asked)
	if err != nil || !general.Contains(q, protocol.NewWork(protocol.MaxWork)) {
		return // another block rules it, or none
	}
	id := &Identity{User: user}
	filled := strings.ReplaceAll(block, "{user}", user)
	_, separator := segmentsOf(general.String())
	valid := user != "" && !strings.ContainsAny(user, "/* \x00") && (separator == "/" || !strings.Contains(user, "."))
	if len(own.Placeholders()) == 0 {
		filled, valid = block, true
	}
	all := own.HoldsAll(id, q, protocol.NewWork(protocol.MaxWork))
	for _, name := range names {
		if !naiveMatch(asked, name) {
			continue
		}
		want := valid && naiveMatch(filled, name)
		if naiveMatch(general.String(), name) && own.Holds(id, name) != want {
			t.Fatalf("%q owns %s of %s: %v", user, name, block, !want)
		}
		if all && !want {
			t.Fatalf("%q may have all of %s by %s, but not %s", user, asked, block, name)
		}
	}
}

func drawOf(t *rapid.T, label string, alphabet ...string) string {
	separator := rapid.SampledFrom([]string{"/", "."}).Draw(t, label+" separator")
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(alphabet), 1, 4).Draw(t, label), separator)
}

func TestOwnAgainstOracle(t *testing.T) {
	names := allNames()
	rapid.Check(t, func(t *rapid.T) {
		block := drawOf(t, "block", "a", "*", "**", "{user}")
		asked := drawOf(t, "asked", "a", "ann", "bob", "*", "**")
		user := rapid.SampledFrom([]string{"ann", "bob", "a", "", "*", "**", "a/b", "a.b"}).Draw(t, "user")
		checkOwn(t, names, block, asked, user)
	})
}

// TestOwnIsAllOfIt: what is asked with the client's own name in the placeholder's place is allowed.
func TestOwnIsAllOfIt(t *testing.T) {
	for block, asked := range map[string][]string{
		"users/{user}/**":     {"users/ann/**", "users/ann/*", "users/ann/x/*", "users/ann"},
		"{claim.t}/{user}/**": {"blue/ann/**", "blue/ann/*/x"},
		"**/{user}":           {"**/ann", "ann", "x/*/ann"},
	} {
		_, own, err := ParsePattern(block)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range asked {
			q, err := protocol.ParsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			if !own.HoldsAll(&Identity{User: "ann", Claims: map[string]string{"t": "blue"}}, q, protocol.NewWork(protocol.MaxWork)) {
				t.Errorf("%s does not hold %s", block, text)
			}
			if own.HoldsAll(&Identity{User: "bob", Claims: map[string]string{"t": "blue"}}, q, protocol.NewWork(protocol.MaxWork)) {
				t.Errorf("%s holds %s for bob", block, text)
			}
		}
	}
}

func FuzzOwn(f *testing.F) {
	f.Add("users/{user}/**", "users/ann/*", "ann")
	f.Add("**/{user}", "**/a", "a")
	f.Add("{user}.{user}", "a.*", "*")
	f.Add("a/{user}", "a/*", "a/b")
	names := allNames()
	f.Fuzz(func(t *testing.T, block, asked, user string) {
		if strings.Count(block, "**") > 4 || strings.Count(asked, "**") > 4 || !strings.Contains(block, "{user}") || len(user) > 10 {
			return
		}
		if strings.Contains(block, "{claim.") {
			return
		}
		// The oracle's idea of what a user may be called covers plain text.
		for _, r := range user {
			if r < ' ' || r > '~' {
				return
			}
		}
		checkOwn(t, names, block, asked, user)
	})
}
