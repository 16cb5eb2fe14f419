package stream

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// recentEndings is how many ended streams of a connection query_status still knows.
const recentEndings = 16

// Owner is whose streams a Group holds, for the log and for operators.
type Owner struct {
	ConnectionID string
	User         string // empty for an anonymous client
}

// Group is the streams of one connection. It is safe for concurrent use. None of its methods but Close waits for a query.
type Group struct {
	registry *Registry
	owner    Owner
	sender   Sender
	number   uint64          // of the groups made before it
	ctx      context.Context // done once the group is closed
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	running   map[string]*stream
	lingering int                    // streams that have ended but still wait for room to tell it
	released  chan struct{}          // closed at the next release; nil where Start does not wait
	ended     []protocol.QueryStatus // the newest last, at most recentEndings
}

// NewGroup makes the Group of a connection that writes to sender. It must be closed.
func (r *Registry) NewGroup(owner Owner, sender Sender) *Group {
	ctx, cancel := context.WithCancel(context.Background())
	return &Group{
		registry: r,
		owner:    owner,
		sender:   sender,
		number:   r.groups.Add(1),
		ctx:      ctx,
		cancel:   cancel,
		running:  make(map[string]*stream),
	}
}

// Start checks the request and starts its stream, which then tells all else by messages: query_started, batches and progress, and
// one ending. A request that is refused is a *protocol.Error (QUERY_NOT_FOUND, INVALID_PARAMS, INVALID_STREAM_ID, LIMIT_EXCEEDED), and
// nothing is sent for it; a closed Group gives ErrSenderClosed. A stream to be resumed that still runs on an earlier connection, which the
// server does not know to be gone, is taken over. From a later one it is not: what a connection that is gone had asked for may be read late.
func (g *Group) Start(req Request) (err error) {
	if req.Watch != nil {
		defer func() {
			if err != nil {
				req.Watch.Live.Leave()
			}
		}()
	}
	var from *remains
	if req.Resume != nil {
		if from, err = g.registry.remainsOf(req.Resume.StreamID, g.owner.User); err != nil {
			return err
		}
	}
	s, err := req.prepare(from)
	if err != nil {
		return err
	}
	s.group, s.owner, s.started = g, g.owner, time.Now()
	if from == nil {
		s.id = uuid.NewString()
		s.left = &remains{
			id: s.id, user: g.owner.User, name: s.name, params: slices.Clone(req.Params), args: s.args, batchSize: s.batchSize,
			arrays: s.arrays,
		}
	} else {
		s.id = from.id
	}
	s.text.SetSeed(g.registry.seed)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())

	g.mu.Lock()
	defer g.mu.Unlock()
	limit, kind := s.options.MaxStreams, "run"
	if s.watch != nil {
		limit, kind = s.options.MaxWatches, "be watched"
	}
	if g.countLocked(s.watch != nil) < limit {
		g.awaitEndingsLocked(limit)
	}
	switch {
	case g.closed:
		return ErrSenderClosed
	case g.running[s.id] != nil:
		return protocol.Errorf(protocol.InvalidStreamID, "this query runs on this connection")
	// A stream's place is free before its client gets the ending, so the endings that wait are bounded by themselves.
	case g.countLocked(s.watch != nil) >= limit || g.lingering >= limit:
		return protocol.Errorf(protocol.LimitExceeded, "at most %d queries may %s at once on a connection", limit, kind)
	}
	if err := g.registry.add(s); err != nil {
		return err
	}
	if s.before != nil {
		s.before.stop((&ending{kind: endCancelled, reason: "resumed on another connection"}).resumable())
	}
	g.running[s.id] = s
	g.wg.Add(1)
	go s.run()
	return nil
}

// endingsWait is how long Start waits for the endings of earlier streams to get on their way.
const endingsWait = time.Second

// awaitEndingsLocked waits, at most for endingsWait, while as many ended streams as may run have not released their places. Their clients may
// have got the endings already, and so may begin others at once. It unlocks g.mu while it waits.
func (g *Group) awaitEndingsLocked(limit int) {
	if g.lingering < limit {
		return
	}
	timer := time.NewTimer(endingsWait)
	defer timer.Stop()
	for expired := false; g.lingering >= limit && !g.closed && !expired; {
		released := make(chan struct{})
		g.released = released
		g.mu.Unlock()
		select {
		case <-released:
		case <-g.ctx.Done():
		case <-timer.C:
			expired = true
		}
		g.mu.Lock()
	}
}

// countLocked is how many watches run, or how many other streams.
func (g *Group) countLocked(watches bool) (n int) {
	for _, s := range g.running {
		if (s.watch != nil) == watches {
			n++
		}
	}
	return n
}

// Credit grants a stream more batches, at least 1. It does nothing for a stream that runs without credit or has ended lately. Its
// error is a *protocol.Error: INVALID_STREAM_ID, INVALID_PARAMS.
func (g *Group) Credit(streamID string, batches int) error {
	if batches < 1 {
		return protocol.Errorf(protocol.InvalidParams, `"batches" must be positive`)
	}
	id, ok := parseStreamID(streamID)
	if !ok {
		return invalidStreamID()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.running[id]; s != nil {
		s.left.trail.acknowledge(int64(batches))
		s.credit.Add(int64(batches))
		return nil
	}
	if g.endedLocked(id) == nil {
		return invalidStreamID()
	}
	return nil
}

// Cancel ends a stream: its query_cancelled, with this reason and the id of the request, is the answer. Its error is a
// *protocol.Error: INVALID_STREAM_ID for what is no UUID, CANCEL_FAILED where no such stream runs on this connection.
func (g *Group) Cancel(streamID string, id protocol.ID, reason string) error {
	parsed, ok := parseStreamID(streamID)
	if !ok {
		return invalidStreamID()
	}
	g.mu.Lock()
	s := g.running[parsed]
	g.mu.Unlock()
	if s == nil || !s.stop(&ending{kind: endCancelled, reason: reason, id: id}) {
		return protocol.Errorf(protocol.CancelFailed, "no such query runs on this connection")
	}
	return nil
}

// Status tells how far a stream is that runs on this connection or is among its last to have ended; for any other the error is a
// *protocol.Error, INVALID_STREAM_ID.
func (g *Group) Status(streamID string) (protocol.QueryStatus, error) {
	id, ok := parseStreamID(streamID)
	if !ok {
		return protocol.QueryStatus{}, invalidStreamID()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.running[id]; s != nil {
		return s.status(time.Now()), nil
	}
	if status := g.endedLocked(id); status != nil {
		return *status, nil
	}
	return protocol.QueryStatus{}, invalidStreamID()
}

// Active is the number of running streams.
func (g *Group) Active() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.running)
}

// Leave cancels all streams and lets no other begin: the connection is about to be closed. It returns when the client has been told of
// every ending, or ctx ends.
func (g *Group) Leave(ctx context.Context, reason string) {
	g.mu.Lock()
	g.closed = true
	streams := slices.Collect(maps.Values(g.running))
	g.mu.Unlock()
	for _, s := range streams {
		s.stop((&ending{kind: endCancelled, reason: reason}).resumable())
	}
	for _, s := range streams {
		select {
		case <-s.told:
		case <-ctx.Done():
			return
		}
	}
}

// Close ends all streams without a word to the client, and waits until their queries have stopped and their goroutines are gone.
// It is idempotent.
func (g *Group) Close() {
	g.mu.Lock()
	g.closed = true
	streams := slices.Collect(maps.Values(g.running))
	g.mu.Unlock()
	for _, s := range streams {
		s.stop((&ending{kind: endGone}).resumable())
	}
	g.cancel()
	g.wg.Wait()
}

// retire moves a stream that has ended from the running ones to those that are remembered.
func (g *Group) retire(s *stream, end *ending) {
	status := s.status(s.started.Add(s.progress.elapsed))
	status.Status = end.status()
	if end.kind == endCompleted {
		all := 100.0
		status.Progress = &all
	}
	g.mu.Lock()
	delete(g.running, s.id)
	g.lingering++
	if len(g.ended) == recentEndings {
		g.ended = slices.Delete(g.ended, 0, 1)
	}
	g.ended = append(g.ended, status)
	g.mu.Unlock()
	g.registry.remove(s, end)
}

// release is called once the ending of a retired stream has been told.
func (g *Group) release() {
	g.mu.Lock()
	g.lingering--
	if g.released != nil {
		close(g.released)
		g.released = nil
	}
	g.mu.Unlock()
	g.wg.Done()
}

func (g *Group) endedLocked(id string) *protocol.QueryStatus {
	for i := range g.ended {
		if g.ended[i].StreamID == id {
			return &g.ended[i]
		}
	}
	return nil
}

// parseStreamID gives the canonical form of a UUID of 36 characters.
func parseStreamID(text string) (string, bool) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return "", false
	}
	return id.String(), true
}

func invalidStreamID() error {
	return protocol.Errorf(protocol.InvalidStreamID, "there is no such stream on this connection")
}
