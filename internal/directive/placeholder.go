package directive

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

var placeholder = regexp.MustCompile(`\{([A-Za-z_][^{}"\s]*)\}`)

// Placeholders returns the names of the placeholders in a text, without their braces.
func Placeholders(text string) (names []string) {
	for _, found := range placeholder.FindAllStringSubmatch(text, -1) {
		names = append(names, found[1])
	}
	return names
}

// CheckResolved returns an error if a text, whose placeholders are replaced for each request, has one that is empty for all of them: an
// environment variable that is not set, or a file that is empty or missing. It is to be called when a configuration loads.
func CheckResolved(text string) error {
	repl := caddy.NewReplacer()
	for _, name := range Placeholders(text) {
		if !strings.HasPrefix(name, "env.") && !strings.HasPrefix(name, "file.") {
			continue
		}
		if value, _ := repl.GetString(name); value == "" {
			return fmt.Errorf("{%s} is empty", name)
		}
	}
	return nil
}

// CheckName returns an error if a name that is read as it is holds a placeholder.
func CheckName(name string) error {
	if found := Placeholders(name); found != nil {
		return fmt.Errorf("{%s}: placeholders are not replaced here", found[0])
	}
	return nil
}
