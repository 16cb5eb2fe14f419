package memory

import (
	"slices"
	"sort"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// journal has all messages that are kept, in their order. Those that were dropped leave holes, which are closed when they are most of it.
type journal struct {
	entries []logged
	holes   int
}

// logged is a message, nil once it was dropped.
type logged struct {
	offset  uint64
	message *hub.Message
}

func (j *journal) add(m *hub.Message) { j.entries = append(j.entries, logged{m.Offset, m}) }

// drop takes out the message of an offset.
func (j *journal) drop(offset uint64) {
	i := j.after(offset - 1)
	j.entries[i].message = nil
	j.holes++
	for len(j.entries) > 0 && j.entries[0].message == nil {
		j.entries = j.entries[1:]
		j.holes--
	}
	if j.holes > 1024 && j.holes > len(j.entries)/2 {
		j.entries = slices.DeleteFunc(j.entries, func(e logged) bool { return e.message == nil })
		j.holes = 0
	}
}

// after is the index of the first entry with an offset larger than the given one.
func (j *journal) after(offset uint64) int {
	return sort.Search(len(j.entries), func(i int) bool { return j.entries[i].offset > offset })
}

// since returns the entries with offsets larger than the given one.
func (j *journal) since(offset uint64) []logged { return j.entries[j.after(offset):] }
