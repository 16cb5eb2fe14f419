package access

import (
	"fmt"
	"strings"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Own tells a client's own channels from those of others, by placeholders that stand for whole segments in the pattern of a channel
// block: {user} and {claim.NAME}. In general each of them is a `*`; that decides which block rules a channel and never depends on who
// asks. A client's own channels are those that have its own values in these places. The zero Own has no placeholders: all is everyone's.
type Own struct {
	pattern protocol.Pattern // in general
	places  []place
}

// place is a segment that a placeholder stands for.
type place struct {
	segment     int
	placeholder string // without its braces
}

// ParsePattern reads the pattern of a channel block: what it is in general, and what of it is a client's own. Its error is for the
// operator.
func ParsePattern(text string) (general protocol.Pattern, own Own, err error) {
	var out strings.Builder
	var starts []int
	for rest := text; ; {
		before, behind, found := strings.Cut(rest, "{")
		out.WriteString(before)
		if strings.Contains(before, "}") {
			return general, own, fmt.Errorf("channel %q: a } without its {", text)
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(behind, "}")
		if !closed || !IsPlaceholder(name) {
			return general, own, fmt.Errorf("channel %q: only {user} and {claim.NAME} may stand in braces", text)
		}
		written := out.String()
		if written != "" && !isSeparator(written[len(written)-1]) || after != "" && !isSeparator(after[0]) {
			return general, own, fmt.Errorf("channel %q: {%s} must be a whole segment", text, name)
		}
		starts = append(starts, out.Len())
		own.places = append(own.places, place{placeholder: name})
		out.WriteByte('*')
		rest = after
	}
	general, err = protocol.ParsePattern(out.String())
	if err != nil {
		return general, Own{}, fmt.Errorf("channel %q: %w", text, err)
	}
	own.pattern = general
	for i, start := range starts {
		if separator := general.Separator(); separator != 0 {
			own.places[i].segment = strings.Count(out.String()[:start], string(separator))
		}
	}
	return general, own, nil
}

func isSeparator(c byte) bool { return c == '/' || c == '.' }

// Placeholders are those that stand in the pattern, without their braces.
func (o *Own) Placeholders() []string {
	names := make([]string, len(o.places))
	for i, at := range o.places {
		names[i] = at.placeholder
	}
	return names
}

// fill finds the client's values. ok is false where one of them cannot be a segment: then nothing is the client's own.
func (o *Own) fill(f *protocol.Filling, id *Identity) (ok bool) {
	for _, at := range o.places {
		value := id.Value(at.placeholder)
		if !protocol.IsSegment(value, o.pattern.Separator()) {
			return false
		}
		f[at.segment] = value
	}
	return true
}

// Holds tells whether a channel that the pattern matches in general is the client's own. It allocates nothing.
func (o *Own) Holds(id *Identity, channel string) bool {
	if len(o.places) == 0 {
		return true
	}
	var f protocol.Filling
	return o.fill(&f, id) && o.pattern.MatchFilled(&f, channel)
}

// HoldsAll reports the same for all channels of a pattern that is contained in general; false where work does not suffice to find out.
func (o *Own) HoldsAll(id *Identity, q protocol.Pattern, work *protocol.Work) bool {
	if len(o.places) == 0 {
		return true
	}
	var f protocol.Filling
	return o.fill(&f, id) && o.pattern.Filled(&f).Contains(q, work)
}
