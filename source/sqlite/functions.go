package sqlite

import (
	"bytes"
	"slices"
	"unicode/utf8"
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// function is SQLite's signature of a function.
type function = func(tls *libc.TLS, ctx uintptr, n int32, args uintptr)

type replacement struct {
	name string
	args int32
	call function
}

// replaced are functions of ours in place of SQLite's own, whose cost grows with the product of two lengths and which nothing interrupts:
// two texts of 64 KiB would keep some of them busy for seconds. They have no variables of their own: SQLite keeps their addresses.
var replaced = []replacement{
	{"trim", 2, trimBoth},
	{"ltrim", 2, trimLeft},
	{"rtrim", 2, trimRight},
	{"instr", 2, instr},
	{"replace", 3, replace},
	{"unhex", 2, unhex},
}

// refused are functions that are closed with so many arguments alone, by ones that fail.
var refused = []replacement{
	{"json_pretty", 2, refusePretty}, // the second argument is repeated for each level of each line
}

func (c *conn) replaceFunctions() error {
	for _, f := range slices.Concat(replaced, refused) {
		name, err := libc.CString(f.name)
		if err != nil {
			return err
		}
		const flags = lib.SQLITE_UTF8 | lib.SQLITE_DETERMINISTIC | lib.SQLITE_INNOCUOUS
		rc := lib.Xsqlite3_create_function_v2(c.tls, c.db, name, f.args, flags, 0, callback(f.call), 0, 0, 0)
		libc.Xfree(c.tls, name)
		if rc != lib.SQLITE_OK {
			return c.error(rc)
		}
	}
	return nil
}

// argument returns the address of a call's argument.
func argument(args uintptr, i int) uintptr { return *at[uintptr](args + uintptr(i)*pointerSize) }

func refusePretty(tls *libc.TLS, ctx uintptr, _ int32, _ uintptr) {
	const text = "json_pretty takes one argument here"
	copied := copyOut(tls, []byte(text))
	lib.Xsqlite3_result_error(tls, ctx, copied, int32(len(text)))
	libc.Xfree(tls, copied)
}

// instr implements instr(text, part): in bytes where both are blobs, else in characters.
func instr(tls *libc.TLS, ctx uintptr, _ int32, args uintptr) {
	first, second := argument(args, 0), argument(args, 1)
	inBytes := lib.Xsqlite3_value_type(tls, first) == lib.SQLITE_BLOB && lib.Xsqlite3_value_type(tls, second) == lib.SQLITE_BLOB
	text, ok := valueText(tls, first)
	part, known := valueText(tls, second)
	if inBytes {
		text, part, ok, known = valueBlob(tls, first), valueBlob(tls, second), true, true
	}
	if !ok || !known {
		return // NULL
	}
	at := bytes.Index(text, part)
	if at > 0 && !inBytes {
		at = utf8.RuneCount(text[:at])
	}
	lib.Xsqlite3_result_int64(tls, ctx, int64(at+1))
}

// replace implements replace(text, old, new).
func replace(tls *libc.TLS, ctx uintptr, _ int32, args uintptr) {
	text, ok := valueText(tls, argument(args, 0))
	old, known := valueText(tls, argument(args, 1))
	if !ok || !known {
		return // NULL
	}
	if len(old) == 0 {
		resultText(tls, ctx, text)
		return
	}
	by, ok := valueText(tls, argument(args, 2))
	if !ok {
		return // NULL
	}
	size := int64(len(text)) + int64(bytes.Count(text, old))*int64(len(by)-len(old))
	db := lib.Xsqlite3_context_db_handle(tls, ctx)
	if size > int64(lib.Xsqlite3_limit(tls, db, lib.SQLITE_LIMIT_LENGTH, -1)) {
		lib.Xsqlite3_result_error_toobig(tls, ctx)
		return
	}
	resultText(tls, ctx, bytes.ReplaceAll(text, old, by))
}

// unhex implements unhex(text, ignored).
func unhex(tls *libc.TLS, ctx uintptr, _ int32, args uintptr) {
	text, ok := valueText(tls, argument(args, 0))
	ignored, known := valueText(tls, argument(args, 1))
	if !ok || !known {
		return // NULL
	}
	if blob, ok := unhexed(text, ignored); ok {
		copied := copyOut(tls, blob)
		lib.Xsqlite3_result_blob(tls, ctx, copied, int32(len(blob)), transient)
		libc.Xfree(tls, copied)
	}
}

// unhexed decodes pairs of hexadecimal digits, between which characters of ignored may stand. It reports false where anything else does.
func unhexed(text, ignored []byte) ([]byte, bool) {
	members := characters(ignored)
	blob := make([]byte, 0, len(text)/2+1)
	for len(text) > 0 {
		high, ok := hexDigit(text[0])
		if !ok {
			_, n := utf8.DecodeRune(text)
			if !members[string(text[:n])] {
				return nil, false
			}
			text = text[n:]
			continue
		}
		if len(text) < 2 {
			return nil, false
		}
		low, ok := hexDigit(text[1])
		if !ok {
			return nil, false
		}
		blob = append(blob, high<<4|low)
		text = text[2:]
	}
	return blob, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

const transient = ^uintptr(0) // SQLITE_TRANSIENT: SQLite makes a copy of its own

// resultText returns a text, which SQLite copies.
func resultText(tls *libc.TLS, ctx uintptr, text []byte) {
	copied := copyOut(tls, text)
	lib.Xsqlite3_result_text(tls, ctx, copied, int32(len(text)), transient)
	libc.Xfree(tls, copied)
}

// copyOut copies bytes out of Go's memory, which may move. The caller frees the copy; its address is never 0, also of no bytes.
func copyOut(tls *libc.TLS, data []byte) uintptr {
	p := libc.Xmalloc(tls, libc.Tsize_t(len(data)+1))
	if p == 0 {
		panic("out of memory")
	}
	copy(unsafe.Slice(at[byte](p), len(data)), data)
	return p
}

// valueText views a value as UTF-8; false for NULL.
func valueText(tls *libc.TLS, value uintptr) ([]byte, bool) {
	p := lib.Xsqlite3_value_text(tls, value)
	if p == 0 {
		return nil, false
	}
	return unsafe.Slice(at[byte](p), lib.Xsqlite3_value_bytes(tls, value)), true
}

// valueBlob views a value as bytes.
func valueBlob(tls *libc.TLS, value uintptr) []byte {
	p := lib.Xsqlite3_value_blob(tls, value)
	if p == 0 {
		return nil
	}
	return unsafe.Slice(at[byte](p), lib.Xsqlite3_value_bytes(tls, value))
}

// characters returns the set of the characters in a text.
func characters(text []byte) map[string]bool {
	members := make(map[string]bool)
	for len(text) > 0 {
		_, n := utf8.DecodeRune(text)
		members[string(text[:n])] = true
		text = text[n:]
	}
	return members
}
