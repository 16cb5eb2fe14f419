package protocol

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// depth is how deep arrays and objects are nested in msg. It reads any bytes, so that hostile input is refused before a parser
// recurses into it.
func depth(msg []byte) int {
	deepest, now := 0, 0
	inString := false
	for i := 0; i < len(msg); i++ {
		c := msg[i]
		switch {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if now++; now > deepest {
				deepest = now
			}
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// outline is msg with a 0 for each array and object within its outermost, so that a message nested too deep to be parsed can still
// be asked for its id.
func outline(msg []byte) []byte {
	var out []byte
	level := 0
	inString := false
	for i := 0; i < len(msg); i++ {
		c, from := msg[i], i
		opens := !inString && (c == '{' || c == '[')
		closes := !inString && (c == '}' || c == ']')
		switch {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case opens:
			level++
		case closes:
			level--
		}
		switch {
		case opens && level == 2:
			out = append(out, '0')
		case level == 0, level == 1 && !closes:
			out = append(out, msg[from:min(i+1, len(msg))]...)
		}
	}
	return out
}

func isNull(v jsontext.Value) bool { return v == nil || v.Kind() == 'n' }

// readID checks a request's id. null counts as none.
func readID(v jsontext.Value) (ID, *Error) {
	if isNull(v) {
		return "", nil
	}
	switch v.Kind() {
	case '"':
		s, err := unquote("id", v)
		if err != nil {
			return "", err
		}
		if n := utf8.RuneCountInString(s); n < 1 || n > MaxIDCharacters {
			return "", Errorf(InvalidMessage, `"id" must have 1 to %d characters`, MaxIDCharacters)
		}
		return ID(v), nil
	case '0':
		if n, err := strconv.ParseUint(string(v), 10, 64); err == nil && n <= MaxIDNumber {
			return ID(v), nil
		}
		return "", Errorf(InvalidMessage, `"id" must be an integer from 0 to 2^53`)
	}
	return "", Errorf(InvalidMessage, `"id" must be a string or an integer`)
}

func unquote(name string, v jsontext.Value) (string, *Error) {
	if v.Kind() != '"' {
		return "", Errorf(InvalidMessage, "%q must be a string", name)
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v[1 : len(v)-1]), nil
	}
	s, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return "", notJSON()
	}
	return string(s), nil
}

func (*members) str(name string, v jsontext.Value) (string, *Error) { return unquote(name, v) }

func (*members) required(name string, v jsontext.Value) (string, *Error) {
	if v == nil {
		return "", Errorf(InvalidMessage, "the message has no %q", name)
	}
	return unquote(name, v)
}

// integer reads an optional number that is not negative; -1 where it is absent. Numbers beyond int32 are cut to its largest value:
// every such number is bounded far below it by its user.
func (*members) integer(name string, v jsontext.Value) (int, *Error) {
	if isNull(v) {
		return -1, nil
	}
	if v.Kind() == '0' {
		if n, err := strconv.ParseUint(string(v), 10, 64); err == nil {
			return int(min(n, math.MaxInt32)), nil
		}
	}
	return -1, Errorf(InvalidMessage, "%q must be an integer of 0 or more", name)
}

func (*members) boolean(name string, v jsontext.Value) (bool, *Error) {
	if isNull(v) {
		return false, nil
	}
	if k := v.Kind(); k == 't' || k == 'f' {
		return k == 't', nil
	}
	return false, Errorf(InvalidMessage, "%q must be true or false", name)
}

func readStrings(name string, v jsontext.Value) ([]string, *Error) {
	wrong := Errorf(InvalidMessage, "%q must be an array of strings, not empty", name)
	if v.Kind() != '[' {
		return nil, wrong
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(v))
	if _, err := dec.ReadToken(); err != nil {
		return nil, notJSON()
	}
	var out []string
	for dec.PeekKind() != ']' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, notJSON()
		}
		if token.Kind() != '"' {
			return nil, wrong
		}
		if len(out) == MaxChannels {
			return nil, Errorf(LimitExceeded, "%q holds at most %d names", name, MaxChannels)
		}
		out = append(out, token.String())
	}
	if len(out) == 0 {
		return nil, wrong
	}
	return out, nil
}

func readPosition(v jsontext.Value) (*Position, *Error) {
	if isNull(v) {
		return nil, nil
	}
	var pos Position
	var hasEpoch, hasOffset bool
	err := readMembers(v, func(name string, value jsontext.Value) bool {
		var wrong *Error
		var notNumber error
		switch name {
		case "epoch":
			pos.Epoch, wrong = unquote("epoch", value)
			hasEpoch = true
		case "offset":
			pos.Offset, notNumber = strconv.ParseUint(string(value), 10, 64)
			hasOffset = true
		}
		return wrong == nil && notNumber == nil
	})
	if err != nil || !hasEpoch || !hasOffset {
		return nil, Errorf(InvalidMessage, `"since" must be an object with "epoch" (a string) and "offset" (an integer)`)
	}
	return &pos, nil
}

func readResume(v jsontext.Value) (*Resume, *Error) {
	if isNull(v) {
		return nil, nil
	}
	resume := Resume{Batch: -1, Revision: -1}
	err := readMembers(v, func(name string, value jsontext.Value) bool {
		var wrong *Error
		var notNumber error
		switch {
		case name == "stream_id":
			resume.StreamID, wrong = unquote("stream_id", value)
		case name == "batch_number" && !isNull(value):
			resume.Batch, notNumber = strconv.ParseInt(string(value), 10, 64)
		case name == "revision" && !isNull(value):
			resume.Revision, notNumber = strconv.ParseInt(string(value), 10, 64)
		}
		return wrong == nil && notNumber == nil
	})
	if err != nil || resume.StreamID == "" || resume.Batch < -1 || resume.Revision < -1 {
		return nil, Errorf(InvalidMessage, `"resume" must be an object with "stream_id" (a string) and "batch_number" or "revision" (an integer)`)
	}
	return &resume, nil
}

// readMembers gives an object's members to take, until that reports false.
func readMembers(v jsontext.Value, take func(name string, value jsontext.Value) bool) *Error {
	if v.Kind() != '{' {
		return notJSON()
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(v), jsontext.AllowDuplicateNames(true))
	if _, err := dec.ReadToken(); err != nil {
		return notJSON()
	}
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return notJSON()
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil || !take(name, value) {
			return notJSON()
		}
	}
	return nil
}

// Unquote gives the text of a JSON string; ok is false for any other value.
func Unquote(value []byte) (text string, ok bool) {
	s, err := unquote("", value)
	return s, err == nil
}
