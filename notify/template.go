package notify

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/jsonplace"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// The placeholders of neuroquantum_ws_notify's own.
const (
	placeholderTable     = "nq.table"
	placeholderOperation = "nq.operation"
)

// template is text with placeholders.
type template struct {
	parts     []part
	last      string // behind the last placeholder
	statement bool   // it uses a placeholder that needs the statement of the request
	separator byte   // of the channel's name
}

// part is a placeholder and the text before it.
type part struct {
	before, name string
	place        place
}

// place is where a placeholder stands.
type place uint8

const (
	inName   place = iota // in a channel's name, of which its value is one segment or a part of one
	inString              // within a JSON string
	asValue               // in the place of a JSON value
)

// placeholder begins with a letter, so that no brace of JSON is one.
var placeholder = regexp.MustCompile(`\{([A-Za-z_][^{}"\s]*)\}`)

// newTemplate parses text. placeOf tells where a placeholder stands, by all the text before it.
func newTemplate(text string, placeOf func(before string) place) (t template, err error) {
	at := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		p := part{before: text[at:m[0]], name: text[m[2]:m[3]], place: placeOf(text[:m[0]])}
		if strings.HasPrefix(p.name, "nq.") {
			if p.name != placeholderTable && p.name != placeholderOperation {
				return t, fmt.Errorf("there is no placeholder {%s}", p.name)
			}
			t.statement = true
		}
		if strings.HasPrefix(p.name, "claim.") || strings.HasPrefix(p.name, "claims.") {
			return t, fmt.Errorf("{%s} is not known here: there is no token, only the request", p.name)
		}
		t.parts = append(t.parts, p)
		at = m[1]
	}
	t.last = text[at:]
	return t, nil
}

// render puts in the values. It fails where one cannot stand in its place.
func (t *template) render(value func(name string) string) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.before)
		v := value(p.name)
		switch p.place {
		case inString:
			quoted := protocol.AppendString(nil, v)
			b.Write(quoted[1 : len(quoted)-1])
		case inName:
			if !protocol.IsSegment(v, t.separator) {
				return "", fmt.Errorf("the value of {%s} cannot be part of one segment", p.name)
			}
			b.WriteString(v)
		case asValue:
			// A single token: nothing else can be smuggled in.
			raw := jsontext.Value(v)
			if kind := raw.Kind(); !raw.IsValid() || kind == '{' || kind == '[' || kind == '"' {
				return "", fmt.Errorf("{%s} is no number, true, false or null", p.name)
			}
			b.WriteString(v)
		}
	}
	b.WriteString(t.last)
	return b.String(), nil
}

// channelTemplate is a template that can give the name of a channel.
func channelTemplate(text string) (template, error) {
	t, err := newTemplate(text, func(string) place { return inName })
	if err != nil {
		return t, err
	}
	probe, _ := t.render(func(string) string { return "x" })
	if strings.ContainsAny(probe, "{}") {
		return t, errors.New("a brace that is no placeholder's")
	}
	if err := checkPublished(probe); err != nil {
		return t, err
	}
	pattern, err := protocol.ParsePattern(probe)
	if err != nil {
		return t, err
	}
	t.separator = pattern.Separator()
	return t, nil
}

// dataTemplate is a template that gives JSON.
func dataTemplate(text string) (template, error) {
	t, err := newTemplate(text, func(before string) place {
		if jsonplace.EndsInString(before) {
			return inString
		}
		return asValue
	})
	if err != nil {
		return t, err
	}
	for _, p := range t.parts {
		if p.place == asValue && strings.HasPrefix(p.name, "nq.") {
			return t, fmt.Errorf("{%s} is text: put it in quotes", p.name)
		}
	}
	probe, err := t.render(func(string) string { return "0" })
	if err == nil {
		_, err = oneLine([]byte(probe))
	}
	return t, err
}
