package neuroquantumws_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/apitest"
)

// notesAPI is a database with an HTTP API of NeuroQuantumDB's kind and one table, notes.
type notesAPI struct {
	mu   sync.Mutex
	rows map[int]string
}

func (a *notesAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked struct{ Query string }
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var id int
	var text string
	query := asked.Query
	switch {
	case scans(query, "INSERT INTO notes VALUES (%d, 'v%s", &id, &text), scans(query, "UPDATE notes SET text = 'v%s WHERE id = %d", &text, &id):
		a.rows[id] = strings.TrimRight(text, "')")
	case scans(query, "DELETE FROM notes WHERE id = %d", &id):
		delete(a.rows, id)
	}
	var rows [][]string
	if strings.HasPrefix(query, "SELECT") {
		for _, id := range slices.Sorted(maps.Keys(a.rows)) {
			rows = append(rows, []string{strconv.Itoa(id), strconv.Quote(a.rows[id])})
		}
	}
	fmt.Fprint(w, apitest.Envelope([]string{"id", "text"}, rows))
}

func scans(text, format string, into ...any) bool {
	n, err := fmt.Sscanf(text, format, into...)
	return err == nil && n == len(into)
}

// table is what the database holds.
func (a *notesAPI) table() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string]string)
	for id, text := range a.rows {
		out[strconv.Itoa(id)] = fmt.Sprintf(`{"id":%d,"text":%q}`, id, text)
	}
	return out
}

// TestWatchOnHTTPAgainstTheTable: a watch whose source is an HTTP API, and whose trigger the events of the writes that go through this Caddy,
// has at quiet points what the database has.
func TestWatchOnHTTPAgainstTheTable(t *testing.T) {
	database := &notesAPI{rows: map[int]string{1: "1"}}
	api := freeAddress(t)
	s := serveSite(t, fmt.Sprintf(`
		@writes method POST
		neuroquantum_ws_notify @writes default {
			channel db.{nq.table}.changes
			data `+"`{\"op\":\"{nq.operation}\"}`"+`
		}
		reverse_proxy /api/* %s
`, api)+ws(`
		source api http {
			url http://`+api+`/api/v1/query
		}
		query notes {
			source api
			sql "SELECT id, text FROM notes ORDER BY id"
			allow anyone
			watch {
				key id
				on channel db.notes.changes
				debounce 1ms
			}
		}`))
	listen(t, api, database)
	write := func(statement string) {
		if r, _ := s.post("/api/v1/query", fmt.Sprintf(`{"query":%q}`, statement), nil); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", statement, r.Status)
		}
	}
	w := follows(s.dial(), M{"query": "notes", "batch_size": 3})
	w.until("id", database.table())
	for round := range 5 {
		var writers sync.WaitGroup
		for i := range 4 {
			random := rand.New(rand.NewPCG(uint64(round), uint64(i)))
			writers.Go(func() {
				for n := range 20 {
					id := 10*i + random.IntN(10)
					switch value := 100*round + n; random.IntN(3) {
					case 0:
						write(fmt.Sprintf("INSERT INTO notes VALUES (%d, 'v%d')", id, value))
					case 1:
						write(fmt.Sprintf("UPDATE notes SET text = 'v%d' WHERE id = %d", value, id))
					default:
						write(fmt.Sprintf("DELETE FROM notes WHERE id = %d", id))
					}
				}
			})
		}
		writers.Wait()
		w.untilQuiet("id", database.table())
	}
	if w.resets > 0 {
		t.Errorf("it was reset %d times", w.resets)
	}
}
