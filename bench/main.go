// Command bench measures this module in a real Caddy beside other servers: raw, which does nothing but write and so is the floor,
// naive, which is what one would write first, and for query streams the driver of PostgreSQL alone. Servers run in processes of their
// own and take turns within a round; ratios are made within rounds. It exits with 1 where messages or rows are missing. See
// docs/performance.md.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

type options struct {
	rounds  int
	large   bool
	only    string
	timeout time.Duration
	// profiles is the folder for profiles of the servers; none where empty.
	profiles string
	sizes    sizes
}

// sizes say how much is done in a round.
type sizes struct {
	subscribers int           // of a broadcast
	many        int           // of a large one
	broadcasts  int           // one at a time
	flood       int           // messages back to back
	paced       int           // messages at a steady rate
	idle        int           // connections whose memory is measured
	settle      time.Duration // before it is
	idleOn      time.Duration // until it is again; 0: it is not
	operations  int           // subscribe and unsubscribe
	turns       int           // publishes to one receiver

	rows      int64         // of a query
	streaming time.Duration // how long one query follows the other at least
	readers   int           // connections with eight streams each whose memory is measured
	stopped   int64         // rows to a client that reads nothing
	calm      time.Duration // how long a server does nothing before it is taken to stand still
	cancels   int           // queries cancelled, and as many clients gone
	sharing   time.Duration // how long streams share a connection
	firsts    int           // first rows
}

func defaults() sizes {
	return sizes{
		subscribers: 1000, many: 10_000, broadcasts: 200, flood: 500, idle: 2000, settle: 5 * time.Second,
		operations: 20_000, turns: 2000,
		rows: 500_000, streaming: time.Second, readers: 50, stopped: 200_000, calm: 500 * time.Millisecond, cancels: 100,
		sharing: 2 * time.Second, firsts: 300,
	}
}

func main() {
	var err error
	if len(os.Args) > 1 && os.Args[1] == serveWord {
		err = serve(os.Args[2:], os.Stdin, os.Stdout)
	} else {
		err = bench(os.Args[1:], os.Stdout, os.Stderr)
	}
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench measures what the arguments ask for and writes the table.
func bench(args []string, stdout, progress io.Writer) error {
	o := options{sizes: defaults()}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each case is measured")
	flags.BoolVar(&o.large, "large", false, "10,000 connections, and memory once more after a ping round")
	flags.StringVar(&o.only, "only", "", "a regular expression: only the cases whose names it matches")
	seconds := flags.Int("seconds", 3, "how long to publish at a steady rate")
	flags.StringVar(&o.profiles, "profiles", "", "a folder: write a CPU profile of each server of each round into it")
	flags.DurationVar(&o.timeout, "timeout", time.Hour, "for all of it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.rounds < 1 || *seconds < 1 {
		return errors.New("there must be no arguments but flags, a round at least and a second at least")
	}
	o.sizes.paced = *seconds * rate
	if o.large {
		o.sizes.idle, o.sizes.idleOn = o.sizes.many, 35*time.Second
	}
	if err := o.sizes.fit(progress); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	fmt.Fprintln(stdout, machine())
	before := load()
	t, err := run(ctx, &o, progress)
	if t != nil {
		fmt.Fprintf(stdout, "load before %s, after %s\n\n", before, load())
		err = errors.Join(err, t.write(stdout))
	}
	return err
}

// fit makes the sizes fit the number of files that a process may have open.
func (z *sizes) fit(progress io.Writer) error {
	files, err := raiseFiles()
	if err != nil {
		return err
	}
	const spare = 200 // files that are no subscribers
	if room := max(files-spare, 1); room < max(z.subscribers, z.many, z.idle) {
		fmt.Fprintf(progress, "a process may have %d files open (ulimit -Hn): at most %d connections\n", files, room)
		z.subscribers, z.many, z.idle = min(z.subscribers, room), min(z.many, room), min(z.idle, room)
	}
	return nil
}

// machine says what this runs on.
func machine() string {
	kernel := "an unknown kernel"
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = "Linux " + string(bytes.TrimSpace(release))
	}
	return fmt.Sprintf("%d cores, %s, %s %s/%s", runtime.NumCPU(), kernel, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// load is the machine's load over the last minute: what else runs disturbs the figures.
func load() string {
	average, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	minute, _, _ := strings.Cut(string(average), " ")
	return minute
}
