package live

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// database is one of one table, whose rows are a number each and a text.
type database struct {
	personal bool // the rows depend on the user

	mu      sync.Mutex
	rows    map[int]string
	err     error
	takes   time.Duration // a run's time
	runs    int
	users   []string
	running int
	most    int // that ran at once
	called  map[int]func()
	calls   int
}

func newTable(rows int) *database {
	t := &database{rows: map[int]string{}, called: map[int]func(){}}
	for i := range rows {
		t.rows[i] = "row"
	}
	return t
}

// change changes the table and says so.
func (t *database) change(f func(rows map[int]string)) {
	t.mu.Lock()
	f(t.rows)
	calls := slices.Collect(maps.Values(t.called))
	t.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

func (t *database) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

func (t *database) Start(changed func()) (stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.calls
	t.calls++
	t.called[id] = changed
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.called, id)
	}
}

func (t *database) Impersonal() bool { return !t.personal }

func (t *database) Query(ctx context.Context, run stream.Run) (stream.Rows, error) {
	t.mu.Lock()
	t.runs++
	t.users = append(t.users, run.User)
	t.running++
	t.most = max(t.most, t.running)
	takes := t.takes
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.running--
		t.mu.Unlock()
	}()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return nil, t.err
	}
	r := &databaseRows{at: -1}
	for _, id := range slices.Sorted(maps.Keys(t.rows)) {
		r.rows = append(r.rows, [2]string{strconv.Itoa(id), strconv.Quote(t.rows[id])})
	}
	return r, nil
}

type databaseRows struct {
	rows [][2]string
	at   int
}

func (r *databaseRows) Columns() []stream.Column {
	return []stream.Column{{Name: "id"}, {Name: "text"}}
}
func (r *databaseRows) Total() (int64, stream.TotalKind)     { return 0, stream.KindUnknown }
func (r *databaseRows) Next() bool                           { r.at++; return r.at < len(r.rows) }
func (r *databaseRows) AppendValue(dst []byte, i int) []byte { return append(dst, r.rows[r.at][i]...) }
func (r *databaseRows) Err() error                           { return nil }
func (r *databaseRows) Close() error                         { return nil }

// engine makes an Engine that knows the table as the query q.
func engine(t testing.TB, table *database, watch Watch) (*Engine, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	e := NewEngine(zap.New(core))
	t.Cleanup(e.Close)
	if watch.Key == nil {
		watch.Key = []string{"id"}
	}
	watch.Triggers = append(watch.Triggers, table)
	e.Configure(map[string]Query{"q": {Query: &stream.Query{Name: "q", Statement: table}, Watch: watch}})
	return e, logs
}

func join(t testing.TB, e *Engine, user string) stream.Live {
	t.Helper()
	l, err := e.Watch("q", nil, user, Owner{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Leave)
	return l
}

func begin(t testing.TB, l stream.Live) *stream.Version {
	t.Helper()
	v, _, err := l.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// One run serves all who watch, and each of them learns of each change.
func TestOneRunForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(10)
		e, _ := engine(t, table, Watch{})
		all := make([]stream.Live, 1000)
		for i := range all {
			all[i] = join(t, e, fmt.Sprint("user", i))
		}
		revision := begin(t, all[0]).Revision
		for _, l := range all {
			if v := begin(t, l); v.Revision != revision || len(v.Rows) != 10 {
				t.Fatalf("got %+v", v)
			}
		}
		for n := range 3 {
			time.Sleep(time.Second)
			synctest.Wait()
			if table.runs != 1+n {
				t.Fatalf("%d runs", table.runs)
			}
			table.change(func(rows map[int]string) { rows[100+n] = "new" })
			synctest.Wait()
			for _, l := range all {
				if f, err := l.Wait(t.Context(), revision, 0); err != nil || f.Number != 0 {
					t.Fatalf("got %v, %v", f, err)
				}
				changes, newest, ok := l.Changes(revision)
				if !ok || len(changes) != 1 || changes[0].Op != protocol.OpInsert || string(changes[0].Row.Key) != fmt.Sprint(100+n) || newest != revision+2 {
					t.Fatalf("got %v, %d, %v", changes, newest, ok)
				}
			}
			revision += 2
		}
		if s := e.Stats(); s.Results != 1 || s.Runs != 4 || s.Changes != 3 || s.Bytes == 0 {
			t.Errorf("got %+v", s)
		}
	})
}

// Users share a result only where it is the same for all.
func TestUsersDoNotShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(1)
		table.personal = true
		e, _ := engine(t, table, Watch{})
		for _, user := range []string{"ann", "bob", "ann", ""} {
			begin(t, join(t, e, user))
		}
		slices.Sort(table.users)
		if got := strings.Join(table.users, ","); got != ",ann,bob" {
			t.Errorf("it ran for %q", got)
		}
	})
}

// The first change is looked at without delay, those that follow closely together.
func TestDebounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(1)
		e, _ := engine(t, table, Watch{Debounce: 100 * time.Millisecond})
		l := join(t, e, "")
		begin(t, l)
		time.Sleep(time.Second)
		synctest.Wait()
		began := time.Now()
		for i := range 1000 { // for a second
			table.change(func(rows map[int]string) { rows[0] = fmt.Sprint(i) })
			if i == 0 {
				synctest.Wait()
				if table.runs != 2 {
					t.Fatalf("%d runs behind the first change", table.runs)
				}
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if runs := table.runs - 1; runs < 10 || runs > 12 {
			t.Errorf("%d runs in %v", runs, time.Since(began))
		}
		if v := l.Newest(); string(v.Rows[0].Text) != `{"id":0,"text":"999"}` {
			t.Errorf("got %s", v.Rows[0].Text)
		}
	})
}

// A run that takes long is not joined by another; what changed meanwhile is seen by the next.
func TestOneRunAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(1)
		table.takes = time.Second
		e, _ := engine(t, table, Watch{Debounce: time.Millisecond})
		l := join(t, e, "")
		begin(t, l)
		for i := range 50 {
			table.change(func(rows map[int]string) { rows[0] = fmt.Sprint(i) })
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if table.most != 1 || table.runs > 8 {
			t.Errorf("%d ran at once, %d in all", table.most, table.runs)
		}
		if v := l.Newest(); string(v.Rows[0].Text) != `{"id":0,"text":"49"}` {
			t.Errorf("got %s", v.Rows[0].Text)
		}
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(1)
		e, logs := engine(t, table, Watch{})
		l := join(t, e, "")
		revision := begin(t, l).Revision
		time.Sleep(time.Second)
		table.fail(errors.New("secret"))
		table.change(func(rows map[int]string) { rows[0] = "new" })
		failed, err := l.Wait(t.Context(), revision, 0)
		if err != nil || failed.Number != 1 || failed.Told.Code != protocol.QueryFailed || failed.Told.RetryAfter == 0 || strings.Contains(failed.Told.Message, "secret") {
			t.Fatalf("got %+v, %v", failed, err)
		}
		if n := logs.FilterMessage("a watched query failed").Len(); n != 1 {
			t.Errorf("%d lines", n)
		}
		// Who comes now gets what is known.
		if late := join(t, e, ""); begin(t, late).Revision != revision {
			t.Error("nothing")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if runs := table.runs; runs < 6 || runs > 8 {
			t.Errorf("%d runs in a minute", runs)
		}
		table.fail(nil)
		time.Sleep(lastRetry)
		synctest.Wait()
		if changes, _, ok := l.Changes(revision); !ok || len(changes) != 1 || changes[0].Op != protocol.OpUpdate {
			t.Errorf("got %v, %v", changes, ok)
		}
		// A first run that fails leaves nothing to watch.
		table.fail(protocol.Errorf(protocol.LimitExceeded, "full"))
		other, err := e.Watch("q", []stream.Value{{Type: stream.TypeInteger, Integer: 1}}, "", Owner{})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Leave()
		if _, _, err := other.Begin(t.Context()); err == nil || !strings.Contains(err.Error(), "full") {
			t.Errorf("got %v", err)
		}
	})
}

func TestResultsThatCannotBeWatched(t *testing.T) {
	for name, test := range map[string]struct {
		watch  Watch
		rows   int
		ending bool
		logged string
	}{
		"too many rows": {Watch{MaxRows: 5}, 6, true, ""},
		"no such key":   {Watch{Key: []string{"name"}}, 1, false, `no column "name"`},
		"key not alone": {Watch{Key: []string{"text"}}, 2, false, "two rows have the key"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table := newTable(test.rows)
				e, logs := engine(t, table, test.watch)
				_, failed, err := join(t, e, "").Begin(t.Context())
				told, ok := protocol.AsError(err)
				if !ok || told.Code != protocol.QueryFailed || test.ending != (failed.Number == 0) {
					t.Errorf("got %v, %v", failed, err)
				}
				if lines := logs.FilterMessage("a watched query failed").All(); (len(lines) > 0) != (test.logged != "") ||
					len(lines) > 0 && !strings.Contains(fmt.Sprint(lines[0].ContextMap()), test.logged) {
					t.Errorf("logged %v", lines)
				}
				if test.ending { // and runs no more
					table.change(func(map[int]string) {})
					time.Sleep(time.Minute)
					synctest.Wait()
					if table.runs != 1 {
						t.Errorf("%d runs", table.runs)
					}
					// Who watches it anew has it run: the result may have become smaller.
					table.change(func(rows map[int]string) { clear(rows) })
					version, _, err := join(t, e, "").Begin(t.Context())
					if err != nil || len(version.Rows) != 0 || e.Stats().Results != 1 {
						t.Errorf("later: got %v, %v, %+v", version, err, e.Stats())
					}
				}
			})
		})
	}
}

// A result that nobody watches costs nothing, and is remembered for a minute.
func TestComingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(3)
		e, _ := engine(t, table, Watch{})
		l := join(t, e, "")
		revision := begin(t, l).Revision
		l.Leave()
		l.Leave()
		synctest.Wait()
		if len(table.called) != 0 {
			t.Error("the trigger goes on")
		}
		table.change(func(rows map[int]string) { delete(rows, 1); rows[2] = "new" })
		time.Sleep(59 * time.Second)
		l = join(t, e, "")
		if v := begin(t, l); v.Revision != revision+4 || len(v.Rows) != 2 { // not what was known before
			t.Errorf("got %+v", v)
		}
		if changes, _, ok := l.Changes(revision); !ok || len(changes) != 2 || changes[0].Op != protocol.OpDelete {
			t.Errorf("got %v, %v", changes, ok)
		}
		if _, _, ok := l.Changes(revision + 1); ok {
			t.Error("a revision within a conflated burst was gone on with")
		}
		time.Sleep(2 * time.Minute) // somebody watches
		if _, _, ok := l.Changes(revision); !ok {
			t.Error("forgotten while it was watched")
		}
		l.Leave()
		time.Sleep(lingerTime)
		synctest.Wait()
		if s := e.Stats(); s.Results != 0 || s.Bytes != 0 || e.timer != nil {
			t.Errorf("left: %+v", s)
		}
		l = join(t, e, "")
		if v := begin(t, l); v.Revision <= revision+4 {
			t.Errorf("revision %d again", v.Revision)
		}
		if _, _, ok := l.Changes(revision + 4); ok {
			t.Error("another result was gone on with")
		}
	})
}

func TestResultsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(1)
		table.personal = true
		e, _ := engine(t, table, Watch{})
		var all []stream.Live
		for i := range maxResults {
			all = append(all, join(t, e, fmt.Sprint(i)))
		}
		if _, err := e.Watch("q", nil, "one more", Owner{}); err == nil {
			t.Error("there was room")
		}
		all[7].Leave()
		join(t, e, "one more")
		if s := e.Stats(); s.Results != maxResults {
			t.Errorf("got %+v", s)
		}
		if _, err := e.Watch("none", nil, "", Owner{}); err == nil {
			t.Error("a query that is not there")
		}
	})
}

// Close ends the waiting of all, and waits for the queries.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(1)
		e, _ := engine(t, table, Watch{})
		l := join(t, e, "")
		revision := begin(t, l).Revision
		ended := make(chan error)
		go func() {
			_, err := l.Wait(t.Context(), revision, 0)
			ended <- err
		}()
		table.mu.Lock()
		table.takes = time.Hour
		table.mu.Unlock()
		table.change(func(rows map[int]string) { rows[5] = "new" })
		time.Sleep(time.Second)
		e.Close()
		if err := <-ended; err == nil {
			t.Error("it goes on")
		}
		if table.running != 0 || len(table.called) != 0 {
			t.Error("something runs on")
		}
		if _, err := e.Watch("q", nil, "", Owner{}); err == nil {
			t.Error("a closed engine takes watches")
		}
	})
}

// TestChangesAgainstModel: whoever applies the changes has the result, whenever it looks.
func TestChangesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := newTable(rapid.IntRange(0, 20).Draw(t, "rows"))
		r := &Result{engine: NewEngine(zap.NewNop()), news: make(chan struct{}), watch: Watch{}.WithDefaults()}
		k := &keeper{r, &stream.Query{Name: "q", Statement: data}, Watch{Key: []string{"id"}}.WithDefaults()}
		type client struct {
			rows     map[string]string
			revision int64
		}
		clients := make([]client, 3)
		w := &watcher{Result: r}
		fresh := func() client {
			v := w.Newest()
			c := client{map[string]string{}, v.Revision}
			for _, row := range v.Rows {
				c.rows[string(row.Key)] = string(row.Text)
			}
			return c
		}
		if err := k.update(context.Background()); err != nil {
			t.Fatal(err)
		}
		for i := range clients {
			clients[i] = fresh()
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(t, "writes") {
					id := rapid.IntRange(0, 25).Draw(t, "id")
					if rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
						delete(data.rows, id)
					} else {
						data.rows[id] = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "text")
					}
				}
				if err := k.update(context.Background()); err != nil {
					t.Fatal(err)
				}
			},
			"forget": func(*rapid.T) {
				if len(r.log) > 3 {
					r.trimLocked(3)
				}
			},
			"look": func(t *rapid.T) {
				c := &clients[rapid.IntRange(0, len(clients)-1).Draw(t, "client")]
				changes, newest, ok := w.Changes(c.revision)
				if !ok {
					if c.revision >= r.logFrom && c.revision%2 == 0 {
						t.Fatalf("revision %d is not known, from %d on", c.revision, r.logFrom)
					}
					*c = fresh()
					return
				}
				// The connection may break in the midst of it.
				broken := rapid.IntRange(0, len(changes)).Draw(t, "arrive")
				last := c.revision
				for i, change := range changes {
					if i == broken {
						return
					}
					key := string(change.Row.Key)
					_, was := c.rows[key]
					if was != (change.Op != protocol.OpInsert) || change.Revision <= last {
						t.Fatalf("%+v for %s, known %v, behind %d", change, key, was, last)
					}
					last = change.Revision
					c.revision = last
					if change.Op == protocol.OpDelete {
						delete(c.rows, key)
					} else {
						c.rows[key] = string(change.Row.Text)
					}
				}
				if len(changes) > 0 && last != newest {
					t.Fatalf("who has got all is at %d, not at %d", last, newest)
				}
				c.revision = newest
				if want := fresh(); !maps.Equal(c.rows, want.rows) {
					t.Fatalf("got %v, want %v", c.rows, want.rows)
				}
			},
		})
	})
}
