package hub

import "sync"

// executor runs what is to happen in the order of a client's requests, one thing at a time. It has no goroutine of its own, so that a
// silent connection needs none: who finds it free runs what it brings, and who does not leaves it to the one who runs.
type executor struct {
	mu      sync.Mutex
	running bool
	tasks   []func()
	free    chan struct{} // closed when nothing runs any more; nil while the reader does not wait for that
}

// do runs f at once, or leaves it to the goroutine that is running something.
func (e *executor) do(f func()) {
	e.mu.Lock()
	if e.running {
		e.tasks = append(e.tasks, f)
		e.mu.Unlock()
		return
	}
	e.running = true
	e.mu.Unlock()
	f()
	e.leave()
}

// enter waits until nothing runs, and keeps others from it until leave. Only the connection's reader calls it.
func (e *executor) enter() {
	e.mu.Lock()
	for e.running {
		if e.free == nil {
			e.free = make(chan struct{})
		}
		free := e.free
		e.mu.Unlock()
		<-free
		e.mu.Lock()
	}
	e.running = true
	e.mu.Unlock()
}

// leave runs what was left to this goroutine meanwhile.
func (e *executor) leave() {
	for {
		e.mu.Lock()
		if len(e.tasks) == 0 {
			e.tasks, e.running = nil, false
			if e.free != nil {
				close(e.free)
				e.free = nil
			}
			e.mu.Unlock()
			return
		}
		f := e.tasks[0]
		e.tasks = e.tasks[1:]
		e.mu.Unlock()
		f()
	}
}

// Do runs f in the order of the client's requests: never while the receiver handles one, nor beside another f. It runs f before it returns
// where nothing else runs; otherwise the goroutine that does runs f afterwards. f may call what only the receiver may. Callers bound how
// much waits for one connection.
func (c *Conn) Do(f func()) { c.executor.do(f) }
