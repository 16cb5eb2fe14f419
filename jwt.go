package neuroquantumws

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/directive"
)

// When a token must be there.
const (
	requiredUpgrade = "upgrade"
	requiredMessage = "message"
)

// JWT says which JSON web tokens clients may show, and where. A token that is shown and not valid is refused: its client is never taken
// for an anonymous one.
type JWT struct {
	// What tokens are verified with: a secret for HS256 and its like, otherwise a public key or certificate in PEM, base64 or a file. May
	// be marked with file:, base64: or secret:, and may hold placeholders such as {env.JWT_KEY}. A text that looks like a path and is no
	// file, and a secret that is shorter than its hash, are refused.
	Key string `json:"key,omitempty"`
	// Where the issuer publishes its keys instead. They are fetched again every 10 minutes, and when a token names one that is not known.
	JWKS string `json:"jwks,omitempty"`
	// The algorithms that are taken. Default: HS256 for a secret, the usual one for a public key, RS256, ES256 and EdDSA with jwks.
	Algorithms []string `json:"algorithms,omitempty"`
	// The iss that tokens must have. Default: any.
	Issuer string `json:"issuer,omitempty"`
	// Of these tokens must have one in aud. Default: any.
	Audience []string `json:"audience,omitempty"`
	// The claim that names the user; within objects with dots between. Default: sub.
	UserClaim string `json:"user_claim,omitempty"`
	// The claim with the user's roles: an array, or a string with spaces between. Default: roles.
	RolesClaim string `json:"roles_claim,omitempty"`
	// The cookie that may hold a token. It counts only in requests of pages whose origin is allowed by name or the same. Default: none.
	Cookie string `json:"cookie,omitempty"`
	// upgrade: without a token there is no connection. message: the connection opens, and its client must authenticate within
	// auth_timeout. Default: clients may be anonymous.
	Required string `json:"required,omitempty"`
	// How far the clocks of issuer and server may differ; at most 25s. Default: 10s.
	Leeway caddy.Duration `json:"leeway,omitempty"`
}

// validate checks what can be known without reading keys.
func (j *JWT) validate() error {
	if (j.Key == "") == (j.JWKS == "") {
		return errors.New("jwt: give key or jwks, and one of them only")
	}
	for _, name := range j.Algorithms {
		if err := access.CheckAlgorithm(name); err != nil {
			return fmt.Errorf("jwt: algorithms: %w", err)
		}
		if j.JWKS != "" && strings.HasPrefix(name, "HS") {
			return fmt.Errorf("jwt: algorithms: %s needs a shared secret, and jwks are public", name)
		}
	}
	switch {
	case j.Required != "" && j.Required != requiredUpgrade && j.Required != requiredMessage:
		return errors.New("jwt: required must be upgrade or message")
	case j.Leeway < 0 || time.Duration(j.Leeway) > access.MaxLeeway:
		return fmt.Errorf("jwt: leeway must be at most %s", access.MaxLeeway)
	case strings.ContainsAny(j.UserClaim+j.RolesClaim, "{}"):
		return errors.New("jwt: user_claim and roles_claim are names of claims, without braces")
	case strings.ContainsAny(j.Cookie, " \t;,=\"{}"):
		return errors.New("jwt: cookie: this cannot be the name of a cookie")
	}
	return nil
}

// keySets holds the issuers' key sets of this process by their addresses, so that a set outlives a reload.
var keySets = caddy.NewUsagePool()

// pooledKeys is a key set in the pool.
type pooledKeys struct{ *access.KeySet }

// Destruct implements caddy.Destructor.
func (p pooledKeys) Destruct() error { p.Close(); return nil }

// compileTokens makes the verifier of the configuration, nil where there is none. claims are those that are used elsewhere in it.
func (h *Handler) compileTokens(claims []string) (*access.Tokens, error) {
	j := h.JWT
	if j == nil {
		return nil, nil
	}
	if err := j.validate(); err != nil {
		return nil, err
	}
	repl := caddy.NewReplacer()
	o := access.TokenOptions{
		Algorithms: j.Algorithms, UserClaim: j.UserClaim, RolesClaim: j.RolesClaim, Claims: claims,
		Leeway: time.Duration(cmp.Or(j.Leeway, caddy.Duration(access.DefaultLeeway))),
	}
	var err error
	if o.Issuer, err = repl.ReplaceOrErr(j.Issuer, true, true); err != nil {
		return nil, fmt.Errorf("jwt: issuer: %w", err)
	}
	for _, given := range j.Audience {
		audience, err := repl.ReplaceOrErr(given, true, true)
		if err != nil {
			return nil, fmt.Errorf("jwt: audience: %w", err)
		}
		if audience == "" {
			return nil, errors.New("jwt: audience must not be empty")
		}
		o.Audience = append(o.Audience, audience)
	}
	if err := h.loadKeys(&o, repl); err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	if len(o.Audience) == 0 && j.JWKS != "" {
		h.log.Warn("jwt: without audience, tokens that the issuer made for other services are taken, too", zap.String("hub", h.name))
	}
	tokens, err := access.NewTokens(o)
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	return tokens, nil
}

// loadKeys reads the key, or takes up the key set. It does not wait for the issuer.
func (h *Handler) loadKeys(o *access.TokenOptions, repl *caddy.Replacer) error {
	if h.JWT.Key != "" {
		text, err := repl.ReplaceOrErr(h.JWT.Key, true, true)
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		keys, algorithms, err := access.ParseKey(text, o.Algorithms)
		if err != nil {
			return err
		}
		o.Keys, o.Algorithms = keys, algorithms
		return nil
	}
	address, err := repl.ReplaceOrErr(h.JWT.JWKS, true, true)
	if err != nil {
		return fmt.Errorf("jwks: %w", err)
	}
	if strings.HasPrefix(address, "http:") {
		h.log.Warn("jwt: the issuer's keys come without TLS: whoever is on the way can replace them", zap.String("hub", h.name))
	}
	log := h.log.With(zap.String("hub", h.name))
	pooled, loaded, err := keySets.LoadOrNew(address, func() (caddy.Destructor, error) {
		set, err := access.OpenKeySet(address, log)
		return pooledKeys{set}, err
	})
	if err != nil {
		return err
	}
	h.keySet = address
	set := pooled.(pooledKeys)
	if loaded {
		set.SetLog(log)
	}
	o.Keys = set
	if len(o.Algorithms) == 0 {
		o.Algorithms = []string{"RS256", "ES256", "EdDSA"}
	}
	return nil
}

// closeKeys lets go of the key set.
func (h *Handler) closeKeys() error {
	if h.keySet == "" {
		return nil
	}
	_, err := keySets.Delete(h.keySet)
	h.keySet = ""
	return err
}

// claimsInUse are those that the configuration names in channel patterns, in bind and in metadata.
func (h *Handler) claimsInUse() ([]string, error) {
	var claims []string
	note := func(placeholders ...string) {
		for _, name := range placeholders {
			if claim := access.ClaimOf(name); claim != "" && !slices.Contains(claims, claim) {
				claims = append(claims, claim)
			}
		}
	}
	for _, c := range h.Channel {
		_, own, err := access.ParsePattern(c.Pattern)
		if err != nil {
			return nil, err
		}
		note(own.Placeholders()...)
	}
	for _, q := range h.Query {
		for _, p := range q.Param {
			note(clientPlaceholders(p.Bind)...)
		}
	}
	for _, text := range h.Metadata {
		note(clientPlaceholders(text)...)
	}
	slices.Sort(claims)
	return claims, nil
}

func (h *Handler) unmarshalJWT(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("jwt: it takes a block and no arguments")
	}
	h.JWT = new(JWT)
	j := h.JWT
	var key caddyfile.Dispenser // at the key
	err := directive.Options(d, func(d *caddyfile.Dispenser, name string) (bool, error) {
		if name == "key" {
			key = *d
		}
		texts := map[string]*string{
			"key": &j.Key, "jwks": &j.JWKS, "issuer": &j.Issuer, "user_claim": &j.UserClaim, "roles_claim": &j.RolesClaim,
			"cookie": &j.Cookie,
		}
		if to := texts[name]; to != nil {
			return true, directive.Args(d, directive.Text(to))
		}
		switch name {
		case "algorithms", "audience":
			given := d.RemainingArgs()
			if len(given) == 0 || slices.Contains(given, "") {
				return true, d.Errf("%s: give at least one, and none that is empty", name)
			}
			if name == "audience" {
				j.Audience = given
				return true, nil
			}
			j.Algorithms = given
			for _, algorithm := range given {
				if err := access.CheckAlgorithm(algorithm); err != nil {
					return true, d.Errf("algorithms: %v", err)
				}
			}
			return true, nil
		case "leeway":
			return true, directive.Args(d, directive.Duration(&j.Leeway))
		case "required":
			j.Required = requiredUpgrade
			return true, directive.OptionalArgs(d, 0, func(value string) string {
				j.Required = value
				if value != requiredMessage {
					return "must be message, or left out"
				}
				return ""
			})
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if err := j.validate(); err != nil {
		return d.Err(err.Error())
	}
	// What placeholders stand for may be known only where the configuration runs.
	if j.Key != "" && !strings.Contains(j.Key, "{") {
		if _, _, err := access.ParseKey(j.Key, j.Algorithms); err != nil {
			return key.Errf("jwt: %v", err)
		}
	}
	return nil
}
