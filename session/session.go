// Package session is one client's conversation: it decodes the client's messages, checks what the client may do, and turns them
// into calls of the hub and of streams. It knows the wire protocol and nothing of sockets.
package session

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// Config is what a session needs of the configuration. It is replaced as a whole, never changed.
type Config struct {
	// Rate and Burst bound a client's messages: so many a second, and so many at once. Rate 0 sets no bound.
	Rate  float64
	Burst int
	// Catalog holds the named queries; QueryAccess says by name who may run them.
	Catalog     *stream.Catalog
	QueryAccess map[string]access.Terms
	// Bind returns the values of query parameters that clients cannot set, by query and parameter, for a client and what was read of its
	// upgrade request. It is nil if there are none.
	Bind func(read map[string]string, id *access.Identity) map[string]map[string]string
	// Tokens verifies the tokens that clients show by message; nil where none are taken.
	Tokens *access.Tokens
	// RawSQL are the sources that clients may send statements of their own to, in the configuration's order.
	RawSQL []RawSQL
	// Streams are the limits of query streams.
	Streams stream.Options
}

// Env is what the sessions of a hub share.
type Env struct {
	Hub      *hub.Hub
	Streams  *stream.Registry
	Live     *live.Engine
	Config   atomic.Pointer[Config]
	Log      *zap.Logger
	Counters Counters
	// Revocations are those of the hub.
	Revocations *access.Revocations
}

// Client is what the upgrade request says of a client.
type Client struct {
	// Read is what the configuration's Bind needs of the request.
	Read map[string]string
	// Tracer makes spans; nil where the client is not traced.
	Tracer Tracer
	// MustAuthenticate allows the client nothing but ping until it has.
	MustAuthenticate bool
}

// Bounds against clients that send mostly what cannot be done.
const (
	maxFailures    = 100
	failuresWindow = 10 * time.Second
)

// namesPerMessage is how many names in a message count as much against the rate as a message.
const namesPerMessage = 8

// maxHistory is how many messages a `history` answer may hold, and how many a `subscribe` may ask to replay by number.
const maxHistory = 10_000

// defaultHistory is the limit of a `history` request that names none.
const defaultHistory = 100

// maxHistoryBytes bounds a `history` answer.
const maxHistoryBytes = 1 << 20

// Session is the Receiver of one connection.
type Session struct {
	env     *Env
	conn    *hub.Conn
	streams *stream.Group
	ctx     context.Context // ends with the connection
	cancel  context.CancelFunc
	client  Client

	// Owned by the connection's read goroutine.
	bound    map[string]map[string]string // values of parameters that the configuration binds, by query
	awaited  bool                         // the client must authenticate first
	limiter  *rate.Limiter
	config   *Config
	failures []time.Time // of the latest requests that failed, oldest first
	failed   bool        // the request at hand is among them
	out      []byte      // answers are built here
}

// New makes the session of a connection.
func New(env *Env, conn *hub.Conn, client Client) *Session {
	s := &Session{env: env, conn: conn, client: client, awaited: client.MustAuthenticate}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	owner := stream.Owner{ConnectionID: conn.ID(), User: conn.Identity().User}
	s.streams = env.Streams.NewGroup(owner, sender{conn})
	return s
}

// sender lets streams write to a connection.
type sender struct{ conn *hub.Conn }

func (s sender) Send(ctx context.Context, share *flow.Share, msg []byte) error {
	err := s.conn.Send(ctx, share, msg)
	if errors.Is(err, hub.ErrClosed) {
		return stream.ErrSenderClosed
	}
	return err
}

func (s sender) Fill() float64 { return s.conn.Fill() }

// Busy implements hub.Receiver.
func (s *Session) Busy() bool { return s.streams.Active() > 0 }

// Leave implements hub.Receiver.
func (s *Session) Leave(ctx context.Context) { s.streams.Leave(ctx, "the server is going away") }

// Close implements hub.Receiver.
func (s *Session) Close() {
	s.cancel()
	s.streams.Close()
}

// Receive implements hub.Receiver.
func (s *Session) Receive(msg []byte) (active bool) {
	s.refresh()
	s.failed = false
	now := time.Now()
	if s.limiter != nil && !s.limiter.AllowN(now, 1) {
		req, _ := protocol.Decode(msg)
		s.env.Counters.request(req.Type)
		limited := protocol.Errorf(protocol.RateLimited, "too many messages")
		// At least the time between two messages, which is how clients learn the rate.
		missing := max(1, 1-s.limiter.TokensAt(now))
		limited.RetryAfter = time.Duration(missing / float64(s.limiter.Limit()) * float64(time.Second))
		s.fail(req, "", limited)
		return true
	}
	req, err := protocol.Decode(msg)
	s.charge(now, len(req.Channels)/namesPerMessage)
	s.env.Counters.request(req.Type)
	if err != nil {
		s.fail(req, "", err)
		return true
	}
	s.handle(req)
	return req.Type != protocol.TypePing && req.Type != protocol.TypePong
}

// charge counts what a message costs beside itself against the rate, once it has been let in: it is handled whatever it costs, and the
// messages after it wait. What it costs is at most what the bucket holds when it is full.
func (s *Session) charge(now time.Time, messages int) {
	if s.limiter != nil && messages > 0 {
		s.limiter.ReserveN(now, min(messages, s.limiter.Burst()))
	}
}

// refresh takes over a new configuration, and holds what runs against it.
func (s *Session) refresh() {
	config := s.env.Config.Load()
	if config == s.config {
		return
	}
	switch {
	case config.Rate <= 0:
		s.limiter = nil
	case s.limiter == nil:
		s.limiter = rate.NewLimiter(rate.Limit(config.Rate), config.Burst)
	default:
		s.limiter.SetLimit(rate.Limit(config.Rate))
		s.limiter.SetBurst(config.Burst)
	}
	s.config = config
	s.reviewStreams(s.conn.Identity())
}

func (s *Session) handle(req protocol.Request) {
	if s.awaited && !mayGoFirst(req.Type) {
		s.fail(req, "", protocol.Errorf(protocol.Unauthenticated, `send "authenticate" first`))
		return
	}
	switch req.Type {
	case protocol.TypeSubscribe:
		s.subscribe(req)
	case protocol.TypeUnsubscribe:
		s.unsubscribe(req)
	case protocol.TypePublish:
		s.publish(req)
	case protocol.TypeHistory:
		s.history(req)
	case protocol.TypePresence:
		s.presence(req)
	case protocol.TypeStreamQuery:
		s.streamQuery(req)
	case protocol.TypeWatch:
		s.watch(req)
	case protocol.TypeCredit:
		s.check(req, s.streams.Credit(req.StreamID, req.Credits))
	case protocol.TypeCancelQuery:
		s.check(req, s.streams.Cancel(req.StreamID, req.ID, "cancelled by the client"))
	case protocol.TypeUnwatch:
		s.check(req, s.streams.Cancel(req.StreamID, req.ID, "no longer watched"))
	case protocol.TypeQueryStatus:
		s.queryStatus(req)
	case protocol.TypePing:
		s.reply(protocol.AppendPong(s.out[:0], time.Now(), req.ID))
	case protocol.TypePong, protocol.TypeMessage:
	case protocol.TypeAuthenticate:
		s.authenticate(req)
	}
}

// reply sends an answer that was built in s.out.
func (s *Session) reply(msg []byte) {
	s.out = msg
	s.conn.Reply(msg)
	if cap(s.out) > 16<<10 {
		s.out = nil
	}
}

// check answers a request that has no answer of its own unless it failed.
func (s *Session) check(req protocol.Request, err error) {
	if err != nil {
		s.fail(req, "", s.presentable(err))
	}
}

// presentable makes an error fit for the client; what it does not tell goes to the log.
func (s *Session) presentable(err error) *protocol.Error {
	if e, ok := protocol.AsError(err); ok {
		return e
	}
	if errors.Is(err, hub.ErrClosed) || errors.Is(err, stream.ErrSenderClosed) {
		return protocol.Errorf(protocol.Internal, "the server is going away")
	}
	reference := newReference()
	s.env.Log.Error("request failed", zap.String("hub", s.env.Hub.Name()), zap.String("connection_id", s.conn.ID()),
		zap.String("reference", reference), zap.Error(err))
	return protocol.Errorf(protocol.Internal, "something went wrong (reference %s)", reference)
}

// fail tells the client that a request failed, and closes the connection of one whose requests mostly do.
func (s *Session) fail(req protocol.Request, channel string, e *protocol.Error) {
	if len(channel) > protocol.MaxChannelBytes {
		channel = ""
	}
	streamID := req.StreamID
	if len(streamID) > protocol.MaxIDCharacters {
		streamID = ""
	}
	s.reply(protocol.AppendError(s.out[:0], e, req.ID, streamID, channel))
	s.env.Counters.error(e.Code)
	if s.failed {
		return // a message counts once, however many of its channels are refused
	}
	s.failed = true
	now := time.Now()
	for len(s.failures) > 0 && now.Sub(s.failures[0]) >= failuresWindow {
		s.failures = s.failures[1:]
	}
	s.failures = append(s.failures, now)
	if len(s.failures) > maxFailures {
		s.conn.Close(protocol.CloseTooMany, "too many bad requests")
	}
}
