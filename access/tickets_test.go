package access

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestTickets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tickets Tickets
		start := time.Now()
		grant := Grant{User: "ann", Roles: []string{"x"}, Claims: map[string]string{"t": "1"}, Expires: start.Add(time.Hour)}
		text, until, err := tickets.Issue(grant, 0)
		if err != nil || until != start.Add(DefaultTicketTTL) || len(text) != 43 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Fatalf("%q until %s, %v", text, until, err)
		}
		grant.Roles[0], grant.Claims["t"] = "y", "2" // they are the caller's
		for _, wrong := range []string{"", text[:42], text + "A", strings.ToUpper(text)} {
			if _, _, ok := tickets.Redeem(wrong); ok {
				t.Errorf("%q is taken", wrong)
			}
		}
		id, expires, ok := tickets.Redeem(text)
		if !ok || id.User != "ann" || id.Roles[0] != "x" || id.Claims["t"] != "1" || !id.Issued.Equal(start) || !id.Expires.Equal(start.Add(time.Hour)) || !expires.Equal(until) {
			t.Errorf("got %+v", id)
		}
		if _, _, ok := tickets.Redeem(text); ok {
			t.Error("it is taken twice")
		}
		tickets.Return(text, id, expires)
		if again, _, ok := tickets.Redeem(text); !ok || again != id {
			t.Error("it was not returned")
		}
		late, _, err := tickets.Issue(grant, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if _, _, ok := tickets.Redeem(late); ok {
			t.Error("it is taken too late")
		}
		for name, test := range map[string]struct {
			user string
			ttl  time.Duration
			want error
		}{
			"nobody":      {"", 0, ErrTicketUser},
			"a long name": {strings.Repeat("x", 257), 0, ErrTicketUser},
			"for ever":    {"ann", MaxTicketTTL + 1, ErrTicketTTL},
			"negative":    {"ann", -1, ErrTicketTTL},
		} {
			if _, _, err := tickets.Issue(Grant{User: test.user}, test.ttl); !errors.Is(err, test.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestTicketsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tickets Tickets
		for range maxTickets {
			if _, _, err := tickets.Issue(Grant{User: "ann"}, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := tickets.Issue(Grant{User: "ann"}, 0); !errors.Is(err, ErrTooManyTickets) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Second)
		if _, _, err := tickets.Issue(Grant{User: "ann"}, 0); err != nil || tickets.Len() != 1 {
			t.Errorf("%v; %d are kept", err, tickets.Len())
		}
	})
}

// TestATicketLetsOneIn: of many that come with it at once.
func TestATicketLetsOneIn(t *testing.T) {
	var tickets Tickets
	for range 100 {
		text, _, err := tickets.Issue(Grant{User: "ann"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		var in atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, _, ok := tickets.Redeem(text); ok {
					in.Add(1)
				}
			})
		}
		all.Wait()
		if in.Load() != 1 {
			t.Fatalf("%d were let in", in.Load())
		}
	}
}

func TestRevocations(t *testing.T) {
	var r Revocations
	now := time.Now()
	ann := func(issued time.Time) *Identity { return &Identity{User: "ann", Issued: issued} }
	if r.Revoked(ann(time.Time{})) {
		t.Error("revoked without revocation")
	}
	r.Revoke("ann", now)
	r.Revoke("ann", now.Add(-time.Hour)) // heard of later
	r.Revoke("", now)
	for _, test := range []struct {
		id      *Identity
		revoked bool
	}{
		{ann(now.Add(-time.Second)), true},
		{ann(now), true},
		{ann(now.Truncate(time.Second)), true},
		{ann(time.Time{}), true},
		{ann(now.Add(time.Second)), false},
		{&Identity{User: "bob"}, false},
		{Anonymous, false},
	} {
		if got := r.Revoked(test.id); got != test.revoked {
			t.Errorf("%+v: %v", test.id, got)
		}
	}
}

func TestRevocationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Revocations
		for n := range maxRevocations + 10 {
			r.Revoke(fmt.Sprint(n), time.Now())
			r.Revoke("ann", time.Now()) // the same moment counts once
		}
		time.Sleep(time.Second)
		r.Revoke("ann", time.Now())
		if n := r.Len(); n > maxRevocations || !r.Revoked(&Identity{User: "ann"}) || r.Revoked(&Identity{User: "0"}) {
			t.Errorf("%d are remembered", n)
		}
		time.Sleep(RevocationTime + time.Second)
		r.Revoke("bob", time.Now())
		if n := r.Len(); n != 1 {
			t.Errorf("%d are remembered for ever", n)
		}
	})
}

func TestSameRights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) *Identity {
			return &Identity{
				User:    rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, label+" user"),
				Roles:   rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y"}), 0, 2).Draw(t, label+" roles"),
				Claims:  rapid.MapOfN(rapid.Just("t"), rapid.SampledFrom([]string{"1", "2"}), 0, 1).Draw(t, label+" claims"),
				Expires: time.Unix(int64(rapid.IntRange(0, 9).Draw(t, label)), 0),
			}
		}
		a, b := draw("a"), draw("b")
		same := a.User == b.User && fmt.Sprint(a.Roles) == fmt.Sprint(b.Roles) && maps.Equal(a.Claims, b.Claims)
		if a.SameRights(b) != same || !a.SameRights(a) {
			t.Errorf("%+v and %+v: %v", a, b, !same)
		}
	})
}
