package sqlite

import (
	"unicode/utf8"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// replaceTrims puts functions of ours in the place of SQLite's own trim, ltrim and rtrim with two arguments. SQLite's hold each
// character of the one against each of the other and cannot be interrupted: two texts of a megabyte would keep them busy for an hour.
func (c *conn) replaceTrims() error {
	for name, function := range map[string]uintptr{
		"trim": callback(trimBoth), "ltrim": callback(trimLeft), "rtrim": callback(trimRight),
	} {
		z, err := libc.CString(name)
		if err != nil {
			return err
		}
		const flags = lib.SQLITE_UTF8 | lib.SQLITE_DETERMINISTIC | lib.SQLITE_INNOCUOUS
		rc := lib.Xsqlite3_create_function_v2(c.tls, c.db, z, 2, flags, 0, function, 0, 0, 0)
		libc.Xfree(c.tls, z)
		if rc != lib.SQLITE_OK {
			return c.error(rc)
		}
	}
	return nil
}

// These have no variables of their own: SQLite keeps their addresses.

func trimBoth(tls *libc.TLS, ctx uintptr, _ int32, args uintptr) { trim(tls, ctx, args, true, true) }

func trimLeft(tls *libc.TLS, ctx uintptr, _ int32, args uintptr) { trim(tls, ctx, args, true, false) }

func trimRight(tls *libc.TLS, ctx uintptr, _ int32, args uintptr) { trim(tls, ctx, args, false, true) }

func trim(tls *libc.TLS, ctx, args uintptr, left, right bool) {
	text, ok := valueText(tls, *at[uintptr](args))
	set, known := valueText(tls, *at[uintptr](args + pointerSize))
	if !ok || !known {
		return // NULL
	}
	text = trimmed(text, set, left, right)
	start := uintptr(unsafe.Pointer(unsafe.SliceData(text)))
	const transient = ^uintptr(0) // SQLITE_TRANSIENT: the text belongs to an argument
	lib.Xsqlite3_result_text(tls, ctx, start, int32(len(text)), transient)
}

// valueText views a value as UTF-8; false for NULL.
func valueText(tls *libc.TLS, value uintptr) ([]byte, bool) {
	p := lib.Xsqlite3_value_text(tls, value)
	if p == 0 {
		return nil, false
	}
	return unsafe.Slice(at[byte](p), lib.Xsqlite3_value_bytes(tls, value)), true
}

// trimmed is text without the characters of set at its ends, as a part of text that is never nil.
func trimmed(text, set []byte, left, right bool) []byte {
	members := make(map[string]bool)
	for rest := set; len(rest) > 0; {
		_, n := utf8.DecodeRune(rest)
		members[string(rest[:n])] = true
		rest = rest[n:]
	}
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
