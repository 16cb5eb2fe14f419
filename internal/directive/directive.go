// Package directive reads the options of Caddyfile directives and blocks: each option once, with arguments of known types, and with errors
// that name the line, the option and the value.
package directive

import (
	"math"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// Options reads a block at the dispenser's nesting. Each option may occur once, unless it is listed as repeatable. The function option
// reads one option and reports whether it exists.
func Options(d *caddyfile.Dispenser, option func(d *caddyfile.Dispenser, name string) (bool, error), repeatable ...string) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if seen[name] && !slices.Contains(repeatable, name) {
			return d.Errf("%s is given twice", name)
		}
		seen[name] = true
		known, err := option(d, name)
		switch {
		case err != nil:
			return err
		case !known:
			return d.Errf("unknown option %s", name)
		}
	}
	return nil
}

// Argument reads one argument. It returns the reason why the value is not valid, without naming the option or the value, or an
// empty string.
type Argument func(value string) string

// Args reads exactly these arguments of the option that the dispenser is at.
func Args(d *caddyfile.Dispenser, want ...Argument) error { return OptionalArgs(d, len(want), want...) }

// OptionalArgs reads these arguments. Those after the first least may be left out.
func OptionalArgs(d *caddyfile.Dispenser, least int, want ...Argument) error {
	option := d.Val()
	given := d.RemainingArgs()
	if len(given) < least || len(given) > len(want) {
		return d.Errf("%s: wrong number of arguments", option)
	}
	for i, value := range given {
		if wrong := want[i](value); wrong != "" {
			return d.Errf("%s: %q %s", option, value, wrong)
		}
	}
	return nil
}

// List reads one or more arguments, none of them empty.
func List(d *caddyfile.Dispenser, to *[]string) error {
	option := d.Val()
	*to = d.RemainingArgs()
	if len(*to) == 0 || slices.Contains(*to, "") {
		return d.Errf("%s: give at least one argument, and none that is empty", option)
	}
	return nil
}

// Block refuses arguments before a block, as in `stream {`.
func Block(d *caddyfile.Dispenser) error {
	if option := d.Val(); d.NextArg() {
		return d.Errf("%s: takes a block and no arguments", option)
	}
	return nil
}

// Text takes any text but an empty one.
func Text(to *string) Argument {
	return func(value string) string {
		*to = value
		if value == "" {
			return "must not be empty"
		}
		return ""
	}
}

// Name takes a text that is used as it is: one that is empty or holds a placeholder is refused.
func Name(to *string) Argument {
	return func(value string) string {
		if CheckName(value) != nil {
			return "must not hold placeholders"
		}
		return Text(to)(value)
	}
}

// OneOf takes one of these words.
func OneOf[T ~string](to *T, words ...T) Argument {
	return func(value string) string {
		*to = T(value)
		if slices.Contains(words, *to) {
			return ""
		}
		text := "must be "
		for i, word := range words {
			switch {
			case i == 0:
			case i == len(words)-1:
				text += " or "
			default:
				text += ", "
			}
			text += string(word)
		}
		return text
	}
}

// Integer takes an integer from 1 to 2³¹-1.
func Integer(to *int) Argument {
	return func(value string) string {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > math.MaxInt32 {
			return "must be a positive integer"
		}
		*to = n
		return ""
	}
}

// IntegerUpTo takes an integer from 1 to most.
func IntegerUpTo(to *int, most int) Argument {
	return func(value string) string {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > most {
			return "must be a number from 1 to " + strconv.Itoa(most)
		}
		*to = n
		return ""
	}
}

// Positive takes a number above 0.
func Positive(to *float64) Argument {
	return func(value string) string {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || !(n > 0) || math.IsInf(n, 0) {
			return "must be a positive number"
		}
		*to = n
		return ""
	}
}

// Size takes a number of bytes above 0, such as 64KiB.
func Size(to *int64) Argument { return SizeUpTo(to, math.MaxInt64) }

// SizeUpTo takes a number of bytes from 1 to most.
func SizeUpTo(to *int64, most int64) Argument {
	return func(value string) string {
		n, err := humanize.ParseBytes(value)
		switch {
		case err != nil || n < 1 || n > math.MaxInt64:
			return "must be a size, such as 64KiB"
		case n > uint64(most):
			return "must be a size of at most " + humanize.IBytes(uint64(most))
		}
		*to = int64(n)
		return ""
	}
}

// Duration takes a duration above 0, such as 30s.
func Duration(to *caddy.Duration) Argument {
	return func(value string) string {
		n, err := caddy.ParseDuration(value)
		if err != nil || n <= 0 {
			return "must be a positive duration, such as 30s"
		}
		*to = caddy.Duration(n)
		return ""
	}
}
