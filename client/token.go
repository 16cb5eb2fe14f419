package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// token is what the Client shows, as long as it is good.
type token struct {
	value   string
	expires time.Time // zero where that is not known
}

// Times of tokens.
const (
	tokenSlack   = 10 * time.Second // a token with less left is fetched anew before it is shown
	renewAtMost  = time.Minute      // a token is renewed so long before it expires, or a fifth of its time where that is less
	renewAtLeast = 5 * time.Second  // between two renewals
)

// fetchToken gives the token for a handshake. Only run calls it.
func (c *Client) fetchToken(ctx context.Context) (string, error) {
	if c.o.TokenFunc == nil {
		return c.o.Token, nil
	}
	t := &c.token
	if t.value != "" && (t.expires.IsZero() || time.Until(t.expires) > tokenSlack) {
		return t.value, nil
	}
	value, err := c.o.TokenFunc(ctx)
	if err != nil {
		return "", fmt.Errorf("client: getting a token: %w", err)
	}
	if err := checkToken(value); err != nil {
		return "", err
	}
	t.value, t.expires = value, expiryOf(value)
	return value, nil
}

// checkToken refuses a token that no header can carry.
func checkToken(token string) error {
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return errors.New("client: the token holds white space or other characters that a header cannot carry")
	}
	return nil
}

// expiryOf reads `exp` of a JSON web token. Nothing is verified: this only says when to get another. Zero where there is none.
func expiryOf(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var c struct {
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(claims, &c) != nil || c.Exp <= 0 || c.Exp > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(c.Exp), 0)
}

// renew keeps the connection's token from expiring: it gets another in good time and shows it by `authenticate`. Where that fails it tries
// again; a connection that the server then closes comes back with a fresh token.
func (s *session) renew() {
	if s.c.o.TokenFunc == nil {
		return
	}
	// run does not touch the token while it serves the connection.
	t := &s.c.token
	for !t.expires.IsZero() {
		left := time.Until(t.expires)
		if !sleepCtx(s.ctx, max(left-min(left/5, renewAtMost), renewAtLeast)) {
			return
		}
		value, err := s.c.o.TokenFunc(s.ctx)
		if err != nil || checkToken(value) != nil {
			continue
		}
		answer, err := s.ask(s.ctx, &request{Type: "authenticate", Token: value})
		if err != nil {
			continue
		}
		t.value, t.expires = value, answer.Expires
	}
}
