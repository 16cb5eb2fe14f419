package protocol

import (
	"errors"
	"math/bits"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a channel name or pattern.
const (
	MaxChannelBytes    = 255 // length in bytes of UTF-8
	MaxChannelSegments = 16  // segments between separators
)

// Why a name or pattern is refused. The texts are for clients.
var (
	errChannelLength    = errors.New("a channel name has 1 to 255 bytes")
	errChannelText      = errors.New("a channel name holds no control characters, no white space and no invisible characters")
	errChannelSegment   = errors.New("a channel name has no empty segment")
	errChannelDots      = errors.New("a channel name has neither . nor .. as a segment")
	errChannelSegments  = errors.New("a channel name has at most 16 segments")
	errChannelPartStar  = errors.New("in a pattern * and ** stand for whole segments")
	errChannelIsPattern = errors.New("this needs the name of one channel, not a pattern")
)

// Pattern is a parsed channel name or pattern: what a subscription or a rule holds against the names of messages. The zero
// Pattern matches nothing.
type Pattern struct {
	text       string
	segments   []string
	sep        byte   // '/' or '.'; 0 where there is only one segment, which fits either
	star, deep uint32 // bit i is set where segment i is * or **
}

// ParsePattern checks text by the rules for names and patterns and parses it. Its errors are for clients.
func ParsePattern(text string) (Pattern, error) {
	if len(text) == 0 || len(text) > MaxChannelBytes {
		return Pattern{}, errChannelLength
	}
	if !utf8.ValidString(text) {
		return Pattern{}, errChannelText
	}
	for _, r := range text {
		if unicode.IsControl(r) || unicode.IsSpace(r) || IsInvisible(r) {
			return Pattern{}, errChannelText
		}
	}
	p := Pattern{text: text, sep: separator(text)}
	if p.sep == 0 {
		p.segments = []string{text}
	} else {
		if strings.Count(text, string(p.sep)) >= MaxChannelSegments {
			return Pattern{}, errChannelSegments
		}
		p.segments = strings.Split(text, string(p.sep))
	}
	for _, s := range p.segments {
		switch {
		case s == "":
			return Pattern{}, errChannelSegment
		case s == "." || s == "..":
			return Pattern{}, errChannelDots
		case s != "*" && s != "**" && strings.Contains(s, "*"):
			return Pattern{}, errChannelPartStar
		}
	}
	p.number()
	return p, nil
}

// number finds the wildcards among the segments.
func (p *Pattern) number() {
	p.star, p.deep = 0, 0
	for i, s := range p.segments {
		switch s {
		case "*":
			p.star |= 1 << i
		case "**":
			p.deep |= 1 << i
		}
	}
}

// IsInvisible reports whether a character changes how a name is shown without being seen itself, so that two names look the same: the controls
// of the direction of text (Unicode's Bidi_Control), ZERO WIDTH SPACE, WORD JOINER and ZERO WIDTH NO-BREAK SPACE. ZERO WIDTH JOINER and
// NON-JOINER are none of them: words of Persian and of Indian languages and many emoji need them.
func IsInvisible(r rune) bool {
	return r == '\u200b' || r == '\u2060' || r == '\ufeff' || unicode.Is(unicode.Bidi_Control, r)
}

// CheckName tells whether text names one channel; its error is for clients.
func CheckName(text string) error {
	p, err := ParsePattern(text)
	if err != nil {
		return err
	}
	if p.IsPattern() {
		return errChannelIsPattern
	}
	return nil
}

// IsReserved tells whether the channel belongs to the server: its first segment begins with $.
func IsReserved(name string) bool { return strings.HasPrefix(name, "$") }

// separator is the one that text uses: / where it holds one, else . where it holds one, else none.
func separator(text string) byte {
	if strings.IndexByte(text, '/') >= 0 {
		return '/'
	}
	if strings.IndexByte(text, '.') >= 0 {
		return '.'
	}
	return 0
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

// IsPattern tells whether it holds a wildcard, so that it may match more than the one name it spells.
func (p Pattern) IsPattern() bool { return p.star|p.deep != 0 }

// Segments are the parts between the separators. They must not be changed.
func (p Pattern) Segments() []string { return p.segments }

// Separator is '/' or '.', or 0 for a single segment, which fits either.
func (p Pattern) Separator() byte { return p.sep }

// Match reports whether the pattern matches the channel name, which must be valid. Its cost is linear in the name's segments,
// whatever the pattern: each step keeps the set of places in the pattern that the segments so far can have reached.
func (p Pattern) Match(name string) bool {
	if !p.IsPattern() {
		return p.text == name
	}
	return p.match(name, nil)
}

// MatchSegments is Match for the segments of a name that uses the pattern's separator, or of one segment.
func (p Pattern) MatchSegments(name []string) bool {
	state := p.closure(1)
	for i := 0; i < len(name) && state != 0; i++ {
		state = p.step(state, name[i], nil)
	}
	return state&(1<<len(p.segments)) != 0
}

// match is Match of the pattern with a filling in it; nil fills nothing.
func (p Pattern) match(name string, f *Filling) bool {
	sep := separator(name)
	if sep != 0 && p.sep != 0 && sep != p.sep {
		return false
	}
	state := p.closure(1)
	for rest, more := name, true; more && state != 0; {
		var segment string
		if sep == 0 {
			segment, more = rest, false
		} else {
			segment, rest, more = cut(rest, sep)
		}
		state = p.step(state, segment, f)
	}
	return state&(1<<len(p.segments)) != 0
}

// cut is strings.Cut around a separator of one byte.
func cut(s string, sep byte) (before, after string, found bool) {
	if i := strings.IndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// step moves a set of places over one segment. Bit i stands for: the first i parts of the pattern are used up.
func (p Pattern) step(state uint32, segment string, f *Filling) uint32 {
	if f != nil {
		return p.stepFilled(state, segment, f)
	}
	next := p.stepOther(state)
	for literals := p.literals(state); literals != 0; literals &= literals - 1 {
		if i := bits.TrailingZeros32(literals); p.segments[i] == segment {
			next |= 1 << (i + 1)
		}
	}
	return p.closure(next)
}

// stepFilled is step with a filling for some of the pattern's `*`.
func (p Pattern) stepFilled(state uint32, segment string, f *Filling) uint32 {
	next := state & p.deep
	for places := state &^ p.deep & (1<<len(p.segments) - 1); places != 0; places &= places - 1 {
		i := bits.TrailingZeros32(places)
		part := p.segments[i]
		if f[i] != "" {
			part = f[i]
		}
		if part == "*" || part == segment {
			next |= 1 << (i + 1)
		}
	}
	return p.closure(next)
}

// stepOther moves a set of places over a segment that the pattern does not name, but for the closure.
func (p Pattern) stepOther(state uint32) uint32 { return state&p.deep | state&p.star<<1 }

// literals is the part of a set of places where the pattern asks for a certain segment.
func (p Pattern) literals(state uint32) uint32 {
	return state &^ (p.star | p.deep) & (1<<len(p.segments) - 1)
}

// closure adds the places reached by letting ** stand for nothing.
func (p Pattern) closure(state uint32) uint32 {
	for {
		next := state | state&p.deep<<1
		if next == state {
			return state
		}
		state = next
	}
}
