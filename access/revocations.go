package access

import (
	"sync"
	"time"
)

// Bounds of what is remembered of revocations; beyond them the oldest are forgotten.
const (
	RevocationTime = 24 * time.Hour
	maxRevocations = 100_000
)

// Revocations remembers whose tokens and tickets were revoked and when: those that were issued until then are not taken any more. It is
// safe for concurrent use; the zero Revocations has none.
type Revocations struct {
	mu    sync.RWMutex
	users map[string]time.Time
	order []revocation // the oldest first; what was revoked again later stands twice
}

type revocation struct {
	user string
	at   time.Time
}

// Revoke revokes what a user was issued up to a moment, on whichever node that was decided. It tells whether that is news. Anonymous clients
// have nothing to revoke.
func (r *Revocations) Revoke(user string, at time.Time) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users == nil {
		r.users = make(map[string]time.Time)
	}
	if user == "" || !at.After(r.users[user]) {
		return false
	}
	r.users[user] = at
	r.order = append(r.order, revocation{user, at})
	for len(r.order) > maxRevocations || time.Since(r.order[0].at) > RevocationTime {
		if first := r.order[0]; r.users[first.user].Equal(first.at) {
			delete(r.users, first.user)
		}
		r.order[0] = revocation{}
		if r.order = r.order[1:]; len(r.order) == 0 {
			break
		}
	}
	return true
}

// Revoked tells whether the client's credential was revoked. One that does not say when it was issued may be older than any revocation of
// its user. Tokens tell the second only: those of the second of the revocation count as older.
func (r *Revocations) Revoked(id *Identity) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	at, found := r.users[id.User]
	return found && !id.Issued.After(at)
}

// Len is how many users are remembered.
func (r *Revocations) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.users)
}
