package nats

import (
	"errors"
	"strings"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// How names stand in NATS subjects. A channel's segments become tokens, and a last token tells the separator: sensors/kitchen is
// sensors.kitchen.s, sensors.kitchen is sensors.kitchen.d, sensors is sensors.o. That last token is why > in a filter, which does not
// match zero tokens, can stand for a ** that matches zero segments.
//
// In a token all but ASCII letters, digits, - and _ and what is beyond ASCII is written =XX, so that neither . * > nor $ of a client's
// name means anything to NATS. Whatever a name holds, its subject begins with the hub's own prefix.
const (
	kindOne   = "o" // one segment, which fits either separator
	kindSlash = "s"
	kindDot   = "d"
)

const escape = '='

var errSubject = errors.New("not the subject of a channel")

// plain tells which bytes stand for themselves in a token.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c >= 0x80
}

const hexDigits = "0123456789ABCDEF"

// appendToken appends a segment as one token, which is never empty nor a wildcard.
func appendToken(dst []byte, segment string) []byte {
	for i := range len(segment) {
		if c := segment[i]; plain(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, escape, hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return dst
}

// appendSubject appends what the channel's name is in subjects, without prefix. The name must be valid.
func appendSubject(dst []byte, channel string) []byte {
	kind, sep := kindOne, byte(0)
	switch {
	case strings.IndexByte(channel, '/') >= 0:
		kind, sep = kindSlash, '/'
	case strings.IndexByte(channel, '.') >= 0:
		kind, sep = kindDot, '.'
	}
	for sep != 0 {
		i := strings.IndexByte(channel, sep)
		if i < 0 {
			break
		}
		dst = append(appendToken(dst, channel[:i]), '.')
		channel = channel[i+1:]
	}
	return append(append(appendToken(dst, channel), '.'), kind...)
}

// channelOf is the channel whose subject, without prefix, this is. It accepts only what appendSubject gives.
func channelOf(subject string) (string, error) {
	i := strings.LastIndexByte(subject, '.')
	if i <= 0 {
		return "", errSubject
	}
	tokens, kind := subject[:i], subject[i+1:]
	var sep byte
	switch kind {
	case kindSlash:
		sep = '/'
	case kindDot:
		sep = '.'
	case kindOne:
	default:
		return "", errSubject
	}
	name := make([]byte, 0, len(tokens))
	for i := 0; i < len(tokens); i++ {
		switch c := tokens[i]; {
		case c == '.' && sep != 0:
			name = append(name, sep)
		case c == escape && i+2 < len(tokens):
			high, low := strings.IndexByte(hexDigits, tokens[i+1]), strings.IndexByte(hexDigits, tokens[i+2])
			if high < 0 || low < 0 {
				return "", errSubject
			}
			name = append(name, byte(high<<4|low))
			i += 2
		case plain(c):
			name = append(name, c)
		default:
			return "", errSubject
		}
	}
	channel := string(name)
	if protocol.CheckName(channel) != nil || string(appendSubject(nil, channel)) != subject {
		return "", errSubject
	}
	return channel, nil
}

// filterOf is the narrowest subject filter, without prefix, that holds all channels of a pattern. It may hold others as well: what
// comes by it is still to be matched against the pattern.
func filterOf(p protocol.Pattern) string {
	if !p.IsPattern() {
		return string(appendSubject(nil, p.String()))
	}
	var dst []byte
	for _, segment := range p.Segments() {
		switch segment {
		case "**":
			return string(append(dst, '>'))
		case "*":
			dst = append(dst, '*')
		default:
			dst = appendToken(dst, segment)
		}
		dst = append(dst, '.')
	}
	switch p.Separator() {
	case '/':
		return string(append(dst, kindSlash...))
	case '.':
		return string(append(dst, kindDot...))
	}
	return string(append(dst, kindOne...))
}

// hubToken is a hub's name as one token, fit for a stream's name as well.
func hubToken(hub string) string { return string(appendToken(nil, hub)) }
