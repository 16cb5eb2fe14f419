package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the test's binary be the servers too, as the program's own is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serveWord {
		if err := serve(os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// Every case, so small that it takes no time: that all arrives, and that all figures are there.
func TestCases(t *testing.T) {
	// The race detector has every process sleep for a second at its end, and the servers are many.
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=10")
	o := &options{rounds: 1, large: true, sizes: sizes{
		subscribers: 5, many: 6, broadcasts: 4, flood: 20, paced: 10, idle: 5, settle: time.Millisecond, idleOn: time.Millisecond,
		operations: 20, turns: 5,
	}}
	var progress bytes.Buffer
	measured, err := run(t.Context(), o, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	var text strings.Builder
	if err := measured.write(&text); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &text)
	for _, c := range cases() {
		for _, s := range c.subjects {
			figures := 0
			for _, r := range measured.rows {
				if r.bench == c.name && r.subject.name == s.name && len(r.rounds) == 1 {
					figures++
				}
			}
			if figures < 2 {
				t.Errorf("%s has %d figures for %s", c.name, figures, s.name)
			}
		}
	}
}

// A message that does not come must be told, and how many.
func TestMissing(t *testing.T) {
	a := &audience{members: []*member{{}, {}, {}}, all: make(chan struct{}, 1), failed: make(chan error, 1)}
	a.expect(4)
	a.members[1].got.Store(3)
	a.failed <- errSlow
	if err := a.wait(t.Context()); err == nil || !strings.Contains(err.Error(), "9 of 12 deliveries are missing") {
		t.Errorf("got %v", err)
	}
}

func TestFiguresAreShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.0123456: "0.0123", 1.2345: "1.23", 12.345: "12.3", 1234.5: "1234"} {
		if got := short(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}
