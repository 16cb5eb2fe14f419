package neuroquantumws

import (
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
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

// bindParams gives the values of query parameters that the configuration takes from the request and from who the client is, by query and
// parameter: what the request says is read now, who the client is each time it is asked.
func (h *Handler) bindParams(repl *caddy.Replacer) func(*access.Identity) map[string]map[string]string {
	bound := make(map[string]map[string][]segment)
	for name, q := range h.Query {
		for _, p := range q.Param {
			if p.Bind == "" {
				continue
			}
			if bound[name] == nil {
				bound[name] = make(map[string][]segment)
			}
			bound[name][p.Name] = expand(repl, parseText(p.Bind))
		}
	}
	if len(bound) == 0 {
		return nil
	}
	return func(id *access.Identity) map[string]map[string]string {
		values := make(map[string]map[string]string, len(bound))
		for query, params := range bound {
			values[query] = make(map[string]string, len(params))
			for param, parts := range params {
				values[query][param] = render(parts, id)
			}
		}
		return values
	}
}
