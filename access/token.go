package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// MaxTokenBytes is how long a token may be.
const MaxTokenBytes = 8 << 10

// Bounds of the time by which the clocks of issuer and server may differ.
const (
	DefaultLeeway = 10 * time.Second
	MaxLeeway     = 25 * time.Second // beyond it a token would be taken whose connection is to be closed already
)

// Refusal is why a token is refused, in fixed words: nothing of the token is in it.
type Refusal string

// The refusals.
const (
	TooLong     Refusal = "it is longer than 8 KiB"
	Malformed   Refusal = "it is not a signed JSON web token"
	Algorithm   Refusal = "its algorithm is not one of those that are taken"
	UnknownKey  Refusal = "no key fits it"
	Signature   Refusal = "its signature is wrong"
	Expired     Refusal = "it has expired"
	NotYet      Refusal = "it is not valid yet"
	OtherIssuer Refusal = "it is of another issuer"
	OtherReader Refusal = "it is for another audience"
	BadClaims   Refusal = "a claim of it is of the wrong kind"
	NoUser      Refusal = "it names no user, or one that cannot be used"
	Revoked     Refusal = "it was revoked"
	Unavailable Refusal = "the issuer's keys are not known at the moment"
)

// Error implements error.
func (r Refusal) Error() string { return "the token is refused: " + string(r) }

// Keys are what tokens are verified with.
type Keys interface {
	// Keyfunc finds the key for a token. It may wait for the issuer's keys as long as the context lets it.
	Keyfunc(ctx context.Context) jwt.Keyfunc
}

// TokenOptions say which tokens are taken and what is read from them.
type TokenOptions struct {
	Keys       Keys
	Algorithms []string // that the keys are used with, and no others
	Issuer     string   // the `iss` that tokens must have; empty for any
	Audience   []string // of which tokens must have one in `aud`; none for any
	UserClaim  string   // names the user: a string or a number. Default: sub
	RolesClaim string   // an array of strings, or a string of names with spaces between. Default: roles
	Claims     []string // that the identity keeps
	Leeway     time.Duration
}

// Tokens verifies JSON web tokens. It is safe for concurrent use.
type Tokens struct {
	options TokenOptions
	parser  *jwt.Parser
}

// NewTokens makes a verifier. Its error is for the operator.
func NewTokens(o TokenOptions) (*Tokens, error) {
	if o.UserClaim == "" {
		o.UserClaim = "sub"
	}
	if o.RolesClaim == "" {
		o.RolesClaim = "roles"
	}
	if len(o.Algorithms) == 0 {
		return nil, errors.New("no algorithm")
	}
	for _, name := range o.Algorithms {
		if err := CheckAlgorithm(name); err != nil {
			return nil, err
		}
	}
	if o.Leeway < 0 || o.Leeway > MaxLeeway {
		return nil, fmt.Errorf("the leeway must be from 0 to %s", MaxLeeway)
	}
	parser := []jwt.ParserOption{
		jwt.WithValidMethods(o.Algorithms), jwt.WithIssuedAt(), jwt.WithLeeway(o.Leeway),
		jwt.WithJSONNumber(), jwt.WithStrictDecoding(),
	}
	if o.Issuer != "" {
		parser = append(parser, jwt.WithIssuer(o.Issuer))
	}
	if len(o.Audience) > 0 {
		parser = append(parser, jwt.WithAudience(o.Audience...))
	}
	return &Tokens{options: o, parser: jwt.NewParser(parser...)}, nil
}

// Verify gives the identity of a token. An error is a Refusal.
func (t *Tokens) Verify(ctx context.Context, token string) (*Identity, error) {
	if len(token) > MaxTokenBytes {
		return nil, TooLong
	}
	claims := jwt.MapClaims{}
	find := t.options.Keys.Keyfunc(ctx)
	_, err := t.parser.ParseWithClaims(token, claims, func(parsed *jwt.Token) (any, error) {
		// An extension that must be understood (RFC 7515, section 4.1.11) is not.
		if _, critical := parsed.Header["crit"]; critical {
			return nil, Malformed
		}
		if kid, named := parsed.Header["kid"]; named {
			if _, text := kid.(string); !text {
				return nil, Malformed
			}
		}
		key, err := find(parsed)
		if err != nil {
			return nil, err
		}
		return fitting(parsed.Method.Alg(), key)
	})
	if err != nil {
		return nil, refusalOf(err)
	}
	return t.identity(claims)
}

// refusalOf puts the library's errors, which may quote the token, into fixed words.
func refusalOf(err error) error {
	var refusal Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	for _, known := range []struct {
		err error
		as  Refusal
	}{
		{jwt.ErrTokenMalformed, Malformed},
		{jwt.ErrTokenUnverifiable, UnknownKey},
		{jwt.ErrTokenSignatureInvalid, Signature},
		{jwt.ErrInvalidType, BadClaims},
		{jwt.ErrTokenExpired, Expired},
		{jwt.ErrTokenNotValidYet, NotYet},
		{jwt.ErrTokenUsedBeforeIssued, NotYet},
		{jwt.ErrTokenInvalidIssuer, OtherIssuer},
		{jwt.ErrTokenInvalidAudience, OtherReader},
	} {
		if errors.Is(err, known.err) {
			if known.as == Signature && strings.Contains(err.Error(), "signing method") {
				return Algorithm
			}
			return known.as
		}
	}
	if errors.Is(err, jwt.ErrTokenRequiredClaimMissing) {
		return missing(err)
	}
	return BadClaims
}

// missing tells which required claim a token has not: the library says it in words only.
func missing(err error) Refusal {
	switch text := err.Error(); {
	case strings.Contains(text, "aud claim"):
		return OtherReader
	case strings.Contains(text, "iss claim"):
		return OtherIssuer
	default:
		return BadClaims
	}
}

// identity reads what is needed from the claims of a token that is valid.
func (t *Tokens) identity(claims jwt.MapClaims) (*Identity, error) {
	id := &Identity{}
	var ok bool
	if id.Expires, ok = timeOf(claims["exp"]); !ok { // a token without it is good for as long as its key
		return nil, BadClaims
	}
	if id.Issued, ok = timeOf(claims["iat"]); !ok {
		return nil, BadClaims
	}
	if !id.Issued.IsZero() { // the issuer's clock may be ahead by as much: see Revocations.Revoked
		id.Issued = id.Issued.Add(-t.options.Leeway)
	}
	user := lookup(claims, t.options.UserClaim)
	if _, flag := user.(bool); !flag {
		id.User = ClaimText(user)
	}
	if !ValidUser(id.User) {
		return nil, NoUser
	}
	id.Roles = rolesOf(lookup(claims, t.options.RolesClaim))
	for _, name := range t.options.Claims {
		if text := ClaimText(lookup(claims, name)); text != "" {
			if id.Claims == nil {
				id.Claims = make(map[string]string)
			}
			id.Claims[name] = text
		}
	}
	return id, nil
}

// algorithms that are known. `none` is not one of them.
var algorithms = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// CheckAlgorithm tells whether tokens may be signed by an algorithm of this name. Its error is for the operator.
func CheckAlgorithm(name string) error {
	if !slices.Contains(algorithms, name) {
		return fmt.Errorf("%q is no algorithm: use some of %s", name, strings.Join(algorithms, ", "))
	}
	return nil
}
