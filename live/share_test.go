package live

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// TestResultsAreShared: who has taken all results leaves their share to who comes later, client by client and then connection by connection.
func TestResultsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(1)
		table.personal = true
		e, _ := engine(t, table, Watch{})
		watched := map[string][]stream.Live{} // by connection
		n := 0
		watch := func(client, connection string) bool {
			n++
			l, err := e.Watch("q", nil, fmt.Sprint(n), Owner{client, connection})
			if err != nil {
				if told, ok := protocol.AsError(err); !ok || told.Code != protocol.LimitExceeded || told.RetryAfter == 0 {
					t.Fatalf("got %v", err)
				}
				return false
			}
			watched[connection] = append(watched[connection], l)
			return true
		}
		// kept counts the watches of a connection that have not ended.
		kept := func(connection string) (n int) {
			for _, l := range watched[connection] {
				w := l.(*watcher)
				w.mu.Lock()
				if w.ended == nil {
					n++
				}
				w.mu.Unlock()
			}
			return n
		}
		for i := range 2 * maxResults {
			watch("flood", fmt.Sprint("flood ", i%10))
		}
		for _, c := range []struct{ client, connection string }{{"ann", "ann 1"}, {"ann", "ann 2"}, {"bob", "bob 1"}} {
			for watch(c.client, c.connection) {
			}
		}
		if s := e.Stats(); s.Results != maxResults {
			t.Errorf("%d results are kept", s.Results)
		}
		flood := 0
		for i := range 10 {
			flood += kept(fmt.Sprint("flood ", i))
			if k := kept(fmt.Sprint("flood ", i)); k < 30 || k > 37 {
				t.Errorf("connection %d of the flood has %d", i, k)
			}
		}
		ann, bob := kept("ann 1")+kept("ann 2"), kept("bob 1")
		for who, n := range map[string]int{"flood": flood, "ann": ann, "bob": bob} {
			if n < maxResults/3-2 || n > maxResults/3+2 {
				t.Errorf("%s has %d", who, n)
			}
		}
		if a, b := kept("ann 1"), kept("ann 2"); a-b > 2 || b-a > 2 {
			t.Errorf("ann's connections have %d and %d", a, b)
		}
		for _, all := range watched {
			for _, l := range all {
				l.Leave()
			}
		}
		if len(e.shares.clients) != 0 || len(e.shares.owners) != 0 {
			t.Errorf("counted at the end: %v", e.shares)
		}
	})
}
