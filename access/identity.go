package access

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Identity is who a client is. The zero Identity is an anonymous client. It is shared between goroutines and not changed once it is in
// use: a client that becomes another gets another.
type Identity struct {
	User   string            // empty for an anonymous client, which then has nothing else either
	Roles  []string          // as the token or ticket names them
	Claims map[string]string // those of the token's claims that the configuration uses, as text

	// Issued is when the credential was made at the earliest: a token's iat less the leeway, a ticket's making, the request for all else. It is the zero time for a
	// token that does not say.
	Issued time.Time
	// Expires is when the client must have shown another token; zero for never.
	Expires time.Time
}

// Anonymous is a client of whom nothing is known.
var Anonymous = new(Identity)

// SameRights tells whether both are the same user and every rule holds alike for both.
func (id *Identity) SameRights(other *Identity) bool {
	return id.User == other.User && slices.Equal(id.Roles, other.Roles) && maps.Equal(id.Claims, other.Claims)
}

// claimPrefix begins the name of a placeholder for a claim.
const claimPrefix = "claim."

// IsPlaceholder tells whether name, without its braces, stands for something of the client: user, or claim.NAME.
func IsPlaceholder(name string) bool {
	return name == "user" || strings.HasPrefix(name, claimPrefix) && len(name) > len(claimPrefix)
}

// ClaimOf is the claim that a placeholder's name stands for, empty for user.
func ClaimOf(placeholder string) string {
	claim, _ := strings.CutPrefix(placeholder, claimPrefix)
	if claim == placeholder {
		return ""
	}
	return claim
}

// Value is what a placeholder, named without its braces, stands for; empty where the client has no such thing.
func (id *Identity) Value(placeholder string) string {
	if claim := ClaimOf(placeholder); claim != "" {
		return id.Claims[claim]
	}
	return id.User
}
