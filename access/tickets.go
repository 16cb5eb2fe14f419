package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// Bounds of tickets.
const (
	DefaultTicketTTL = time.Minute
	MaxTicketTTL     = time.Hour
	maxTickets       = 100_000
	ticketSweep      = 10 * time.Second // between two looks for those that have run out
	ticketBytes      = 32
)

// Why a ticket is not issued.
var (
	ErrTooManyTickets = errors.New("too many tickets are out")
	ErrTicketTTL      = errors.New("a ticket is good for at most an hour")
	ErrTicketUser     = errors.New("a ticket needs the name of a user, at most 256 bytes without control and invisible characters, and neither . nor .. between slashes")
)

// Grant is whom a ticket lets in.
type Grant struct {
	User   string
	Roles  []string
	Claims map[string]string
	// Expires is when the connection must have shown a token, as with a token's exp. Zero: never.
	Expires time.Time
}

// Tickets are good for one connection each and for a short time, so that they may stand in a URL. Only their hashes are kept, in memory.
// It is safe for concurrent use; the zero Tickets has none.
type Tickets struct {
	mu    sync.Mutex
	out   map[[sha256.Size]byte]ticket
	swept time.Time
}

type ticket struct {
	identity *Identity
	until    time.Time
}

// Issue makes a ticket: 256 random bits as text that may stand in a URL. ttl is how long it is good; 0 is for DefaultTicketTTL.
func (t *Tickets) Issue(g Grant, ttl time.Duration) (text string, until time.Time, err error) {
	if ttl == 0 {
		ttl = DefaultTicketTTL
	}
	if ttl < 0 || ttl > MaxTicketTTL {
		return "", time.Time{}, ErrTicketTTL
	}
	if !ValidUser(g.User) {
		return "", time.Time{}, ErrTicketUser
	}
	var random [ticketBytes]byte
	rand.Read(random[:]) // it never fails: see crypto/rand
	text = base64.RawURLEncoding.EncodeToString(random[:])
	now := time.Now()
	until = now.Add(ttl)
	id := &Identity{User: g.User, Roles: slices.Clone(g.Roles), Claims: maps.Clone(g.Claims), Issued: now, Expires: g.Expires}

	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.swept) >= ticketSweep || len(t.out) >= maxTickets {
		t.swept = now
		maps.DeleteFunc(t.out, func(_ [sha256.Size]byte, k ticket) bool { return !now.Before(k.until) })
	}
	if len(t.out) >= maxTickets {
		return "", time.Time{}, ErrTooManyTickets
	}
	if t.out == nil {
		t.out = make(map[[sha256.Size]byte]ticket)
	}
	t.out[sha256.Sum256([]byte(text))] = ticket{id, until}
	return text, until, nil
}

// Redeem gives the identity of a ticket, which is good for nothing after that. Tickets are found by their hashes: how long that takes
// says nothing about any of them.
func (t *Tickets) Redeem(text string) (id *Identity, until time.Time, ok bool) {
	hash := sha256.Sum256([]byte(text))
	t.mu.Lock()
	defer t.mu.Unlock()
	found, ok := t.out[hash]
	delete(t.out, hash)
	if !ok || !time.Now().Before(found.until) {
		return nil, time.Time{}, false
	}
	return found.identity, found.until, true
}

// Return makes a ticket that was redeemed good again, for a client that did not get in after all.
func (t *Tickets) Return(text string, id *Identity, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out == nil {
		t.out = make(map[[sha256.Size]byte]ticket)
	}
	if len(t.out) < maxTickets {
		t.out[sha256.Sum256([]byte(text))] = ticket{id, until}
	}
}

// Len is how many tickets are kept, those that have run out lately included.
func (t *Tickets) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.out)
}
