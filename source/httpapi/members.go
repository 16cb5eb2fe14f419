package httpapi

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// members goes through the members of an object or the elements of an array that has been found valid, without looking closer than
// that takes.
type members struct {
	text  []byte
	at    int
	name  []byte // quoted as it stands; nil in an array
	value []byte
}

func (m *members) next() bool {
	if m.at == 0 {
		m.space()
		m.at++ // the bracket
	}
	m.space()
	if m.text[m.at] == ',' {
		m.at++
		m.space()
	}
	if c := m.text[m.at]; c == '}' || c == ']' {
		return false
	}
	m.name = nil
	start := m.at
	m.skip()
	m.value = m.text[start:m.at]
	m.space()
	if m.text[m.at] == ':' {
		m.name = m.value
		m.at++
		m.space()
		start = m.at
		m.skip()
		m.value = m.text[start:m.at]
	}
	return true
}

func (m *members) is(name string) bool { return string(m.name) == name }

func (m *members) space() {
	for {
		switch m.text[m.at] {
		case ' ', '\t', '\r', '\n':
			m.at++
		default:
			return
		}
	}
}

// skip passes a value over.
func (m *members) skip() {
	switch m.text[m.at] {
	case '"':
		m.skipString()
	case '{', '[':
		for depth := 0; ; {
			switch m.text[m.at] {
			case '"':
				m.skipString()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			m.at++
			if depth == 0 {
				return
			}
		}
	default:
		for {
			switch m.text[m.at] {
			case ',', '}', ']', ' ', '\t', '\r', '\n':
				return
			}
			m.at++
		}
	}
}

func (m *members) skipString() {
	m.at++
	for {
		n := bytes.IndexByte(m.text[m.at:], '"')
		escapes := 0
		for escapes < n && m.text[m.at+n-1-escapes] == '\\' {
			escapes++
		}
		m.at += n + 1
		if escapes%2 == 0 {
			return
		}
	}
}

// firstMember gives the first member of an object.
func firstMember(v jsontext.Value) (name string, value []byte, ok bool) {
	m := members{text: v}
	if !m.next() {
		return "", nil, false
	}
	unquoted, err := jsontext.AppendUnquote(nil, m.name)
	return string(unquoted), m.value, err == nil
}
