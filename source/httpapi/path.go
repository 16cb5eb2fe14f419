package httpapi

import (
	"errors"
	"net/url"
	"strings"
)

// maxDecodings is how many times a path may be percent-encoded. Servers and proxies along the way may each decode it once more.
const maxDecodings = 4

var (
	errDots      = errors.New("must not be . or .. here")
	errSlash     = errors.New("must not hold a slash or backslash here")
	errEmptyPart = errors.New("must not hold an empty part here")
	errEncoded   = errors.New("is percent-encoded too often")
)

// checkPath refuses an address with segments that lead out of its path. Servers disagree on which segments do, so each reading counts.
func checkPath(u *url.URL) error {
	path, err := decodePath(u.EscapedPath())
	if err != nil {
		return err
	}
	return checkDots(path)
}

// checkPathValue checks a parameter's value that becomes one segment of a path or a part of one; with slashes, any number of them.
func checkPathValue(value string, slashes bool) error {
	plain, err := decodePath(value)
	switch {
	case err != nil:
		return err
	case !slashes && strings.ContainsAny(plain, `/\`):
		return errSlash
	case slashes && hasEmptySegment(plain):
		return errEmptyPart
	}
	return checkDots(plain)
}

func hasEmptySegment(plain string) bool {
	value := strings.ReplaceAll(plain, `\`, "/")
	return strings.HasPrefix(value, "/") || strings.HasSuffix(value, "/") || strings.Contains(value, "//")
}

// checkDots refuses . and .. between slashes and backslashes, also where path parameters (";…") follow or where space and control
// characters surround them, which some servers cut off.
func checkDots(plain string) error {
	for segment := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
		segment, _, _ = strings.Cut(segment, ";")
		segment = strings.TrimFunc(segment, func(r rune) bool { return r <= ' ' || r == 0x7f })
		if segment == "." || segment == ".." {
			return errDots
		}
	}
	return nil
}

// decodePath decodes path until nothing is left to decode. It keeps a percent sign that begins no escape.
func decodePath(path string) (string, error) {
	for range maxDecodings {
		decoded := decodeOnce(path)
		if decoded == path {
			return path, nil
		}
		path = decoded
	}
	return "", errEncoded
}

func decodeOnce(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if c, err := url.PathUnescape(path[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// appendSegments appends a value as segments of a path.
func appendSegments(dst []byte, value string) []byte {
	for i, segment := range strings.Split(value, "/") {
		if i > 0 {
			dst = append(dst, '/')
		}
		dst = append(dst, url.PathEscape(segment)...)
	}
	return dst
}
