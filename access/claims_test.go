package access

import (
	"encoding/json"
	"testing"
	"time"
)

func TestClaimText(t *testing.T) {
	for _, test := range []struct {
		claim any
		want  string
	}{
		{"a text", "a text"}, {true, "true"}, {nil, ""}, {[]any{"a"}, ""},
		{json.Number("42"), "42"}, {json.Number("42.0"), "42"}, {json.Number("4.2e1"), "42"}, {json.Number("420E-1"), "42"},
		{json.Number("-0"), "0"}, {json.Number("-0.0"), "0"}, {json.Number("0.10"), "0.1"}, {json.Number("9007199254740993"), "9007199254740993"},
		{json.Number("9007199254740993.0"), "9007199254740993"}, {json.Number("1e3"), "1000"}, {json.Number("1e999999999"), ""},
	} {
		if got := ClaimText(test.claim); got != test.want {
			t.Errorf("%v: got %q, want %q", test.claim, got, test.want)
		}
	}
}

// A token whose iat lies in the future by less than the leeway may have been issued before a revocation.
func TestRevocationHeedsTheLeeway(t *testing.T) {
	var revocations Revocations
	at := time.Unix(1_800_000_000, 0)
	revocations.Revoke("ann", at)
	tokens := &Tokens{options: TokenOptions{UserClaim: "sub", RolesClaim: "roles", Leeway: 10 * time.Second}}
	for ahead, want := range map[time.Duration]bool{-time.Hour: true, 0: true, 9 * time.Second: true, 10 * time.Second: true, 11 * time.Second: false} {
		iat, _ := json.Marshal(at.Add(ahead).Unix())
		id, err := tokens.identity(map[string]any{"sub": "ann", "iat": json.Number(iat)})
		if err != nil {
			t.Fatal(err)
		}
		if got := revocations.Revoked(id); got != want {
			t.Errorf("issued %v after the revocation: revoked %v", ahead, got)
		}
	}
}
