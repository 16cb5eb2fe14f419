// Package dml reads SQL as far as that can be done without knowing the database's dialect: which table a single INSERT, UPDATE or DELETE
// writes to, and whether a text is one SELECT. What dialects read differently is not understood.
package dml

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Write is what a statement does.
type Write struct {
	Operation string // insert, update or delete
	Table     string // without its schema; lower case unless it is quoted
}

// Why a text is not understood.
var (
	errNotWrite     = errors.New("it is no INSERT, UPDATE or DELETE")
	errSeveral      = errors.New("it has several statements")
	errTable        = errors.New("its table is not understood")
	errUnterminated = errors.New("it ends in the middle of a comment or string")
	errAmbiguous    = errors.New("it holds what databases read differently")
)

// maxTable is the longest table name in bytes.
const maxTable = 128

// Parse reads text, which must be one statement.
func Parse(text string) (Write, error) {
	l := lexer{rest: text}
	w, err := l.statement()
	if err != nil {
		return Write{}, err
	}
	for {
		t, err := l.next()
		switch {
		case err != nil:
			return Write{}, err
		case t.kind == end:
			return w, nil
		case t.kind == symbol && t.text == ";":
			if err := l.onlySemicolons(); err != nil {
				return Write{}, err
			}
			return w, nil
		}
	}
}

// statement reads up to the table and the token behind it.
func (l *lexer) statement() (Write, error) {
	first, err := l.next()
	if err != nil {
		return Write{}, err
	}
	w := Write{Operation: strings.ToLower(first.text)}
	var before, behind string // the word before the table, and what may follow it
	switch {
	case first.kind != word:
		return w, errNotWrite
	case w.Operation == "insert":
		before, behind = "into", "( as default overriding select set table value values with"
	case w.Operation == "update":
		behind = "as set"
	case w.Operation == "delete":
		before, behind = "from", "; as limit order returning using where"
	default:
		return w, errNotWrite
	}
	t, err := l.next()
	if err == nil && t.is("or") && w.Operation != "delete" { // or replace, or ignore
		if t, err = l.next(); err == nil && t.kind != word {
			err = errTable
		}
		if err == nil {
			t, err = l.next()
		}
	}
	if err == nil && before != "" {
		if !t.is(before) {
			return w, errTable
		}
		t, err = l.next()
	}
	if err == nil && t.is("only") {
		t, err = l.next()
	}
	if err != nil {
		return w, err
	}
	return l.table(w, t, behind)
}

// table reads a table's name, of which t is the first token, and checks what follows.
func (l *lexer) table(w Write, t token, behind string) (Write, error) {
	for {
		if w.Table = t.name(); w.Table == "" {
			return w, errTable
		}
		here := *l
		var err error
		if t, err = l.next(); err != nil {
			return w, err
		}
		if t.kind == symbol && t.text == "." {
			if t, err = l.next(); err != nil {
				return w, err
			}
			continue
		}
		// An alias without AS may stand where a word may; a reserved word is none.
		alias := w.Operation != "insert" && t.name() != ""
		ends := t.kind == end && w.Operation == "delete"
		known := t.kind != quoted && t.text != "" && contains(behind, strings.ToLower(t.text))
		if !alias && !ends && !known {
			return w, errTable
		}
		*l = here // a semicolon is for Parse to see
		return w, nil
	}
}

func contains(list, text string) bool {
	for item := range strings.FieldsSeq(list) {
		if item == text {
			return true
		}
	}
	return false
}

func (l *lexer) onlySemicolons() error {
	for {
		t, err := l.next()
		switch {
		case err != nil:
			return err
		case t.kind == end:
			return nil
		case t.kind != symbol || t.text != ";":
			return errSeveral
		}
	}
}

type kind uint8

const (
	end kind = iota
	word
	quoted // an identifier in quotes, without them
	literal
	symbol
)

type token struct {
	kind kind
	text string
}

func (t token) is(keyword string) bool { return t.kind == word && strings.EqualFold(t.text, keyword) }

// reserved words are no names unless they are quoted.
const reserved = "as default delete from group having insert into join limit on only or order returning select set table update using " +
	"value values where with"

// name is the identifier that t is, empty where it is none or could not be a segment of a channel.
func (t token) name() string {
	text := t.text
	switch t.kind {
	case word:
		if text = strings.ToLower(text); contains(reserved, text) {
			return ""
		}
	case quoted:
	default:
		return ""
	}
	if len(text) > maxTable || !utf8.ValidString(text) || strings.HasPrefix(text, "$") {
		return ""
	}
	for _, r := range text {
		if unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`./*{}"'\`+"`", r) {
			return ""
		}
	}
	return text
}

// lexer cuts SQL into tokens.
type lexer struct{ rest string }

func (l *lexer) next() (token, error) {
	if err := l.skip(); err != nil {
		return token{}, err
	}
	if l.rest == "" {
		return token{}, nil
	}
	first, size := utf8.DecodeRuneInString(l.rest)
	switch {
	case first == 0 || first == utf8.RuneError && size == 1:
		return token{}, errAmbiguous
	case first == '\'':
		text, err := l.quoted()
		return token{literal, text}, err
	case first == '"' || first == '`':
		text, err := l.quoted()
		return token{quoted, text}, err
	case first == '[' || first == '#' || first == '\\':
		return token{}, errAmbiguous // a quote, a comment or a command to some, and none to others
	case first == '$' && (len(l.rest) == 1 || !isDigit(l.rest[1])):
		return token{}, errAmbiguous // the begin of a string to some
	case isWordStart(first):
		return token{word, l.take(isWordPart)}, nil
	case first >= '0' && first <= '9':
		return token{literal, l.take(isWordPart)}, nil
	}
	t := token{symbol, l.rest[:size]}
	l.rest = l.rest[size:]
	return t, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordStart(r rune) bool { return r == '_' || unicode.IsLetter(r) }

func isWordPart(r rune) bool { return isWordStart(r) || r == '$' || unicode.IsDigit(r) }

func (l *lexer) take(part func(rune) bool) string {
	n := strings.IndexFunc(l.rest, func(r rune) bool { return !part(r) })
	if n < 0 {
		n = len(l.rest)
	}
	text := l.rest[:n]
	l.rest = l.rest[n:]
	return text
}

// skip passes white space and comments over.
func (l *lexer) skip() error {
	for {
		l.rest = strings.TrimLeft(l.rest, " \t\r\n\f\v")
		switch {
		case strings.HasPrefix(l.rest, "--"):
			n := strings.IndexAny(l.rest, "\r\n")
			switch {
			case n < 0:
				n = len(l.rest)
			case l.rest[n] == '\r' && !strings.HasPrefix(l.rest[n:], "\r\n"):
				return errAmbiguous // the end of a line to some
			}
			// MySQL wants white space behind the dashes.
			if n > 2 && !strings.ContainsRune(" \t", rune(l.rest[2])) {
				return errAmbiguous
			}
			l.rest = l.rest[n:]
		case strings.HasPrefix(l.rest, "/*"):
			n := strings.Index(l.rest[2:], "*/")
			if n < 0 {
				return errUnterminated
			}
			// Comments nest for some; for others some of them are no comments.
			if inside := l.rest[2 : 2+n]; strings.Contains(inside, "/*") || strings.HasPrefix(inside, "!") || strings.HasPrefix(inside, "+") ||
				strings.HasSuffix(inside, "/") {
				return errAmbiguous
			}
			l.rest = l.rest[2+n+2:]
		default:
			return nil
		}
	}
}

// quoted reads what stands in the quotes that rest begins with; doubled they stand for themselves.
func (l *lexer) quoted() (string, error) {
	quote := l.rest[:1]
	var text strings.Builder
	rest := l.rest[1:]
	for {
		inside, behind, closed := strings.Cut(rest, quote)
		if !closed {
			return "", errUnterminated
		}
		if strings.HasSuffix(inside, `\`) || strings.IndexByte(inside, 0) >= 0 {
			return "", errAmbiguous // whether a backslash escapes the quote depends on the database
		}
		text.WriteString(inside)
		if !strings.HasPrefix(behind, quote) {
			l.rest = behind
			return text.String(), nil
		}
		text.WriteString(quote)
		rest = behind[1:]
	}
}
