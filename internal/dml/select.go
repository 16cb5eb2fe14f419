package dml

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Why a text is not taken for one SELECT.
var (
	ErrNotSelect = errors.New("it is no SELECT")
	ErrWrites    = errors.New("it holds a word of a statement that writes")
	ErrSeveral   = errSeveral
)

// writers are the words that make a SELECT write in some dialect, or a part of it something else. Nobody needs them as names without
// quotes.
const writers = "alter call create delete drop exec execute grant insert into merge revoke truncate update upsert"

// Select checks that text is exactly one SELECT that only reads, whatever dialect it is read in. A WITH is none: in some dialects it
// can write. Its error is ErrNotSelect, ErrWrites or ErrSeveral, or says that the text is not understood.
func Select(text string) error {
	if strings.ContainsFunc(text, differs) || !utf8.ValidString(text) {
		return errAmbiguous
	}
	l := lexer{rest: text}
	t, err := l.next()
	switch {
	case err != nil:
		return err
	case !t.is("select"):
		return ErrNotSelect
	}
	for {
		// A letter before a quote is a part of it, and may change how it is read.
		if t.kind == word && strings.HasPrefix(l.rest, "'") {
			return errAmbiguous
		}
		if t, err = l.next(); err != nil {
			return err
		}
		switch {
		case t.kind == end:
			return nil
		case t.kind == word && contains(writers, strings.ToLower(t.text)):
			return ErrWrites
		case t.kind == symbol && t.text == ";":
			return l.onlySemicolons()
		case t.kind == symbol && t.text > "~":
			return errAmbiguous // white space to some
		}
	}
}

// differs tells of what is an escape, a quote or white space to some, wherever it stands.
func differs(r rune) bool {
	return r == '\\' || r == '`' || r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f
}
