package access

import (
	"slices"
	"testing"
)

func TestParseTerm(t *testing.T) {
	for _, text := range []string{"anyone", "authenticated", "user:ann", "user:a:b", "user: ", "role:device", "role:a:b"} {
		if term, err := ParseTerm(text); err != nil || string(term) != text {
			t.Errorf("%q: %q, %v", text, term, err)
		}
	}
	for _, text := range []string{"", "user:", "user", "Anyone", "anyone ", "nobody", "USER:ann", "*", "role:", "role", "Role:x"} {
		if term, err := ParseTerm(text); err == nil {
			t.Errorf("%q is %q", text, term)
		}
	}
}

func TestTermsAllow(t *testing.T) {
	anonymous, ann := Identity{}, Identity{User: "ann", Roles: []string{"device", "reader"}}
	bob := Identity{User: "bob", Roles: []string{"admin"}}
	tests := []struct {
		name                string
		terms               Terms
		anonymous, ann, bob bool
	}{
		{"nobody", nil, false, false, false},
		{"anyone", Terms{Anyone}, true, true, true},
		{"authenticated", Terms{Authenticated}, false, true, true},
		{"one user", Terms{"user:ann"}, false, true, false},
		{"either user", Terms{"user:ann", "user:bob"}, false, true, true},
		{"anyone last", Terms{"user:ann", Anyone}, true, true, true},
		{"a user without a name", Terms{"user:"}, false, false, false},
		{"a term that does not exist", Terms{"ann", "bob", ""}, false, false, false},
		{"part of a name", Terms{"user:an", "user:anna"}, false, false, false},
		{"a role", Terms{"role:device"}, false, true, false},
		{"one of her roles", Terms{"role:reader"}, false, true, false},
		{"a role or a user", Terms{"role:device", "user:bob"}, false, true, true},
		{"a role that is a user's name", Terms{"role:ann"}, false, false, false},
		{"a user whose name is a role", Terms{"user:admin"}, false, false, false},
		{"a role without a name", Terms{"role:"}, false, false, false},
		{"part of a role", Terms{"role:dev", "role:devices"}, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, who := range []struct {
				id   Identity
				want bool
			}{{anonymous, tt.anonymous}, {ann, tt.ann}, {bob, tt.bob}} {
				if got := tt.terms.Allow(&who.id); got != who.want {
					t.Errorf("%q is allowed: %v", who.id.User, got)
				}
			}
		})
	}
}

// Roles that a token gives without a user are worth nothing.
func TestAnonymousClientsHaveNoRoles(t *testing.T) {
	if (Terms{"role:device"}).Allow(&Identity{Roles: []string{"device"}}) {
		t.Error("an anonymous client has a role")
	}
}

// TestUserNamesAreNoTerms: a client may be called what it likes.
func TestUserNamesAreNoTerms(t *testing.T) {
	for _, name := range []string{"anyone", "authenticated", "user:ann", "ann ", "role:admin"} {
		if (Terms{"user:ann"}).Allow(&Identity{User: name}) {
			t.Errorf("%q is taken for ann", name)
		}
	}
}

func TestRulesAdd(t *testing.T) {
	of := map[string]func(Rules) Terms{
		"subscribe": func(r Rules) Terms { return r.Subscribe },
		"publish":   func(r Rules) Terms { return r.Publish },
		"history":   func(r Rules) Terms { return r.History },
	}
	for verb, terms := range of {
		var r Rules
		for _, term := range []Term{"user:ann", Authenticated, "user:ann"} {
			if !r.Add(verb, term) {
				t.Fatalf("%s is no verb", verb)
			}
		}
		if got := terms(r); !slices.Equal(got, Terms{"user:ann", Authenticated}) {
			t.Errorf("%s: %q", verb, got)
		}
		for other, terms := range of {
			if other != verb && len(terms(r)) != 0 {
				t.Errorf("to %s allows to %s", verb, other)
			}
		}
	}
	for _, verb := range Verbs {
		if !new(Rules).Add(verb, Anyone) {
			t.Errorf("%s is listed and no verb", verb)
		}
	}
	var r Rules
	for _, verb := range []string{"", "Subscribe", "write"} {
		if r.Add(verb, Anyone) {
			t.Errorf("%q is a verb", verb)
		}
	}
}

func TestOpen(t *testing.T) {
	for _, terms := range []Terms{Open.Subscribe, Open.Publish, Open.History} {
		if !terms.Allow(Anonymous) {
			t.Error("an anonymous client is kept out")
		}
	}
}
