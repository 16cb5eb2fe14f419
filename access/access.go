// Package access says who a client is and what it may do.
package access

import (
	"fmt"
	"slices"
	"strings"
)

// Identity is who a client is. The zero Identity is an anonymous client.
type Identity struct {
	User string // empty for an anonymous client
}

// Term is one of the terms under which something is allowed.
type Term string

// The terms without an argument; TermUser takes the user's name behind it.
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
	case strings.HasPrefix(text, userPrefix) && len(text) > len(userPrefix):
		return Term(text), nil
	case strings.HasPrefix(text, rolePrefix):
		return "", fmt.Errorf("%q: roles need token authentication, which this version does not have", text)
	}
	return "", fmt.Errorf("%q: use anyone, authenticated or user:NAME", text)
}

// Terms are alternatives: one that holds is enough. None allow nobody.
type Terms []Term

// Allow tells whether any of the terms holds for the client.
func (t Terms) Allow(id Identity) bool {
	for _, term := range t {
		switch {
		case term == Anyone:
			return true
		case id.User == "":
		case term == Authenticated, string(term) == userPrefix+id.User:
			return true
		}
	}
	return false
}

// Rules say who may do what with a channel.
type Rules struct {
	Subscribe Terms
	Publish   Terms
	History   Terms
	Presence  Terms
}

// Open are the rules of a hub without any channel block: anyone may do anything.
var Open = Rules{Subscribe: Terms{Anyone}, Publish: Terms{Anyone}, History: Terms{Anyone}, Presence: Terms{Anyone}}

// Verbs are what can be allowed of a channel.
var Verbs = []string{"subscribe", "publish", "history", "presence"}

// Add allows a verb under one more term. It tells whether the verb exists.
func (r *Rules) Add(verb string, term Term) bool {
	var terms *Terms
	switch verb {
	case "subscribe":
		terms = &r.Subscribe
	case "publish":
		terms = &r.Publish
	case "history":
		terms = &r.History
	case "presence":
		terms = &r.Presence
	default:
		return false
	}
	if !slices.Contains(*terms, term) {
		*terms = append(*terms, term)
	}
	return true
}
