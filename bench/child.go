package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"syscall"
)

// serveWord is the first argument of a process that is to be a server.
const serveWord = "serve"

// profileVariable names the file, in the environment, that a server's processor time is written to by function.
const profileVariable = "BENCH_PROFILE"

const usage = `usage: serve raw|naive ADDRESS
       serve caddy ADDRESS http|https OPTIONS
       serve pgconn ADDRESS DSN
       serve api ADDRESS ROWS`

// serve is the server process; OPTIONS are lines of the handler's block. It says `ready`, answers each line of stdin with a line, and
// ends with stdin.
//
//	cpu   microseconds of processor time, user and system
//	mem   bytes after a collection: live heap, stacks, resident
//	peak  bytes: the most that was resident since this was last asked
func serve(args []string, stdin io.Reader, stdout io.Writer) (err error) {
	if len(args) < 2 {
		return errors.New(usage)
	}
	if _, err := raiseFiles(); err != nil {
		return err
	}
	signal.Ignore(os.Interrupt) // which a terminal sends to the parent too, and that ends this process
	stop, err := startServer(args[0], args[1], args[2:])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	profiled, err := profile(os.Getenv(profileVariable))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, profiled()) }()
	if _, err := fmt.Fprintln(stdout, "ready"); err != nil {
		return err
	}
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		answer, err := answer(lines.Text())
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(stdout, answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func startServer(kind, address string, args []string) (stop func() error, err error) {
	switch {
	case kind == "raw" && len(args) == 0:
		return startRaw(address)
	case kind == "naive" && len(args) == 0:
		return startNaive(address)
	case kind == "caddy" && len(args) == 2:
		return startCaddy(address, args[0], args[1])
	case kind == "live" && len(args) == 0:
		return startLive(address)
	case kind == "pgconn" && len(args) == 1:
		return startDriver(address, args[0])
	case kind == "api" && len(args) == 1:
		rows, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return nil, err
		}
		return startAPI(address, rows)
	}
	return nil, errors.New(usage)
}

// profile begins to write the processor time of this process to a file, if there is to be one.
func profile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}

func answer(command string) (string, error) {
	switch command {
	case "cpu":
		var used syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
			return "", err
		}
		return strconv.FormatInt((used.Utime.Nano()+used.Stime.Nano())/1000, 10), nil
	case "mem":
		runtime.GC()
		runtime.GC()
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		resident, err := residentBytes("VmRSS")
		return fmt.Sprintf("%d %d %d", m.HeapAlloc, m.StackInuse, resident), err
	case "peak":
		most, err := residentBytes("VmHWM")
		if err != nil {
			return "", err
		}
		// From here on the most is what there is now: proc(5).
		return strconv.FormatInt(most, 10), os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o200)
	}
	return "", fmt.Errorf("there is no command %q", command)
}

// residentBytes is the memory of this process that is really there (VmRSS), or the most that was (VmHWM).
func residentBytes(name string) (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, after, _ := bytes.Cut(status, []byte("\n"+name+":"))
	fields := bytes.Fields(after)
	if len(fields) == 0 {
		return 0, fmt.Errorf("/proc/self/status has no %s", name)
	}
	kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return kib << 10, err
}

// raiseFiles raises the number of files that this process may have open as far as it may, and gives it.
func raiseFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("raising the number of open files: %w", err)
	}
	return int(min(limit.Max, 1<<30)), nil
}
