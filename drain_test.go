package neuroquantumws_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"github.com/caddyserver/caddy/v2"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// childConfig is the variable that makes this test binary a Caddy of its own: only a process that ends shows how it does.
const childConfig = "NQ_TEST_CHILD_CONFIG"

// runChild is the Caddy of a process of its own, until a signal ends it.
func runChild(config string) {
	caddy.TrapSignals()
	if err := caddy.Load([]byte(config), true); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	fmt.Println("ready")
	select {}
}

// child starts a site in a process of its own.
func child(t *testing.T, options string) (s *site, process *exec.Cmd) {
	t.Helper()
	s = &site{t: t, address: freeAddress(t)}
	config, err := adapt(s.wrap(ws(options)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait.Limit)
	t.Cleanup(cancel)
	process = exec.CommandContext(ctx, os.Args[0])
	process.Env = append(os.Environ(), childConfig+"="+string(config))
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	var ready [5]byte
	if _, err := out.Read(ready[:]); err != nil {
		_ = process.Wait()
		t.Fatalf("the child did not start: %v", err)
	}
	return s, process
}

// A process that is asked to end tells every client when to come back, ends what they have under way, and closes their connections.
func TestTerminate(t *testing.T) {
	s, process := child(t, queries(t, "drain 1s"))
	var streaming *wstest.Client
	clients := make([]*wstest.Client, 60)
	for i := range clients {
		clients[i] = s.dial()
		clients[i].Subscribe("a/*")
	}
	streaming = clients[7]
	start(streaming, M{"query": "slow"})
	start(streaming, M{"query": "readings", "credits": 0})
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	after := make([]int, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			rest, code := c.Closed()
			cancelled := 0
			for _, m := range rest {
				switch m.Type() {
				case "reconnect":
					after[i] = m.Int("after_ms")
				case "query_cancelled":
					cancelled++
				}
			}
			if code != 1001 || cancelled != 2 && c == streaming {
				t.Errorf("closed with %d after %v", code, rest)
			}
		})
	}
	wg.Wait()
	if err := process.Wait(); err != nil {
		t.Errorf("the process ended with %v", err)
	}
	slices.Sort(after)
	if after[0] < 500 || after[59] > 1520 || after[59]-after[0] < 900 {
		t.Errorf("they are to come back after %v", after)
	}
}
