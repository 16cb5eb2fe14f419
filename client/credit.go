package client

import "time"

// A grant of credit is a message, and a site bounds how many messages a client may send in a second (rate_limit, 200 unless it says
// otherwise), of which those that are refused count as faults. So a connection grants at a rate of its own, for all queries together, and
// each grant is for all that is owed by then.
const (
	creditEvery   = 20 * time.Millisecond // between two grants, in the long run
	creditBurst   = 20                    // grants that may be sent at once
	creditSlowest = time.Second           // between two grants to a site that refuses them
)

// credits paces the grants of a connection. It is guarded by c.mu.
type credits struct {
	every time.Duration
	next  time.Time // when the next would be due, had there been no burst
	armed bool      // a timer calls grantLocked
}

// wait is how long the next grant has to wait; where that is 0 it is counted as sent.
func (c *credits) wait(now time.Time) time.Duration {
	if c.next.Before(now) {
		c.next = now
	}
	if ahead := c.next.Sub(now) - creditBurst*creditEvery; ahead > 0 {
		return ahead
	}
	c.next = c.next.Add(c.every)
	return 0
}

// grantLocked grants what queries are owed, as far as that may be sent now, and later the rest.
func (s *session) grantLocked() {
	if s.credits.armed {
		return
	}
	for id, st := range s.streams {
		rows, ok := st.(*Rows)
		if !ok || !rows.owes() {
			continue
		}
		if wait := s.credits.wait(time.Now()); wait > 0 {
			s.grantLaterLocked(wait)
			return
		}
		n := rows.settle()
		_ = s.postLocked(&request{Type: "credit", StreamID: id, Batches: n, ID: creditID(id, n)}, nil)
	}
}

func (s *session) grantLaterLocked(wait time.Duration) {
	s.credits.armed = true
	s.laterLocked(wait, func() {
		s.credits.armed = false
		s.grantLocked()
	})
}

// refusedCreditLocked takes the refusal of a grant: too many messages. From then on there are fewer.
func (s *session) refusedCreditLocked(streamID string, batches int, refusal *Error) {
	rows, ok := s.streams[streamID].(*Rows)
	if !ok || !retryable(refusal) {
		return // the query has ended
	}
	rows.owe(batches)
	s.credits.every = min(2*s.credits.every, creditSlowest)
	if !s.credits.armed {
		s.grantLaterLocked(max(refusal.RetryAfter, s.credits.every))
	}
}

// doneWith notes that the batch that was taken last is done with.
func (r *Rows) doneWith() {
	r.mu.Lock()
	inHand := r.inHand
	r.inHand = false
	if inHand {
		r.owed++
	}
	r.mu.Unlock()
	if !inHand {
		return
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if s := r.c.session; s != nil {
		s.grantLocked()
	}
}

// owes tells whether enough is owed to be worth a message: half a window.
func (r *Rows) owes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err == nil && r.owed >= max(1, r.o.Window/2)
}

// settle gives what is owed, and is quits.
func (r *Rows) settle() (batches int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	batches, r.owed = r.owed, 0
	return batches
}

func (r *Rows) owe(batches int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owed += batches
}
