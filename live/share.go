package live

import "github.com/neuroquantumdb/neuroquantum-ws/protocol"

// Owner is for whom a result is kept. When there is room for no more results they are shared equally: among clients, and then among
// the connections of a client.
type Owner struct {
	Client     string // a user, or the address of anonymous clients
	Connection string
}

// shares counts the results that each client and connection watches.
type shares struct {
	clients map[string]int
	owners  map[Owner]map[*Result]int // by result: how often it is watched
}

func newShares() shares {
	return shares{clients: make(map[string]int), owners: make(map[Owner]map[*Result]int)}
}

func (s *shares) add(o Owner, r *Result) {
	watched := s.owners[o]
	if watched == nil {
		watched = make(map[*Result]int)
		s.owners[o] = watched
	}
	if watched[r]++; watched[r] == 1 {
		s.clients[o.Client]++
	}
}

// remove takes back an add, unless drop has done so already.
func (s *shares) remove(o Owner, r *Result) {
	watched := s.owners[o]
	if watched[r] > 1 {
		watched[r]--
	} else {
		s.drop(o, r)
	}
}

// drop takes a result from its owner, however often it is watched.
func (s *shares) drop(o Owner, r *Result) {
	watched := s.owners[o]
	if watched[r] == 0 {
		return
	}
	delete(watched, r)
	if len(watched) == 0 {
		delete(s.owners, o)
	}
	if s.clients[o.Client]--; s.clients[o.Client] == 0 {
		delete(s.clients, o.Client)
	}
}

// surplus returns a result that only one owner watches, who has more than its share while o has less; nil where there is none. The
// cost is a look at each owner.
func (s *shares) surplus(o Owner) (Owner, *Result) {
	client := o.Client
	for name, n := range s.clients {
		if n > s.clients[client] {
			client = name
		}
	}
	least := len(s.owners[o]) + 1
	if client != o.Client {
		if s.clients[client] <= s.clients[o.Client]+1 {
			client = o.Client
		} else {
			least = 0 // which connection of the other it is does not matter to o
		}
	}
	var holder Owner
	var most map[*Result]int
	for other, watched := range s.owners {
		if other.Client == client && len(watched) > max(least, len(most)) {
			holder, most = other, watched
		}
	}
	for r, n := range most {
		if r.watchers == n {
			return holder, r
		}
	}
	return Owner{}, nil
}

// makeRoomLocked makes room for another result of o; it reports whether it could: a result goes that nobody watches, or one of who has more
// than its share.
func (e *Engine) makeRoomLocked(o Owner) bool {
	if len(e.results) < maxResults || e.forgetLocked() {
		return true
	}
	holder, r := e.shares.surplus(o)
	if r == nil {
		return false
	}
	e.shares.drop(holder, r)
	e.endLocked(r.key, r, tooManyResults())
	return true
}

func tooManyResults() error {
	e := protocol.Errorf(protocol.LimitExceeded, "too many different results are watched; try again later")
	e.RetryAfter = lastRetry
	return e
}
