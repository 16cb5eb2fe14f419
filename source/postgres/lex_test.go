package postgres

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestRewrite(t *testing.T) {
	for text, want := range map[string]string{
		"select @a":                          "select $1",
		"select @a, @b, @a":                  "select $1, $2, $1",
		"select @a::int, @a_1, (@b)":         "select $1::int, $2, ($3)",
		"select '@a', @b":                    "select '@a', $1",
		"select 'it''s @a', @b":              "select 'it''s @a', $1",
		`select '\', @a, ''`:                 `select '\', $1, ''`,
		`select e'\', @a', @b`:               `select e'\', @a', $1`,
		`select E'a\\', @b`:                  `select E'a\\', $1`,
		"select E'a' -- c\n 'b\\'@a', @b":    "select E'a' -- c\n 'b\\'@a', $1",
		`select E'a' 'b\', @a, ''`:           `select E'a' 'b\', $1, ''`,
		`select namee'\', @a, ''`:            `select namee'\', $1, ''`,
		`select U&'\0041@a', @b`:             `select U&'\0041@a', $1`,
		`select "@a""@a", @b`:                `select "@a""@a", $1`,
		"select $$@a$$, @b":                  "select $$@a$$, $1",
		"select $x$ $$ @a $y$ $x$, @b":       "select $x$ $$ @a $y$ $x$, $1",
		"select a$x$, @b, '$x$'":             "select a$x$, $1, '$x$'",
		"select $ä$@a$ä$, @b":                "select $ä$@a$ä$, $1",
		"select /* @a /* ' */ @a */ @b":      "select /* @a /* ' */ @a */ $1",
		"select -- @a '\n@b":                 "select -- @a '\n$1",
		"select -- @a\r@b":                   "select -- @a\r$1",
		"select a <@ b, @c":                  "select a <@ b, $1",
		"select a @> b, a @@ b, @ c, @c":     "select a @> b, a @@ b, @ c, $1",
		"select a<@b, a@>b, a<@ @c":          "select a<@b, a@>b, a<@ $1",
		"select @a-@b":                       "select $1-@b",
		"select @a/*c*/@b":                   "select $1/*c*/$2",
		"select x@a, 1@b":                    "select x $1, 1 $2",
		"select @a@b":                        "select $1 $2",
		"select @a[1], @b.c":                 "select $1[1], $2.c",
		"select @1, @":                       "select @1, @",
		"(select @a) ; -- ; \n;":             "(select $1) ",
		"select 'a;b', $$;$$, \";\" /* ; */": "select 'a;b', $$;$$, \";\" /* ; */",
	} {
		got, err := rewrite(text, nil)
		if err != nil || got.text != want {
			t.Errorf("%s: got %s, %v; want %s", text, got.text, err, want)
		}
	}
	for _, text := range []string{
		"", ";", "-- select", "select '", "select e'\\'", `select "`, "select $$", "select $x$ $$", "select /* /* */", "select 1; select 2",
		"select $1", "select $1a", "select x=@a", "select x <@a", "select x ->@a", "select \x00", "delete from a", `"select"`,
	} {
		if got, err := rewrite(text, []string{"a"}); err == nil {
			t.Errorf("%s: got %s", text, got.text)
		}
	}
	if q, err := rewrite("select @b, @a, @b", nil); err != nil || !slices.Equal(q.names, []string{"b", "a"}) {
		t.Errorf("got %v, %v", q.names, err)
	}
}

// The oracle reads tokens by the regular expressions of PostgreSQL's scan.l, the longest match first.
var (
	oracleTokens = regexp.MustCompile(`^(?:` + strings.Join([]string{
		`(?P<space>[ \t\n\r\f\v]+|--[^\n\r]*)`,
		`(?P<escaped>[eE]'(?:[^'\\]|''|\\(?s:.))*')`,
		`(?P<string>'(?:[^']|'')*')`,
		`(?P<name>"(?:[^"]|"")*")`,
		`(?P<positional>\$[0-9]+)`,
		`(?P<word>[A-Za-z_\x{80}-\x{10ffff}][A-Za-z_0-9$\x{80}-\x{10ffff}]*|[0-9]+)`,
		`(?P<operator>[~!@#^&|` + "`" + `?+\-*/%<>=]+)`,
		`(?P<other>(?s:.))`,
	}, "|") + `)`)
	oracleDollar = regexp.MustCompile(`^\$(?:[A-Za-z_\x{80}-\x{10ffff}][A-Za-z_0-9\x{80}-\x{10ffff}]*)?\$`)
	oracleParam  = regexp.MustCompile(`^[A-Za-z_\x{80}-\x{10ffff}][A-Za-z_0-9\x{80}-\x{10ffff}]*`)
)

// How a string goes on that has ended.
var (
	oracleGap         = regexp.MustCompile(`^(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'`)
	oracleMore        = regexp.MustCompile(`^'(?:[^']|'')*'`)
	oracleMoreEscaped = regexp.MustCompile(`^'(?:[^'\\]|''|\\(?s:.))*'`)
)

func init() {
	oracleTokens.Longest()
	oracleMore.Longest()
	oracleMoreEscaped.Longest()
}

// oracle gives the offsets of the parameters of a text without errors; false where it has some, or is not for this oracle.
func oracle(text string) (params []string, ok bool) {
	for i := 0; i < len(text); {
		rest := text[i:]
		if strings.HasPrefix(rest, "/*") {
			depth, j := 0, 0
			for {
				switch {
				case j >= len(rest):
					return nil, false
				case strings.HasPrefix(rest[j:], "/*"):
					depth, j = depth+1, j+2
				case strings.HasPrefix(rest[j:], "*/"):
					depth, j = depth-1, j+2
				default:
					j++
				}
				if depth == 0 {
					break
				}
			}
			i += j
			continue
		}
		if tag := oracleDollar.FindString(rest); tag != "" {
			n := strings.Index(rest[len(tag):], tag)
			if n < 0 {
				return nil, false
			}
			i += len(tag) + n + len(tag)
			continue
		}
		m := oracleTokens.FindStringSubmatchIndex(rest)
		token := rest[:m[1]]
		kind := ""
		for g, name := range oracleTokens.SubexpNames() {
			if g > 0 && m[2*g] >= 0 && m[2*g+1] == m[1] {
				kind = name
				break
			}
		}
		switch kind {
		case "other":
			if strings.ContainsAny(token, `'"`) {
				return nil, false
			}
		case "escaped", "string", "name":
			// A pair of quotes is never taken apart: here the string would go on.
		ended:
			if end := token[len(token)-1:]; strings.HasPrefix(rest[len(token):], end) {
				return nil, false
			}
			if gap := oracleGap.FindString(rest[len(token):]); gap != "" && kind != "name" {
				more := oracleMore
				if kind == "escaped" {
					more = oracleMoreEscaped
				}
				token += gap[:len(gap)-1]
				part := more.FindString(rest[len(token):])
				token += part
				if part == "" {
					return nil, false
				}
				goto ended
			}
		case "word":
			// An unfinished string with escapes looks like a word and a string.
			if (token == "e" || token == "E") && strings.HasPrefix(rest[1:], "'") {
				return nil, false
			}
		case "positional":
			return nil, false
		case "operator":
			for _, comment := range []string{"--", "/*"} {
				if n := strings.Index(token, comment); n > 0 {
					token = token[:n]
				}
			}
			if name := oracleParam.FindString(rest[len(token):]); token == "@" && name != "" {
				params = append(params, name)
				token += name
			}
		}
		i += len(token)
	}
	return params, true
}

func FuzzRewrite(f *testing.F) {
	for _, seed := range []string{
		"@a, '@b', \"@c\", $$@d$$, /* @e */ @f -- @g\n@h", "E'\\'@a' @b", "E'a'\n'\\'@a' @b", "a<@b @c", "$x$@a$x$ @b", "@a@b", "@ä", "1@a x@b", "'a' -- '\n'@b' @c",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ToValidUTF8(text, "") != text || strings.ContainsAny(text, "\x00;") {
			return
		}
		text = "select " + text
		want, ok := oracle(text)
		got, err := rewrite(text, nil)
		if (err == nil) != ok {
			t.Fatalf("%q: %v, the oracle says %v", text, err, ok)
		}
		if err != nil {
			return
		}
		var names []string
		for _, name := range want {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		if !slices.Equal(got.names, names) {
			t.Fatalf("%q: got %q, the oracle says %q", text, got.names, names)
		}
		// What comes out holds no parameter any more, and every placeholder as often as its parameter stood there.
		left := 0
		l := lexer{text: got.text}
		for l.next() {
			switch l.kind {
			case lexParam, lexUnfinished:
				t.Fatalf("%q became %q", text, got.text)
			case lexPositional:
				left++
			}
		}
		if left != len(want) {
			t.Fatalf("%q became %q", text, got.text)
		}
	})
}
