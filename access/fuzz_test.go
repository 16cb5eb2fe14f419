package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// FuzzToken gives the verifier tokens of any header and claims, signed by the right key or not: it never takes one that is not signed, not
// by HS256, or that the naive reading below would not take; and what it says of the others are its own words.
func FuzzToken(f *testing.F) {
	secret := []byte(strings.Repeat("k", 32))
	tokens, err := NewTokens(TokenOptions{
		Keys: key{secret}, Algorithms: []string{"HS256"}, Issuer: "i", Audience: []string{"a", "b"}, UserClaim: "u.name", RolesClaim: "r",
		Claims: []string{"t", "u.deep"},
	})
	if err != nil {
		f.Fatal(err)
	}
	good := `{"iss":"i","aud":"a","exp":99999999999,"u":{"name":"ann","deep":7},"r":["x"],"t":true}`
	f.Add(`{"alg":"HS256"}`, good, true)
	f.Add(`{"alg":"HS256"}`, good, false)
	f.Add(`{"alg":"none"}`, good, false)
	f.Add(`{"alg":"HS256","crit":["x"]}`, good, true)
	f.Add(`{"alg":"HS256","kid":5}`, good, true)
	f.Add(`{"alg":"HS256","alg":"none"}`, `{"exp":1e400}`, true)
	f.Add(`{"alg":"HS256"}`, `{"iss":"i","aud":["b"],"exp":1e11,"nbf":-5,"iat":1.5,"u.name":12,"r":"x y"}`, true)
	f.Fuzz(func(t *testing.T, header, claims string, sign bool) {
		b64 := base64.RawURLEncoding.EncodeToString
		text := b64([]byte(header)) + "." + b64([]byte(claims))
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		signature := mac.Sum(nil)
		if !sign {
			signature[0] ^= 1
		}
		token := text + "." + b64(signature)
		id, err := tokens.Verify(context.Background(), token)
		if err != nil {
			var refusal Refusal
			if !errors.As(err, &refusal) || err.Error() != "the token is refused: "+string(refusal) {
				t.Errorf("the error is %v", err)
			}
			return
		}
		var head map[string]any
		var body struct {
			Exp json.Number `json:"exp"`
		}
		if json.Unmarshal([]byte(header), &head) != nil || head["alg"] != "HS256" || head["crit"] != nil || !sign || len(token) > MaxTokenBytes {
			t.Errorf("%s is taken", header)
		}
		if !ValidUser(id.User) || !id.Expires.After(time.Now().Add(-time.Second)) || id.Expires.Year() > 9999 {
			t.Errorf("%s gives %+v", claims, id)
		}
		if json.Unmarshal([]byte(claims), &body) == nil && body.Exp == "" {
			t.Errorf("without exp: %s", claims)
		}
	})
}
