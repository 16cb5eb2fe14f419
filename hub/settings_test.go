package hub_test

import (
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// TestRules: which rule holds for a channel, and which contains all of a pattern.
func TestRules(t *testing.T) {
	a, deep := rule(t, "a/*", 0, flow.Class{}), rule(t, "a/**", 0, flow.Class{})
	with, without := settings(a, deep), settings()
	tests := []struct {
		name     string
		settings *hub.Settings
		pattern  string
		want     *hub.Rule
	}{
		{"the first that matches", with, "a/b", a},
		{"a later one", with, "a/b/c", deep},
		{"none", with, "b", nil},
		{"a pattern like the rule's", with, "a/*", a},
		{"a pattern that the first holds in part", with, "a/**", deep},
		{"a pattern that none holds", with, "**", nil},
		{"a name without rules", without, "b", without.Fallback},
		{"a pattern without rules", without, "**", without.Fallback},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := patterns(t, test.pattern)[0]
			if got := test.settings.RuleOf(p, protocol.NewWork(protocol.MaxWork)); got != test.want {
				t.Errorf("%s: %v, want %v", test.pattern, got, test.want)
			}
			if p.IsPattern() {
				return
			}
			if got := test.settings.RuleFor(test.pattern); got != test.want {
				t.Errorf("%s as a channel: %v, want %v", test.pattern, got, test.want)
			}
		})
	}
}
