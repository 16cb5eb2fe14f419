package postgres

import (
	"slices"
	"strconv"
	"strings"

	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// query is a statement taken apart: its text with $n in place of each @name.
type query struct {
	text  string
	names []string // of $1, $2 and so on
}

// rewrite finds the parameters of a statement and checks that it is one statement that may give rows; its error is a
// *stream.TextError. It reads the text as
// PostgreSQL's own lexer does, with standard_conforming_strings on: what stands in strings, names and comments is left alone, and so
// is @ as a part of an operator, such as <@ and @>. A @ for the absolute value is written with a space behind it.
func rewrite(text string, params []string) (query, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return query{}, stream.BadText("the statement holds a NUL character")
	}
	l := lexer{text: text}
	var q query
	var out strings.Builder
	first := ""
	kept := 0 // up to where text has been copied
	ended := -1
	for l.next() {
		token := text[l.start:l.end]
		if l.kind == lexSpace {
			continue
		}
		switch {
		case l.kind == lexSemicolon:
			if ended < 0 {
				ended = l.start
			}
			continue
		case ended >= 0:
			return query{}, stream.BadText("there is more than one statement")
		case first == "":
			first = strings.ToLower(token)
		}
		switch l.kind {
		case lexUnfinished:
			return query{}, stream.BadText("a string, name or comment does not end")
		case lexPositional:
			return query{}, stream.BadParam("parameters are written @name, and not with $ and a number")
		case lexParam:
			out.WriteString(text[kept:l.start])
			kept = l.end
			q.write(&out, token[1:])
		case lexOperator:
			if name := l.nameBehind(); strings.HasSuffix(token, "@") && slices.Contains(params, name) {
				return query{}, stream.BadText("write a space before the parameter @%s", name)
			}
		}
	}
	switch first {
	case "select", "with", "values", "table", "(":
	case "":
		return query{}, stream.BadText("there is no statement")
	default:
		return query{}, stream.BadText("the statement is not a select")
	}
	if ended < 0 {
		ended = len(text)
	}
	out.WriteString(text[kept:ended])
	q.text = out.String()
	return q, nil
}

// write writes the placeholder of a parameter, with a space where it would run into the word before it.
func (q *query) write(out *strings.Builder, name string) {
	at := slices.Index(q.names, name)
	if at < 0 {
		at = len(q.names)
		q.names = append(q.names, name)
	}
	if s := out.String(); s != "" && isIdentifier(s[len(s)-1]) {
		out.WriteByte(' ')
	}
	out.WriteByte('$')
	out.WriteString(strconv.Itoa(at + 1))
}

type lexKind uint8

const (
	lexSpace lexKind = iota // comments too
	lexWord                 // names, keywords and numbers
	lexQuoted
	lexOperator
	lexParam      // @name
	lexPositional // $1
	lexSemicolon
	lexOther
	lexUnfinished // what should be quoted or a comment, to the end of the text
)

// lexer goes through the tokens of a statement.
type lexer struct {
	text       string
	start, end int
	kind       lexKind
}

func (l *lexer) next() bool {
	if l.end >= len(l.text) {
		return false
	}
	l.start = l.end
	l.kind, l.end = l.scan(l.start)
	return true
}

// at is the byte at i, 0 behind the end.
func (l *lexer) at(i int) byte {
	if i < len(l.text) {
		return l.text[i]
	}
	return 0
}

func (l *lexer) scan(i int) (lexKind, int) {
	switch c := l.text[i]; {
	case isSpace(c):
		return lexSpace, i + 1
	case c == '-' && l.at(i+1) == '-':
		return lexSpace, l.lineEnd(i)
	case c == '/' && l.at(i+1) == '*':
		return l.comment(i)
	case c == '\'':
		return l.quoted(i, false)
	case c == '"':
		return l.name(i)
	case c == '$':
		return l.dollar(i)
	case (c == 'e' || c == 'E') && l.at(i+1) == '\'':
		return l.quoted(i+1, true)
	case isIdentifierStart(c):
		return lexWord, l.identifierEnd(i)
	case '0' <= c && c <= '9':
		for i++; '0' <= l.at(i) && l.at(i) <= '9'; i++ {
		}
		return lexWord, i
	case c == ';':
		return lexSemicolon, i + 1
	case isOperator(c):
		return l.operator(i)
	default:
		return lexOther, i + 1
	}
}

func (l *lexer) lineEnd(i int) int {
	if n := strings.IndexAny(l.text[i:], "\r\n"); n >= 0 {
		return i + n
	}
	return len(l.text)
}

func (l *lexer) identifierEnd(i int) int {
	for i < len(l.text) && isIdentifier(l.text[i]) {
		i++
	}
	return i
}

// comment reads one in slashes and stars; they nest.
func (l *lexer) comment(i int) (lexKind, int) {
	depth := 0
	for i < len(l.text) {
		switch {
		case l.text[i] == '/' && l.at(i+1) == '*':
			depth++
			i += 2
		case l.text[i] == '*' && l.at(i+1) == '/':
			depth--
			i += 2
			if depth == 0 {
				return lexSpace, i
			}
		default:
			i++
		}
	}
	return lexUnfinished, i
}

// quoted reads a string from its quote on. In one with escapes a backslash takes the quote behind it along. Strings that only white
// space with a line's end stands between are one.
func (l *lexer) quoted(i int, escapes bool) (lexKind, int) {
	for i++; i < len(l.text); i++ {
		switch {
		case escapes && l.text[i] == '\\':
			i++
		case l.text[i] != '\'':
		case l.at(i+1) == '\'':
			i++
		default:
			next, ok := l.continued(i + 1)
			if !ok {
				return lexQuoted, i + 1
			}
			i = next
		}
	}
	return lexUnfinished, len(l.text)
}

// continued finds the quote by which a string goes on whose quote ended before i.
func (l *lexer) continued(i int) (int, bool) {
	newline := false
	for i < len(l.text) {
		switch c := l.text[i]; {
		case c == '\n' || c == '\r':
			newline = true
			i++
		case isSpace(c):
			i++
		case c == '-' && l.at(i+1) == '-':
			i = l.lineEnd(i)
		default:
			return i, newline && c == '\''
		}
	}
	return i, false
}

func (l *lexer) name(i int) (lexKind, int) {
	for i++; i < len(l.text); i++ {
		if l.text[i] != '"' {
			continue
		}
		if l.at(i+1) != '"' {
			return lexQuoted, i + 1
		}
		i++
	}
	return lexUnfinished, i
}

// dollar reads $tag$ … $tag$ or $1.
func (l *lexer) dollar(i int) (lexKind, int) {
	end := i + 1
	if c := l.at(end); '0' <= c && c <= '9' {
		return lexPositional, l.identifierEnd(end)
	}
	for end < len(l.text) && l.text[end] != '$' && isIdentifier(l.text[end]) {
		end++
	}
	if l.at(end) != '$' {
		return lexOther, i + 1
	}
	tag := l.text[i : end+1]
	n := strings.Index(l.text[end+1:], tag)
	if n < 0 {
		return lexUnfinished, len(l.text)
	}
	return lexQuoted, end + 1 + n + len(tag)
}

// operator reads a run of operator characters, which a comment ends. One that is @ alone, with a name behind it, is a parameter.
func (l *lexer) operator(i int) (lexKind, int) {
	end := i
	for end < len(l.text) && isOperator(l.text[end]) {
		if two := l.text[end:min(end+2, len(l.text))]; two == "--" || two == "/*" {
			break
		}
		end++
	}
	if l.text[i:end] == "@" && isIdentifierStart(l.at(end)) {
		for end < len(l.text) && isIdentifier(l.text[end]) && l.text[end] != '$' {
			end++
		}
		return lexParam, end
	}
	return lexOperator, end
}

// nameBehind is the word that directly follows the token.
func (l *lexer) nameBehind() string {
	if !isIdentifierStart(l.at(l.end)) {
		return ""
	}
	return l.text[l.end:l.identifierEnd(l.end)]
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isOperator(c byte) bool { return strings.IndexByte("~!@#^&|`?+-*/%<>=", c) >= 0 }

func isIdentifierStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

func isIdentifier(c byte) bool { return isIdentifierStart(c) || '0' <= c && c <= '9' || c == '$' }
