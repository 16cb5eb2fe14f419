package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
)

// Bounds of fetching an issuer's keys.
const (
	keysRefresh   = 10 * time.Minute // between two fetches in order
	keysMinWait   = time.Second      // after one that failed; doubles up to
	keysMaxWait   = time.Minute
	keysTimeout   = 10 * time.Second // of one fetch
	keysPatience  = 5 * time.Second  // that a token waits for keys that are being fetched
	keysUnknown   = 10 * time.Second // between two fetches because of a token with an unknown key
	maxKeySet     = 1 << 20          // bytes
	maxKeys       = 64
	maxKeyIDBytes = 256
)

// KeySet is an issuer's set of public keys (JWKS), fetched from a URL and again every 10 minutes. A set that was fetched once stays in
// use while the issuer cannot be reached. It is safe for concurrent use and must be closed.
type KeySet struct {
	url     string
	address string // the URL without login and query, for the log
	client  *http.Client
	log     atomic.Pointer[zap.Logger]
	keys    atomic.Pointer[[]jwkset.JWK]
	cancel  context.CancelFunc
	done    chan struct{}
	wanted  chan struct{} // asks for a fetch at once

	mu        sync.Mutex
	fetching  bool
	fetched   chan struct{} // closed when the fetch that is under way or next has ended
	last      time.Time     // when the last one ended
	known     bool          // one has succeeded
	successes uint64        // fetches that have succeeded
}

// OpenKeySet begins to fetch the keys and does not wait for them. Its error is for the operator.
func OpenKeySet(address string, log *zap.Logger) (*KeySet, error) {
	return openKeySet(address, log, &http.Transport{
		Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	})
}

func openKeySet(address string, log *zap.Logger, transport http.RoundTripper) (*KeySet, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("the address of the keys must be an http or https URL")
	}
	s := &KeySet{
		url: address, address: (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), done: make(chan struct{}), wanted: make(chan struct{}, 1),
		fetching: true, fetched: make(chan struct{}),
		client: &http.Client{
			Timeout:       keysTimeout,
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	s.SetLog(log)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.run(ctx)
	return s, nil
}

// SetLog has the set log to another logger from now on.
func (s *KeySet) SetLog(log *zap.Logger) { s.log.Store(log) }

// Close ends the fetching.
func (s *KeySet) Close() {
	s.cancel()
	<-s.done
}

// Keyfunc implements Keys. The function returns the keys that may have signed the token: those of its kid, or all where it names none,
// whose type fits its algorithm. Several keys of a set may share a kid (RFC 7517, section 4.5).
//
// A kid that the set lacks may be new. Then the keys are fetched again, but at most once in 10 seconds: whoever makes up tokens must not
// keep the issuer busy. Until that fetch has succeeded the function returns [Unavailable]; only then can it say that the kid is unknown.
func (s *KeySet) Keyfunc(ctx context.Context) jwt.Keyfunc {
	return func(token *jwt.Token) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, keysPatience)
		defer cancel()
		if !s.ready() {
			s.await(ctx)
		}
		if !s.ready() {
			return nil, Unavailable
		}
		found, known := s.candidates(token)
		if id, _ := token.Header["kid"].(string); !known && id != "" && len(id) <= maxKeyIDBytes {
			fresh := s.await(ctx)
			if found, known = s.candidates(token); !known && !fresh {
				return nil, Unavailable
			}
		}
		if len(found.Keys) == 0 {
			return nil, UnknownKey
		}
		return found, nil
	}
}

// candidates returns the keys that may have signed a token, and reports whether the set has a key of its kid at all.
func (s *KeySet) candidates(token *jwt.Token) (found jwt.VerificationKeySet, known bool) {
	keys := s.keys.Load()
	if keys == nil {
		return found, false
	}
	id, _ := token.Header["kid"].(string)
	algorithm := token.Method.Alg()
	for _, k := range *keys {
		marshalled := k.Marshal()
		if id != "" && marshalled.KID != id {
			continue
		}
		known = true
		if marshalled.ALG != "" && string(marshalled.ALG) != algorithm {
			continue
		}
		if public, err := fitting(algorithm, k.Key()); err == nil {
			found.Keys = append(found.Keys, public)
		}
	}
	return found, known
}

func (s *KeySet) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// await waits for the fetch that is under way. Where there is none it asks for one, unless the last one ended less than 10 seconds ago.
// It reports whether a fetch has succeeded that ended after the call.
func (s *KeySet) await(ctx context.Context) bool {
	s.mu.Lock()
	if !s.fetching {
		if time.Since(s.last) < keysUnknown {
			s.mu.Unlock()
			return false
		}
		s.fetching = true
		s.wanted <- struct{}{} // run takes it before the next fetch
	}
	fetched, before := s.fetched, s.successes
	s.mu.Unlock()
	select {
	case <-fetched:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.successes > before
}

func (s *KeySet) run(ctx context.Context) {
	defer close(s.done)
	wait := keysMinWait
	for {
		err := s.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		next := keysRefresh
		if err != nil {
			s.log.Load().Error("the issuer's keys cannot be fetched; trying again later", zap.String("issuer", s.address),
				zap.Duration("after", wait), zap.Bool("earlier_keys_in_use", s.ready()), zap.Error(err))
			next = wait
			wait = min(2*wait, keysMaxWait)
		} else {
			wait = keysMinWait
		}
		s.settle(err == nil)
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			s.begin()
		case <-s.wanted:
			timer.Stop()
		}
	}
}

// begin marks that a fetch is under way; one that was asked for at the same moment is the same.
func (s *KeySet) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetching = true
	select {
	case <-s.wanted:
	default:
	}
}

// settle ends a fetch and lets go of those that wait for it.
func (s *KeySet) settle(ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetching, s.last = false, time.Now()
	if s.known = s.known || ok; ok {
		s.successes++
	}
	close(s.fetched)
	s.fetched = make(chan struct{})
}

// fetch replaces the keys by those that the issuer has now. On an error the earlier ones stay.
func (s *KeySet) fetch(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return errors.New("the address is not valid")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if err != nil {
		var failure *url.Error
		if errors.As(err, &failure) {
			err = failure.Err // without the address, which may hold a secret
		}
		return fmt.Errorf("asking for them: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > maxKeySet {
		return fmt.Errorf("the answer is longer than %d bytes", maxKeySet)
	}
	keys, err := readKeySet(body)
	if err != nil {
		return err
	}
	s.keys.Store(&keys)
	return nil
}

// readKeySet takes the public keys for signatures out of a set; others, and those of kinds that are not known, are left out.
func readKeySet(body []byte) ([]jwkset.JWK, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("the answer is no JSON object with keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the set has more than %d keys", maxKeys)
	}
	var usable []jwkset.JWK
	for _, raw := range set.Keys {
		// A shared secret that stands in public is none; without Private it is not read.
		k, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil || k.Marshal().USE == jwkset.UseEnc || k.Marshal().KTY == jwkset.KtyOct {
			continue
		}
		if _, err := fitting(usual(k.Key()), k.Key()); err == nil {
			usable = append(usable, k)
		}
	}
	if len(usable) == 0 {
		return nil, errors.New("the set has no key that can be used")
	}
	return usable, nil
}
