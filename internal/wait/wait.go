// Package wait lets tests wait for a state and not for a time. A wait has a limit, which bounds failing tests only. A test that reaches it
// fails with the state that explains why: all goroutines, and whatever [Explain] was given.
package wait

import (
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"
)

// Limit is how long a test waits for something before it fails. It is far more than a slow and busy machine needs: what takes a second
// there is waited for three hundred times as long.
const Limit = 5 * time.Minute

var explanations struct {
	mu  sync.Mutex
	all map[int]func() string
	n   int
}

// Explain registers f, whose text a failing wait logs until the test has ended. f may be called from any goroutine.
func Explain(t testing.TB, f func() string) {
	e := &explanations
	e.mu.Lock()
	defer e.mu.Unlock()
	id := e.n
	e.n++
	if e.all == nil {
		e.all = make(map[int]func() string)
	}
	e.all[id] = f
	t.Cleanup(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.all, id)
	})
}

// State returns the explanations and the goroutines of the process, equal ones counted.
func State() string {
	var b strings.Builder
	explanations.mu.Lock()
	for _, f := range explanations.all {
		fmt.Fprintf(&b, "%s\n", f())
	}
	explanations.mu.Unlock()
	fmt.Fprintf(&b, "%d goroutines:\n", runtime.NumGoroutine())
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	return b.String()
}

// Context returns a context that ends with the test, or after [Limit], which logs the state.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	stop := context.AfterFunc(ctx, func() {
		if context.Cause(ctx) == context.DeadlineExceeded { //nolint:errorlint // of this very context
			t.Logf("a wait of %s is over\n%s", Limit, State())
		}
	})
	t.Cleanup(func() {
		stop()
		cancel()
	})
	return ctx
}

// T is the part of [testing.TB] that a wait needs; *rapid.T has it too.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Until waits until holds reports true. It asks again and again, for states that nothing signals. what completes the sentence
// "waiting until …".
func Until(t T, what string, holds func() bool) {
	t.Helper()
	check := Check(t, what)
	for n := 0; !holds(); n++ {
		check()
		if n < 100 {
			runtime.Gosched()
		} else {
			time.Sleep(time.Millisecond) // leaves the processor to what is waited for
		}
	}
}

// Check returns a function that fails the test once [Limit] has passed, for loops that act until something holds.
func Check(t T, what string) func() {
	end := time.Now().Add(Limit)
	return func() {
		t.Helper()
		if time.Now().After(end) {
			t.Fatalf("waiting until %s: nothing after %s\n%s", what, Limit, State())
		}
	}
}

// For returns the next value of a channel, or its zero value if it is closed.
func For[V any](t T, what string, c <-chan V) V {
	t.Helper()
	timer := time.NewTimer(Limit)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("waiting for %s: nothing after %s\n%s", what, Limit, State())
		panic("unreachable")
	}
}
