// Command flaky looks for tests that fail now and then. It builds the tests of each package with the race detector and runs them again and
// again: in another order each time, with 1, 2 and 8 processors, alone and beside processes that keep all processors busy. It ends with a
// table, and with status 1 if a run failed; the output of each failed run is in build/flaky.
//
//	go run ./test/flaky [-minutes 60] [-runs 50] [-run REGEXP] [packages]
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// busyEnv has this program be one of the processes that keep the processors busy.
const busyEnv = "FLAKY_BUSY"

const busyProcesses = 4

// runTimeout bounds a run, so that a deadlock does not use up all of the time.
const runTimeout = 30 * time.Minute

var out = filepath.Join("build", "flaky")

func main() {
	if os.Getenv(busyEnv) != "" {
		for { //nolint:staticcheck // it is to spin
		}
	}
	minutes := flag.Float64("minutes", 60, "how long to run; the tests of each package are run at least once")
	runs := flag.Int("runs", 50, "how often to run the tests of a package at most; a fifth of it where they open no sockets")
	only := flag.String("run", "", "run only the tests that match, as `go test -run` does")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := search(ctx, time.Now().Add(time.Duration(*minutes*float64(time.Minute))), *runs, *only, flag.Args())
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "flaky:", err)
		os.Exit(2)
	case failed:
		os.Exit(1)
	}
}

// pkg is a package with tests.
type pkg struct {
	path, dir, binary string
	runs              int // still to do
	done, failures    int
	longest           time.Duration
	failing           map[string]int // by test
}

func search(ctx context.Context, end time.Time, runs int, only string, patterns []string) (failed bool, err error) {
	packages, err := list(ctx, patterns)
	if err != nil {
		return false, err
	}
	if err := os.RemoveAll(out); err != nil {
		return false, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return false, err
	}
	packages, err = build(ctx, packages, runs)
	if err != nil {
		return false, err
	}
	defer func() { report(packages) }()
	for round := 0; ; round++ {
		over := true
		for _, p := range packages {
			if p.runs == 0 || round > 0 && time.Now().After(end) {
				continue
			}
			over = false
			p.runs--
			if err := p.test(ctx, round, only); err != nil {
				return false, err
			}
			failed = failed || p.failures > 0
		}
		if over {
			return failed, nil
		}
	}
}

// list returns the packages that have tests.
func list(ctx context.Context, patterns []string) ([]*pkg, error) {
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	const format = `{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}`
	text, err := exec.CommandContext(ctx, "go", append([]string{"list", "-f", format}, patterns...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []*pkg
	for line := range strings.Lines(string(text)) {
		if path, dir, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			packages = append(packages, &pkg{path: path, dir: dir, failing: make(map[string]int)})
		}
	}
	return packages, nil
}

var sockets = regexp.MustCompile(`(?m)^(net|net/http)$`)

// build builds the tests, and leaves out packages that have none but files.
func build(ctx context.Context, packages []*pkg, runs int) ([]*pkg, error) {
	var kept []*pkg
	for i, p := range packages {
		binary, err := filepath.Abs(filepath.Join(out, fmt.Sprintf("%d-%s.test", i, filepath.Base(p.path))))
		if err != nil {
			return nil, err
		}
		fmt.Println("building", p.path)
		cmd := exec.CommandContext(ctx, "go", "test", "-race", "-c", "-o", binary, p.path)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("building the tests of %s: %w", p.path, err)
		}
		if _, err := os.Stat(binary); err != nil {
			continue
		}
		imports, err := exec.CommandContext(ctx, "go", "list", "-test", "-f", `{{join .Imports "\n"}}`, p.path).Output()
		if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		p.binary, p.runs = binary, max(1, runs/5)
		if sockets.Match(imports) {
			p.runs = runs
		}
		kept = append(kept, p)
	}
	return kept, nil
}

var failure = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// test runs the tests once. Each round has other conditions.
func (p *pkg) test(ctx context.Context, round int, only string) error {
	processors := []int{1, 2, 8}[round%3]
	busy := 0
	if round/3%2 == 1 {
		busy = busyProcesses
	}
	seed := time.Now().UnixNano()
	conditions := fmt.Sprintf("%s, GOMAXPROCS %d, %d busy processes, -shuffle %d", p.path, processors, busy, seed)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the busy processes
	for range busy {
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), busyEnv+"=1", "GOMAXPROCS=1")
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("starting a busy process: %w", err)
		}
		defer func() {
			cancel()
			_ = cmd.Wait() // it was killed
		}()
	}
	cmd := exec.CommandContext(ctx, p.binary, "-test.shuffle", strconv.FormatInt(seed, 10), "-test.timeout", runTimeout.String(), "-test.run", only)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(processors))
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.done++
	p.longest = max(p.longest, took)
	var exit *exec.ExitError
	switch {
	case err == nil:
		fmt.Printf("ok    %s, %.0f s\n", conditions, took.Seconds())
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("running the tests of %s: %w", p.path, err)
	}
	p.failures++
	for _, m := range failure.FindAllStringSubmatch(text.String(), -1) {
		p.failing[m[1]]++
	}
	name := filepath.Join(out, fmt.Sprintf("%s-%d.log", filepath.Base(p.path), p.done))
	fmt.Printf("FAIL  %s, %.0f s: see %s\n", conditions, took.Seconds(), name)
	return os.WriteFile(name, append([]byte(conditions+"\n"), text.Bytes()...), 0o644)
}

func report(packages []*pkg) {
	fmt.Printf("\n%d processors\n%6s %8s %8s  %s\n", runtime.NumCPU(), "runs", "failures", "longest", "package")
	for _, p := range packages {
		fmt.Printf("%6d %8d %7.0fs  %s\n", p.done, p.failures, p.longest.Seconds(), p.path)
		for _, name := range slices.Sorted(maps.Keys(p.failing)) {
			fmt.Printf("%15d  %10s  %s\n", p.failing[name], "", name)
		}
	}
}
