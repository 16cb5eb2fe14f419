package sqlite

import (
	"unicode/utf8"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

func trimBoth(tls *libc.TLS, ctx uintptr, _ int32, args uintptr) { trim(tls, ctx, args, true, true) }

func trimLeft(tls *libc.TLS, ctx uintptr, _ int32, args uintptr) { trim(tls, ctx, args, true, false) }

func trimRight(tls *libc.TLS, ctx uintptr, _ int32, args uintptr) { trim(tls, ctx, args, false, true) }

func trim(tls *libc.TLS, ctx, args uintptr, left, right bool) {
	text, ok := valueText(tls, *at[uintptr](args))
	set, known := valueText(tls, *at[uintptr](args + pointerSize))
	if !ok || !known {
		return // NULL
	}
	// A part of the argument, which SQLite copies.
	text = trimmed(text, set, left, right)
	lib.Xsqlite3_result_text(tls, ctx, uintptr(unsafe.Pointer(unsafe.SliceData(text))), int32(len(text)), transient)
}

// trimmed is text without the characters of set at its ends, as a part of text that is never nil.
func trimmed(text, set []byte, left, right bool) []byte {
	members := characters(set)
	for left && len(text) > 0 {
		_, n := utf8.DecodeRune(text)
		if !members[string(text[:n])] {
			break
		}
		text = text[n:]
	}
	for right && len(text) > 0 {
		_, n := utf8.DecodeLastRune(text)
		if !members[string(text[len(text)-n:])] {
			break
		}
		text = text[:len(text)-n]
	}
	return text
}
