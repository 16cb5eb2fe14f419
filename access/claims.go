package access

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// MaxUserBytes is how long a user's name may be.
const MaxUserBytes = 256

// ValidUser reports whether a user may have this name: UTF-8 without control characters or invisible ones (see [protocol.IsInvisible]), and
// without a part . or .. between slashes, which servers and proxies take out of the path of an HTTP request.
func ValidUser(name string) bool {
	if name == "" || len(name) > MaxUserBytes || !utf8.ValidString(name) {
		return false
	}
	if strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || protocol.IsInvisible(r) }) {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	return true
}

// lookup finds a claim by its name, or where there is none, by the names of the objects that lead to it, with dots between.
func lookup(claims map[string]any, name string) any {
	if value, ok := claims[name]; ok {
		return value
	}
	var at any = claims
	for part := range strings.SplitSeq(name, ".") {
		object, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = object[part]
	}
	return at
}

// maxExponent is the largest exponent of a number whose text is used.
const maxExponent = 300

// canonical returns the one spelling of a number: 42 for 42, 42.0 and 4.2e1, so that one number names one channel.
func canonical(number json.Number) string {
	text := number.String()
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			return "0"
		}
		return text
	}
	if _, exponent, found := strings.Cut(strings.ToLower(text), "e"); found {
		if n, err := strconv.Atoi(exponent); err != nil || n > maxExponent || n < -maxExponent {
			return ""
		}
	}
	exact, ok := new(big.Rat).SetString(text)
	if !ok {
		return ""
	}
	if exact.IsInt() {
		return exact.Num().String()
	}
	f, _ := exact.Float64()
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// ClaimText returns the text of a claim as [Identity] keeps it: a string, a number in its canonical form, or a boolean; of all else it is
// empty. claim is a value that encoding/json has decoded, with numbers as json.Number.
func ClaimText(claim any) string {
	switch value := claim.(type) {
	case string:
		return value
	case json.Number:
		return canonical(value)
	case bool:
		return strconv.FormatBool(value)
	}
	return ""
}

// rolesOf reads an array of strings, or a string of names with spaces between.
func rolesOf(claim any) []string {
	switch value := claim.(type) {
	case string:
		return strings.Fields(value)
	case []any:
		var roles []string
		for _, item := range value {
			if role, ok := item.(string); ok && role != "" {
				roles = append(roles, role)
			}
		}
		return roles
	}
	return nil
}

// lastSecond is the last that a timestamp of the protocol can tell: 9999-12-31T23:59:59Z.
const lastSecond = 253402300799

// timeOf reads seconds since 1970; the zero time where there are none. What lies beyond the year 9999 is cut to its end.
func timeOf(claim any) (t time.Time, ok bool) {
	if claim == nil {
		return time.Time{}, true
	}
	number, ok := claim.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := number.Float64()
	if err != nil || math.IsNaN(seconds) || seconds < 0 {
		return time.Time{}, false
	}
	return time.Unix(int64(min(seconds, lastSecond)), 0), true
}
