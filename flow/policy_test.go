package flow

import "testing"

func TestPolicy(t *testing.T) {
	for _, name := range []string{"drop_oldest", "drop_newest", "drop_all", "block", "disconnect"} {
		if p, err := ParsePolicy(name); err != nil || p.String() != name {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	for _, name := range []string{"", "drop", "DROP_OLDEST", "drop_oldest ", "policy(9)"} {
		if p, err := ParsePolicy(name); err == nil {
			t.Errorf("%q is %v", name, p)
		}
	}
	if got := Policy(99).String(); got != "policy(99)" {
		t.Errorf("a policy that does not exist is %q", got)
	}
	var zero Policy
	if zero.String() != "drop_oldest" {
		t.Errorf("the default is %v", zero)
	}
}
