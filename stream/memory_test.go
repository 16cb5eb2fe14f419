package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// memory is a statement whose result is made on the spot: row i of n has the columns id (i) and name.
type memory struct {
	rows    int
	columns []Column                                 // default: id and name
	value   func(dst []byte, row, column int) []byte // default: as above
	before  func(ctx context.Context, row int) error // called by Next for each row, and with row == rows at the end
	start   func(ctx context.Context, args []Value) error
	total   int64
	kind    TotalKind

	mu     sync.Mutex
	opened int
	closed int
}

func (m *memory) Query(ctx context.Context, run Run) (Rows, error) {
	if m.start != nil {
		if err := m.start(ctx, run.Args); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	m.opened++
	m.mu.Unlock()
	return &memoryRows{memory: m, ctx: ctx, row: -1}, nil
}

// idle reports whether every result was closed exactly once.
func (m *memory) idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opened == m.closed
}

type memoryRows struct {
	*memory
	ctx    context.Context
	row    int
	err    error
	closed bool
}

func (r *memoryRows) Columns() []Column {
	if r.columns != nil {
		return r.columns
	}
	return []Column{{Name: "id", Type: "integer"}, {Name: "name", Type: "text"}}
}

func (r *memoryRows) Total() (int64, TotalKind) { return r.total, r.kind }

func (r *memoryRows) Next() bool {
	if r.err != nil || r.row+1 > r.rows {
		return false
	}
	r.row++
	if r.before != nil {
		if r.err = r.before(r.ctx, r.row); r.err != nil {
			return false
		}
	}
	return r.row < r.rows
}

func (r *memoryRows) AppendValue(dst []byte, i int) []byte {
	if r.value != nil {
		return r.value(dst, r.row, i)
	}
	if i == 0 {
		return strconv.AppendInt(dst, int64(r.row), 10)
	}
	return append(strconv.AppendInt(append(dst, `"row `...), int64(r.row), 10), '"')
}

func (r *memoryRows) Err() error { return r.err }

func (r *memoryRows) Close() error {
	if !r.closed {
		r.closed = true
		r.mu.Lock()
		r.memory.closed++
		r.mu.Unlock()
	}
	return nil
}

// message is any server message of a stream.
type message struct {
	Type          string          `json:"type"`
	StreamID      string          `json:"stream_id"`
	ID            json.RawMessage `json:"id"`
	Query         string          `json:"query"`
	Columns       []Column        `json:"columns"`
	EstimatedRows *int64          `json:"estimated_rows"`
	TotalKind     string          `json:"total_kind"`

	BatchNumber int               `json:"batch_number"`
	Rows        []json.RawMessage `json:"rows"`
	HasMore     *bool             `json:"has_more"`

	RowsProcessed int64    `json:"rows_processed"`
	Percentage    *float64 `json:"percentage"`
	Throughput    float64  `json:"throughput"`
	ElapsedMS     int64    `json:"elapsed_ms"`
	ETA           *int64   `json:"eta_ms"`
	Bytes         int64    `json:"bytes"`
	StalledMS     int64    `json:"stalled_ms"`
	State         string   `json:"state"`

	TotalRows     int64  `json:"total_rows"`
	ExecutionTime int64  `json:"execution_time_ms"`
	Batches       int64  `json:"batches"`
	Reason        string `json:"reason"`
	RowsSent      int64  `json:"rows_sent"`

	Code    protocol.Code `json:"code"`
	Message string        `json:"message"`
}

func (m *message) ending() bool {
	switch m.Type {
	case "query_completed", "query_cancelled", "error":
		return true
	}
	return false
}

// recorder is a Sender that keeps what it is sent.
type recorder struct {
	hook  func(message) // called for each message once it is kept
	ended chan message  // gets each ending; nil: nobody waits for them

	mu       sync.Mutex
	messages []message
	raw      []string
	fill     float64
	full     chan struct{} // while not nil, senders wait for it
	broken   error
}

func (r *recorder) Send(ctx context.Context, _ *flow.Share, msg []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	full := r.full
	r.mu.Unlock()
	if full != nil {
		select {
		case <-full:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var m message
	if err := json.Unmarshal(msg, &m); err != nil {
		panic(fmt.Sprintf("not JSON: %v: %s", err, msg))
	}
	r.mu.Lock()
	if err := r.broken; err != nil {
		r.mu.Unlock()
		return err
	}
	r.messages = append(r.messages, m)
	r.raw = append(r.raw, string(msg))
	r.mu.Unlock()
	if r.hook != nil {
		r.hook(m)
	}
	if r.ended != nil && m.ending() {
		r.ended <- m
	}
	return nil
}

func (r *recorder) Fill() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fill
}

func (r *recorder) setFill(fill float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fill = fill
}

// block lets no message through until the function it gives is called.
func (r *recorder) block() (unblock func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	full := make(chan struct{})
	r.full = full
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.full = nil
		close(full)
	}
}

func (r *recorder) all() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]message(nil), r.messages...)
}

// of gives the messages of one type.
func (r *recorder) of(typ string) []message {
	var found []message
	for _, m := range r.all() {
		if m.Type == typ {
			found = append(found, m)
		}
	}
	return found
}

func (r *recorder) last() message {
	all := r.all()
	if len(all) == 0 {
		return message{}
	}
	return all[len(all)-1]
}

// streamID is the id of the only stream, once it has started.
func (r *recorder) streamID(t testing.TB) string {
	t.Helper()
	started := r.of("query_started")
	if len(started) != 1 {
		t.Fatalf("%d query_started", len(started))
	}
	return started[0].StreamID
}

func newGroup(t testing.TB, sender Sender) *Group {
	t.Helper()
	group := NewRegistry(nil).NewGroup(Owner{ConnectionID: "c1", User: "ann"}, sender)
	t.Cleanup(group.Close)
	return group
}

func start(t testing.TB, group *Group, req Request) {
	t.Helper()
	if err := group.Start(req); err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }
