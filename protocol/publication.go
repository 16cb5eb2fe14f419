package protocol

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Publication is a message to be published by somebody who has no connection, such as over HTTP.
type Publication struct {
	Channel string
	Data    jsontext.Value // holds no line break
	Key     string         // empty where there is none
	Err     *Error         // why this one cannot be read, in words for the publisher; nil where it can
}

// DecodePublications reads a body that is one object {channel, data, key?} or an array of at most most of them; batch tells which. The
// publications' values point into body, which must not change while they are in use. What is wrong with one entry of an array is that
// entry's Err; what is wrong with the body as a whole is the error, and then nothing of it may be published.
func DecodePublications(body []byte, most int) (list []Publication, batch bool, err *Error) {
	if !utf8.Valid(body) {
		return nil, false, Errorf(InvalidMessage, "the body is not UTF-8")
	}
	text := bytes.TrimLeft(body, " \t\r\n")
	allowed := MaxDepth
	if batch = len(text) > 0 && text[0] == '['; batch {
		allowed++
	}
	if depth(text) > allowed {
		return nil, batch, Errorf(InvalidMessage, "the message is nested deeper than %d", MaxDepth)
	}
	if !batch {
		p := decodePublication(text)
		return []Publication{p}, false, p.Err
	}
	entries, err := split(text, most)
	if err != nil {
		return nil, true, err
	}
	for _, entry := range entries {
		list = append(list, decodePublication(entry))
	}
	return list, true, nil
}

// split gives the texts of an array's values. The whole array is checked before any of them is used.
func split(array []byte, most int) (values [][]byte, err *Error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(array), jsontext.AllowDuplicateNames(true))
	if _, err := dec.ReadToken(); err != nil {
		return nil, notJSON()
	}
	for dec.PeekKind() != ']' {
		start := dec.InputOffset()
		if err := dec.SkipValue(); err != nil {
			return nil, notJSON()
		}
		if len(values) == most {
			return nil, Errorf(LimitExceeded, "a batch holds at most %d messages", most)
		}
		values = append(values, bytes.TrimLeft(array[start:dec.InputOffset()], ", \t\r\n"))
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, notJSON()
	}
	if len(bytes.TrimLeft(array[dec.InputOffset():], " \t\r\n")) > 0 {
		return nil, Errorf(InvalidMessage, "the body is more than one JSON value")
	}
	if len(values) == 0 {
		return nil, Errorf(InvalidMessage, "the batch is empty")
	}
	return values, nil
}

func decodePublication(msg []byte) Publication {
	var m members
	err := m.read(msg)
	if err == nil && m.twice != "" {
		err = Errorf(InvalidMessage, "the message has %q twice", m.twice)
	}
	var req Request
	if err == nil {
		err = req.fillPublish(&m)
	}
	p := Publication{Data: req.Data, Key: req.Key, Err: err}
	if len(req.Channels) > 0 {
		p.Channel = req.Channels[0]
	}
	return p
}
