package hub

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// poller watches the sockets of parked connections through one epoll instance, which itself is watched by the runtime: one goroutine
// waits for all of them, and no thread.
type poller struct {
	file *os.File // epoll
	raw  syscall.RawConn
	done chan struct{}

	mu    sync.Mutex
	last  uint64
	conns map[uint64]*Conn // that were ever parked and have not ended
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	// A file that is non-blocking is one that the runtime watches.
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("making epoll non-blocking: %w", err)
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}), conns: make(map[uint64]*Conn)}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("watching epoll: %w", err)
	}
	go p.run()
	return p, nil
}

// pollEvents is how many sockets are taken from epoll at once.
const pollEvents = 128

func (p *poller) run() {
	defer close(p.done)
	events := make([]syscall.EpollEvent, pollEvents)
	for {
		n := 0
		err := p.raw.Read(func(fd uintptr) bool {
			var err error
			n, err = syscall.EpollWait(int(fd), events, 0)
			return n > 0 || err != nil && !errors.Is(err, syscall.EINTR)
		})
		if err != nil {
			return // it is closed
		}
		for _, e := range events[:max(n, 0)] {
			if c := p.find(key(e)); c != nil {
				c.wake()
			}
		}
	}
}

// key is what an event says of its socket. It is no file descriptor: the system gives those of closed sockets to others.
func key(e syscall.EpollEvent) uint64 { return uint64(uint32(e.Fd))<<32 | uint64(uint32(e.Pad)) }

func event(key uint64) *syscall.EpollEvent {
	return &syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(uint32(key >> 32)), Pad: int32(uint32(key)),
	}
}

func (p *poller) find(key uint64) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[key]
}

// watch wakes the connection, once, when its client sends something or goes, also where it has done so already. It fails once the
// poller is closed.
func (p *poller) watch(c *Conn) error {
	op := syscall.EPOLL_CTL_MOD
	if c.pollKey == 0 {
		op = syscall.EPOLL_CTL_ADD
		p.mu.Lock()
		p.last++
		c.pollKey = p.last
		p.conns[c.pollKey] = c
		p.mu.Unlock()
	}
	var err error
	add := func(epoll uintptr) {
		gone := c.raw.Control(func(fd uintptr) { err = syscall.EpollCtl(int(epoll), op, int(fd), event(c.pollKey)) })
		if gone != nil {
			err = gone
		}
	}
	if closed := p.raw.Control(add); closed != nil {
		return closed
	}
	return err
}

// forget drops a connection that has ended; closing its socket has taken it out of epoll.
func (p *poller) forget(c *Conn) {
	if c.pollKey == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c.pollKey)
}

// close ends the poller. All connections must have ended.
func (p *poller) close() {
	_ = p.file.Close()
	<-p.done
}
