// Package access says who a client is and what it may do: identities and where they come from (tokens, tickets), terms, and the rules of
// channels.
package access

import (
	"fmt"
	"slices"
	"strings"
)

// Term is one of the terms under which something is allowed.
type Term string

// The terms without an argument; the others take the name of a user or of a role behind them.
const (
	Anyone        Term = "anyone"
	Authenticated Term = "authenticated"
	userPrefix         = "user:"
	rolePrefix         = "role:"
)

// ParseTerm checks a term of the configuration. Its error is for the operator.
func ParseTerm(text string) (Term, error) {
	switch {
	case text == string(Anyone), text == string(Authenticated):
		return Term(text), nil
	case strings.Contains(text, "{") && strings.Contains(text, "}"):
		return "", fmt.Errorf("%q: placeholders are not replaced in a term; a channel of a user's own is one with {user} in its pattern", text)
	case strings.HasPrefix(text, userPrefix) && len(text) > len(userPrefix),
		strings.HasPrefix(text, rolePrefix) && len(text) > len(rolePrefix):
		return Term(text), nil
	}
	return "", fmt.Errorf("%q: use anyone, authenticated, user:NAME or role:NAME", text)
}

// Terms are alternatives: one that holds is enough. None allow nobody.
type Terms []Term

// Allow tells whether any of the terms holds for the client.
func (t Terms) Allow(id *Identity) bool {
	for _, term := range t {
		if term == Anyone {
			return true
		}
		if id.User == "" {
			continue
		}
		if term == Authenticated {
			return true
		}
		if name, ok := strings.CutPrefix(string(term), userPrefix); ok && name == id.User {
			return true
		}
		if name, ok := strings.CutPrefix(string(term), rolePrefix); ok && slices.Contains(id.Roles, name) {
			return true
		}
	}
	return false
}

// Verb is what can be allowed of a channel.
type Verb uint8

// The verbs.
const (
	Subscribe Verb = iota
	Publish
	History
	Presence
)

// Verbs are their names in the configuration, in the order of their numbers.
var Verbs = []string{"subscribe", "publish", "history", "presence"}

// String is the verb's name.
func (v Verb) String() string { return Verbs[v] }

// Rules say who may do what with a channel.
type Rules struct {
	Subscribe Terms
	Publish   Terms
	History   Terms
	Presence  Terms
}

// Open are the rules of a hub without any channel block: anyone may do anything.
var Open = Rules{Subscribe: Terms{Anyone}, Publish: Terms{Anyone}, History: Terms{Anyone}, Presence: Terms{Anyone}}

// of gives the terms of a verb.
func (r *Rules) of(v Verb) *Terms {
	switch v {
	case Subscribe:
		return &r.Subscribe
	case Publish:
		return &r.Publish
	case History:
		return &r.History
	default:
		return &r.Presence
	}
}

// Allow tells whether the client meets a term of the verb.
func (r *Rules) Allow(v Verb, id *Identity) bool { return r.of(v).Allow(id) }

// Add allows a verb under one more term. It tells whether the verb exists.
func (r *Rules) Add(verb string, term Term) bool {
	v := slices.Index(Verbs, verb)
	if v < 0 {
		return false
	}
	if terms := r.of(Verb(v)); !slices.Contains(*terms, term) {
		*terms = append(*terms, term)
	}
	return true
}
