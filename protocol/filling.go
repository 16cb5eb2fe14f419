package protocol

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Filling is what takes the place of some of a pattern's `*`: where a text is not empty it stands for the segment of its number, which
// must be a `*`. Every text must be a segment by IsSegment.
type Filling [MaxChannelSegments]string

// IsSegment tells whether text can be one whole segment of names that use the separator; 0 is for a pattern of one segment.
func IsSegment(text string, separator byte) bool {
	if text == "" || text == "." || text == ".." || !utf8.ValidString(text) || strings.IndexByte(text, '/') >= 0 {
		return false
	}
	if separator != '/' && strings.IndexByte(text, '.') >= 0 {
		return false
	}
	for _, r := range text {
		if r == '*' || unicode.IsControl(r) || unicode.IsSpace(r) || IsInvisible(r) {
			return false
		}
	}
	return true
}

// Filled is the pattern with a filling in it. Its String may be longer than a name can be: then it matches none.
func (p Pattern) Filled(f *Filling) Pattern {
	p.segments = slices.Clone(p.segments)
	for i := range p.segments {
		if f[i] != "" {
			p.segments[i] = f[i]
		}
	}
	p.number()
	separator := ""
	if p.sep != 0 {
		separator = string(p.sep)
	}
	p.text = strings.Join(p.segments, separator)
	return p
}

// MatchFilled tells what Match of the Filled pattern would, without making one.
func (p Pattern) MatchFilled(f *Filling, name string) bool { return p.match(name, f) }
