package wait

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// failing stands in for a test that is to fail.
type failing struct{ text string }

func (*failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// TestLimit: a wait that is in vain ends after the limit, with the state.
func TestLimit(t *testing.T) {
	Explain(t, func() string { return "three messages are queued" })
	for name, wait := range map[string]func(T){
		"until": func(t T) { Until(t, "it is empty", func() bool { return false }) },
		"for":   func(t T) { For(t, "a message", make(chan int)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, f, done := time.Now(), new(failing), make(chan struct{})
				go func() {
					defer close(done)
					wait(f)
				}()
				<-done
				if took := time.Since(began); took < Limit || took > Limit+time.Second {
					t.Errorf("it took %s", took)
				}
				for _, want := range []string{"waiting", "three messages are queued", "goroutines:", "wait_test.go"} {
					if !strings.Contains(f.text, want) {
						t.Errorf("it does not say %q: %s", want, f.text)
					}
				}
			})
		})
	}
}

func TestHolds(t *testing.T) {
	n := 0
	Until(t, "n is 200", func() bool { n++; return n == 200 })
	c := make(chan int, 1)
	c <- 7
	if got := For(t, "a number", c); got != 7 {
		t.Errorf("got %d", got)
	}
	if Context(t).Err() != nil {
		t.Error("the context has ended")
	}
}
