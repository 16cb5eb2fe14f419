package sqlite

import (
	"sync"
	"sync/atomic"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

const (
	// rawMemory is how much memory statements of clients may have SQLite take, all together, beyond what it had before them. What
	// they sort and group is in it: they write no files. Beyond it they are stopped; at twice as much, which a single step can reach,
	// SQLite gets no more.
	rawMemory = 128 << 20
	// guardOps is after how many of SQLite's instructions the guard looks.
	guardOps = 200
)

// heap is SQLite's memory, of which a process has one, whatever the connections: hence a variable of the package.
var heap = newHeap()

type heapGuard struct {
	measured bool  // SQLite counts what it takes
	share    int64 // rawMemory, but for tests
	ceiling  atomic.Int64

	mu      sync.Mutex
	running int // statements of clients
}

// newHeap makes SQLite count its memory, which can be asked for only before it is used for the first time.
func newHeap() *heapGuard {
	tls := libc.NewTLS()
	defer tls.Close()
	args := libc.NewVaList(int32(1))
	defer libc.Xfree(tls, args)
	return &heapGuard{share: rawMemory, measured: lib.Xsqlite3_config(tls, lib.SQLITE_CONFIG_MEMSTATUS, args) == lib.SQLITE_OK}
}

// enter begins a statement of a client's on c.
func (h *heapGuard) enter(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running++; h.running > 1 {
		return
	}
	used := lib.Xsqlite3_memory_used(c.tls)
	h.ceiling.Store(used + h.share)
	lib.Xsqlite3_hard_heap_limit64(c.tls, used+2*h.share)
}

// leave ends it.
func (h *heapGuard) leave(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running--; h.running == 0 {
		lib.Xsqlite3_hard_heap_limit64(c.tls, 0)
	}
}

// guard is called by SQLite every now and then while a client's statement runs, and stops one that takes too much.
func guard(tls *libc.TLS, _ uintptr) int32 {
	if lib.Xsqlite3_memory_used(tls) > heap.ceiling.Load() {
		return 1
	}
	return 0
}
