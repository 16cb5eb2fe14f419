package neuroquantumws

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
)

// segment is a piece of a text of the configuration: a placeholder for something of the client (user, claim.NAME), or text in which only
// Caddy's placeholders may stand.
type segment struct {
	text        string
	placeholder string // without its braces; empty for text
}

// parseText takes a text apart at the placeholders for the client. That is done before any of Caddy's is replaced: what a request puts
// in their places must not be read as a placeholder again.
func parseText(text string) []segment {
	var parts []segment
	plain := ""
	for {
		before, behind, found := strings.Cut(text, "{")
		name, after, closed := strings.Cut(behind, "}")
		if !found || !closed {
			return append(parts, segment{text: plain + text})
		}
		if plain += before; access.IsPlaceholder(name) {
			parts, plain = append(parts, segment{text: plain}, segment{placeholder: name}), ""
			text = after
			continue
		}
		plain += "{"
		text = behind
	}
}

// clientPlaceholders are those for the client in a text.
func clientPlaceholders(text string) (names []string) {
	for _, part := range parseText(text) {
		if part.placeholder != "" {
			names = append(names, part.placeholder)
		}
	}
	return names
}

// nearPlaceholders begin the names that are easily taken for those of the client.
var nearPlaceholders = []string{"claim", "claims", "user", "users", "token", "jwt"}

// checkPlaceholders refuses what looks like a placeholder for the client and is none, such as {claims.team}. It cannot know all of
// Caddy's: map defines some.
func checkPlaceholders(text string) error {
	for _, name := range directive.Placeholders(text) {
		first, _, dotted := strings.Cut(strings.ToLower(name), ".")
		if slices.Contains(nearPlaceholders, first) && (dotted || first == "claim" || first == "claims") && !access.IsPlaceholder(name) {
			return fmt.Errorf("there is no placeholder {%s}: use {user} or {claim.NAME}", name)
		}
	}
	return nil
}

// checkUser refuses a user that is the same for every client, as user X-User would be.
func checkUser(text string) error {
	if len(directive.Placeholders(text)) == 0 {
		return fmt.Errorf("%q has no placeholder, so every client would be the same user: use one such as {http.request.header.X-User}", text)
	}
	if i := slices.IndexFunc(clientPlaceholders(text), func(name string) bool { return access.ClaimOf(name) != "" }); i >= 0 {
		return errors.New("a claim names the client of a token already: use a placeholder of Caddy's, or user_claim in jwt")
	}
	return checkPlaceholders(text)
}

// checkTexts checks the texts whose placeholders are replaced for each client.
func (h *Handler) checkTexts() error {
	check := func(text string) error { return cmp.Or(checkPlaceholders(text), directive.CheckResolved(text)) }
	if err := cmp.Or(checkUser(h.User), directive.CheckResolved(h.User)); err != nil {
		return fmt.Errorf("user: %w", err)
	}
	for name, text := range h.Metadata {
		if err := check(text); err != nil {
			return fmt.Errorf("metadata %s: %w", name, err)
		}
	}
	for name, q := range h.Query {
		for _, p := range q.Param {
			if err := check(p.Bind); err != nil {
				return fmt.Errorf("query %s: bind %s: %w", name, p.Name, err)
			}
		}
	}
	return nil
}

// expand replaces Caddy's placeholders by what the request at hand gives.
func expand(repl *caddy.Replacer, parts []segment) []segment {
	out := make([]segment, len(parts))
	for i, part := range parts {
		out[i] = part
		if part.placeholder == "" {
			out[i].text = repl.ReplaceAll(part.text, "")
		}
	}
	return out
}

// render joins expanded parts for a client. It is empty where a placeholder for the client stands for nothing.
func render(parts []segment, id *access.Identity) string {
	var out strings.Builder
	for _, part := range parts {
		if part.placeholder == "" {
			out.WriteString(part.text)
			continue
		}
		value := id.Value(part.placeholder)
		if value == "" {
			return ""
		}
		out.WriteString(value)
	}
	return out.String()
}

// boundParams are the texts of the query parameters whose values clients cannot set, by query and parameter.
func (h *Handler) boundParams() map[string]map[string][]segment {
	bound := make(map[string]map[string][]segment)
	for name, q := range h.Query {
		for _, p := range q.Param {
			if p.Bind == "" {
				continue
			}
			if bound[name] == nil {
				bound[name] = make(map[string][]segment)
			}
			bound[name][p.Name] = parseText(p.Bind)
		}
	}
	return bound
}

// readBound returns the texts of bound parameters that have placeholders of Caddy, with the values that the request gives them. Nothing else
// of the request is kept for them.
func (h *Handler) readBound(repl *caddy.Replacer) map[string]string {
	var read map[string]string
	for _, params := range h.boundParams() {
		for _, parts := range params {
			for _, part := range parts {
				if !strings.Contains(part.text, "{") {
					continue
				}
				if read == nil {
					read = make(map[string]string)
				}
				read[part.text] = repl.ReplaceAll(part.text, "")
			}
		}
	}
	return read
}

// bindParams returns a function that computes the values of bound parameters for a client. read is the result of readBound for its upgrade
// request, perhaps of an earlier configuration: a text with placeholders that was not read then is an empty value. It returns nil if there
// are no bound parameters.
func (h *Handler) bindParams() func(read map[string]string, id *access.Identity) map[string]map[string]string {
	bound := h.boundParams()
	if len(bound) == 0 {
		return nil
	}
	return func(read map[string]string, id *access.Identity) map[string]map[string]string {
		values := make(map[string]map[string]string, len(bound))
		for query, params := range bound {
			values[query] = make(map[string]string, len(params))
			for param, parts := range params {
				if parts, known := asRead(read, parts); known {
					values[query][param] = render(parts, id)
				}
			}
		}
		return values
	}
}

// asRead replaces Caddy's placeholders by what was read of a request. It reports false where that does not have all of them.
func asRead(read map[string]string, parts []segment) (out []segment, known bool) {
	out = make([]segment, len(parts))
	for i, part := range parts {
		out[i] = part
		if strings.Contains(part.text, "{") {
			if out[i].text, known = read[part.text]; !known {
				return nil, false
			}
		}
	}
	return out, true
}
