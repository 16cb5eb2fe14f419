package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"
)

// process is a server in a process of its own, so that its processor time and memory are told apart from the clients'.
type process struct {
	address string
	tls     *tls.Config // nil: plain
	data    *databases  // what stands behind it

	command *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
}

// launch says what a server is started as; see serve.
type launch struct {
	kind      string
	args      []string // behind the address
	encrypted bool
	profile   string // the file that its processor time is written to, by function; none where empty
}

// startProcess starts this program again as a server. Another process may take the port that was found free, so it tries again.
func startProcess(ctx context.Context, l launch) (p *process, err error) {
	for range 3 {
		if p, err = tryProcess(ctx, l); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("starting the server %s: %w", l.kind, err)
	}
	return p, nil
}

func tryProcess(ctx context.Context, l launch) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p := &process{address: address}
	if l.encrypted {
		// The certificate was made a moment ago by the server for itself.
		p.tls = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
	}
	p.command = exec.CommandContext(ctx, self, append([]string{serveWord, l.kind, address}, l.args...)...)
	if l.profile != "" {
		p.command.Env = append(os.Environ(), profileVariable+"="+l.profile)
	}
	// A server that loses its stdin cleans up and ends.
	p.command.Cancel = func() error { return p.stdin.Close() }
	p.command.WaitDelay = 10 * time.Second
	p.command.Stderr = os.Stderr
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	if line, err := p.stdout.ReadString('\n'); line != "ready\n" {
		return nil, errors.Join(fmt.Errorf("it said %q", line), err, p.stop())
	}
	return p, nil
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// stop ends the server and waits for it.
func (p *process) stop() error {
	p.stdin.Close()
	if err := p.command.Wait(); err != nil {
		return fmt.Errorf("ending the server: %w", err)
	}
	return nil
}

// ask gives the numbers that the server answers a command with.
func (p *process) ask(command string, numbers ...any) error {
	if _, err := fmt.Fprintln(p.stdin, command); err != nil {
		return fmt.Errorf("asking the server for %s: %w", command, err)
	}
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		return fmt.Errorf("asking the server for %s: %w", command, err)
	}
	_, err = fmt.Sscan(line, numbers...)
	return err
}

// cpu is the processor time that the server has used.
func (p *process) cpu() (time.Duration, error) {
	var micros int64
	err := p.ask("cpu", &micros)
	return time.Duration(micros) * time.Microsecond, err
}

// memory is what the server holds after a collection, in bytes: heap and stacks, and what is resident of the whole process.
func (p *process) memory() (live, resident float64, err error) {
	var heap, stacks float64
	err = p.ask("mem", &heap, &stacks, &resident)
	return heap + stacks, resident, err
}

// peak is the most that was resident of the server since it was last asked, in bytes.
func (p *process) peak() (resident float64, err error) {
	err = p.ask("peak", &resident)
	return resident, err
}

// calm waits until the server does no more than wait: it uses less than a twentieth of a processor for so long.
func (p *process) calm(ctx context.Context, d time.Duration) error {
	for {
		used, err := cpuOf(p, func() error { return pause(ctx, d) })
		if err != nil || used < d/20 {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
