package nats

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/neuroquantumdb/neuroquantum-ws/broker/brokertest"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func TestSubjects(t *testing.T) {
	for channel, want := range map[string]string{
		"a": "a.o", "a/b": "a.b.s", "a.b": "a.b.d", "$JS/API": "=24JS.API.s", ">": "=3E.o", "_INBOX.x": "_INBOX.x.d", "a.b/c": "a=2Eb.c.s",
		"=": "=3D.o", "ü/\u00b5": "ü.\u00b5.s", "s": "s.o",
	} {
		if got := string(appendSubject(nil, channel)); got != want {
			t.Errorf("%s: %s, want %s", channel, got, want)
		}
		if back, err := channelOf(want); err != nil || back != channel {
			t.Errorf("%s: back to %s, %v", want, back, err)
		}
	}
	for _, wrong := range []string{"", ".", "a", ".o", "a.b.o", "a.x", "a..s", "=2e.o", "=2.o", "a.s", "=61.o", "a=20.o", "a.*.s", ">"} {
		if channel, err := channelOf(wrong); err == nil {
			t.Errorf("%s is taken for %s", wrong, channel)
		}
	}
}

func TestFilters(t *testing.T) {
	for pattern, want := range map[string]string{
		"a": "a.o", "a/b": "a.b.s", "*": "*.o", "**": ">", "a/*": "a.*.s", "a.*": "a.*.d", "a/**": "a.>", "a/**/b": "a.>", "**/b": ">", "*/b/**": "*.b.>",
	} {
		if got := filterOf(brokertest.Patterns(t, pattern)[0]); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
}

// FuzzSubject: a subject is a name's own, means nothing special to NATS, and is held by the filters of all patterns that match the name.
func FuzzSubject(f *testing.F) {
	for _, seed := range [][2]string{
		{"a/b", "a/*"}, {"a.b", "**"}, {"$SYS/>", "*/**"}, {"a", "a/**"}, {"_INBOX.*x", "a.b"}, {"=2E.=", "**.="}, {"a", "**/a/**"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, channel, pattern string) {
		if protocol.CheckName(channel) != nil {
			if name, err := channelOf(channel); err == nil && string(appendSubject(nil, name)) != channel {
				t.Fatalf("%q is not what %q is written as", channel, name)
			}
			return
		}
		subject := string(appendSubject(nil, channel))
		if back, err := channelOf(subject); err != nil || back != channel {
			t.Fatalf("%q became %q and %q, %v", channel, subject, back, err)
		}
		if !server.IsValidLiteralSubject(subject) || strings.ContainsAny(subject, "$*> \t\r\n") {
			t.Fatalf("%q became %q", channel, subject)
		}
		p, err := protocol.ParsePattern(pattern)
		if err != nil {
			return
		}
		filter := filterOf(p)
		if !server.IsValidSubject(filter) {
			t.Fatalf("the filter of %q is %q", pattern, filter)
		}
		if p.Match(channel) && !server.SubjectsCollide(subject, filter) {
			t.Fatalf("%q matches %q, but %q does not hold %q", pattern, channel, filter, subject)
		}
	})
}
