package httpapi

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// userPlaceholder stands for the name of the user that a query runs for.
const userPlaceholder = "{user}"

// header is one line that every request bears.
type header struct {
	name  string   // canonical
	parts []string // the value, taken apart at {user}
}

// compileHeader replaces the placeholders of the configuration.
func compileHeader(configured http.Header, repl *caddy.Replacer) ([]header, error) {
	var all []header
	for name, values := range configured {
		for _, value := range values {
			h := header{http.CanonicalHeaderKey(name), strings.Split(value, userPlaceholder)}
			for i, part := range h.parts {
				text, err := repl.ReplaceOrErr(part, true, true)
				if err != nil {
					return nil, fmt.Errorf("header %s: %w", name, err)
				}
				h.parts[i] = text
			}
			if err := checkHeader(name, strings.Join(h.parts, "")); err != nil {
				return nil, err
			}
			all = append(all, h)
		}
	}
	return all, nil
}

// setHeader sets the configured lines in a request for a user. A name that could end the line, or that would come out as another, is
// refused with FORBIDDEN.
func setHeader(to http.Header, lines []header, user string) error {
	set := make(map[string]bool, len(lines))
	for _, h := range lines {
		if len(h.parts) > 1 && !fitsHeader(user) {
			return protocol.Errorf(protocol.Forbidden, "this query is not for you")
		}
		if !set[h.name] {
			to.Del(h.name)
			set[h.name] = true
		}
		to[h.name] = append(to[h.name], strings.Join(h.parts, user))
	}
	return nil
}

// fitsHeader tells whether a name comes out of a header as it went in: white space around it is cut off on the way.
func fitsHeader(user string) bool {
	return utf8.ValidString(user) && strings.TrimSpace(user) == user && !strings.ContainsFunc(user, unicode.IsControl)
}

var token = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// managed are the headers that the requests have of themselves.
var managed = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Accept-Encoding": true, "Trailer": true,
	"Upgrade": true, "Te": true, "Expect": true,
}

func checkHeader(name, value string) error {
	switch {
	case !token.MatchString(name):
		return fmt.Errorf("%q is no name of a header", name)
	case managed[http.CanonicalHeaderKey(name)]:
		return fmt.Errorf("the header %s cannot be set", name)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return fmt.Errorf("the value of the header %s holds control characters", name) // and may be a secret
	}
	return nil
}
