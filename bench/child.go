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
	"strconv"
	"syscall"
)

// serveWord is the first argument of a process that is to be a server.
const serveWord = "serve"

// serve is the server process: `serve raw|naive|caddy|live ADDRESS [tls]`. It says `ready`, answers each line of stdin with a line, and
// ends with stdin.
//
//	cpu   microseconds of processor time, user and system
//	mem   bytes after a collection: live heap, stacks, resident
func serve(args []string, stdin io.Reader, stdout io.Writer) (err error) {
	if len(args) < 2 {
		return errors.New("usage: serve raw|naive|caddy|live ADDRESS [tls]")
	}
	if _, err := raiseFiles(); err != nil {
		return err
	}
	signal.Ignore(os.Interrupt) // which a terminal sends to the parent too, and that ends this process
	var stop func() error
	switch kind, address, encrypted := args[0], args[1], len(args) > 2; {
	case encrypted && (kind != "caddy" || args[2] != "tls"):
		return fmt.Errorf("%s has no %s", kind, args[2])
	case kind == "raw":
		stop, err = startRaw(address)
	case kind == "naive":
		stop, err = startNaive(address)
	case kind == "caddy":
		stop, err = startCaddy(address, encrypted)
	case kind == "live":
		stop, err = startLive(address)
	default:
		err = fmt.Errorf("there is no server %q", kind)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
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
		resident, err := residentBytes()
		return fmt.Sprintf("%d %d %d", m.HeapAlloc, m.StackInuse, resident), err
	}
	return "", fmt.Errorf("there is no command %q", command)
}

// residentBytes is the memory of this process that is really there.
func residentBytes() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, after, _ := bytes.Cut(status, []byte("\nVmRSS:"))
	fields := bytes.Fields(after)
	if len(fields) == 0 {
		return 0, errors.New("/proc/self/status has no VmRSS")
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
