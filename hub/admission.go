package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Refusal is why a client gets no connection.
type Refusal uint8

// The refusals.
const (
	Admitted        Refusal = iota
	HubFull                 // max_connections
	AddressFull             // max_connections_per_ip
	UserFull                // max_connections_per_user
	Draining                // the hub closes
	BadRequest              // no WebSocket handshake, or a wrong one
	BadOrigin               // of a page that may not connect
	Unauthenticated         // who the client is must be known, and is not
	NotReady                // the broker has not been reached yet
)

var refusals = [...]string{
	"admitted", "hub full", "address full", "user full", "draining", "bad request", "origin not allowed", "unauthenticated",
	"not ready",
}

// String names the refusal in the log.
func (r Refusal) String() string { return refusals[r] }

// slots counts connections against their limits, from before their upgrade to their end. The hub's lock guards it.
type slots struct {
	all       int
	addresses map[string]int
	users     map[string]int
}

func newSlots() slots { return slots{addresses: make(map[string]int), users: make(map[string]int)} }

// Slot is the place of one connection. It must be given to Upgrade or released.
type Slot struct {
	hub           *Hub
	address, user string
}

// Reserve takes a place for a client, so that no more than the allowed number ever get to the upgrade. user is empty for an
// anonymous client.
func (h *Hub) Reserve(address, user string) (*Slot, Refusal) {
	s := h.Settings()
	h.mu.Lock()
	defer h.mu.Unlock()
	refusal := Admitted
	switch {
	case h.draining:
		refusal = Draining
	case !h.Ready():
		refusal = NotReady
	case s.MaxConnections > 0 && h.slots.all >= s.MaxConnections:
		refusal = HubFull
	case s.MaxConnectionsPerIP > 0 && h.slots.addresses[address] >= s.MaxConnectionsPerIP:
		refusal = AddressFull
	case user != "" && s.MaxConnectionsPerUser > 0 && h.slots.users[user] >= s.MaxConnectionsPerUser:
		refusal = UserFull
	}
	if refusal != Admitted {
		h.Refuse(refusal)
		return nil, refusal
	}
	h.slots.all++
	h.slots.addresses[address]++
	if user != "" {
		h.slots.users[user]++
	}
	return &Slot{h, address, user}, Admitted
}

// Claim makes the slot of a client that was unknown when it was reserved that of a user. Unless it is Admitted, the slot is released.
func (s *Slot) Claim(user string) Refusal {
	limit := s.hub.Settings().MaxConnectionsPerUser
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if limit > 0 && s.hub.slots.users[user] >= limit {
		s.releaseLocked()
		s.hub.Refuse(UserFull)
		return UserFull
	}
	s.user = user
	s.hub.slots.users[user]++
	return Admitted
}

// Refuse counts a client that gets no connection for another reason than those of Reserve, which counts its own.
func (h *Hub) Refuse(why Refusal) { h.stats.refusals[why].Add(1) }

// CountUnidentified counts a client that could not show who it is, before its upgrade or after it.
func (h *Hub) CountUnidentified() { h.stats.unidentified.Add(1) }

// Release gives the place back. It is for a slot that Upgrade was not called with.
func (s *Slot) Release() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.releaseLocked()
}

func (s *Slot) releaseLocked() {
	s.hub.slots.all--
	release(s.hub.slots.addresses, s.address)
	if s.user != "" {
		release(s.hub.slots.users, s.user)
	}
}

func release(counts map[string]int, key string) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

// Upgrade is what is needed to make a connection of a request.
type Upgrade struct {
	Slot         *Slot
	Identity     *access.Identity // nil for an anonymous client
	AuthTimeout  time.Duration    // in which the client must be identified, else 4001; 0 where it need not
	Meta         Meta
	Subprotocols []string // that the server speaks, best first
	// Receiver makes the connection's receiver. It must not wait.
	Receiver func(*Conn) Receiver
	// Made is called once the connection can be found, nil where nobody asks. It must not wait.
	Made func(*Conn)
}

// Upgrade answers the request with a WebSocket handshake and hands the connection to a goroutine of the hub's: the caller may
// return. Where the request is an extended CONNECT (see ConnectProtocol) the connection is part of it: Upgrade returns when it has
// ended. On an error the client has been answered and the slot is released.
func (h *Hub) Upgrade(w http.ResponseWriter, r *http.Request, u Upgrade) (*Conn, error) {
	now := time.Now()
	c := &Conn{
		hub: h, shard: h.shards[h.turn.Add(1)%uint32(len(h.shards))], id: uuid.NewString(), meta: u.Meta,
		connectedAt: now, slot: u.Slot, ended: make(chan struct{}),
	}
	c.identity.Store(access.Anonymous)
	if u.Identity != nil && u.Identity.User != "" {
		c.identity.Store(u.Identity)
	}
	c.setDeadline()
	if u.AuthTimeout > 0 {
		c.deadline, c.awaited = now.Add(u.AuthTimeout), true
	}
	c.lane.Max = laneBytes
	c.lastRead.Store(now.UnixNano())
	c.lastActive.Store(now.UnixNano())
	c.heard.Store(true) // it is about to say something
	writer := &hijacker{ResponseWriter: w, conn: c}
	if ConnectProtocol(r) != "" {
		writer.connect = r
		if r.ProtoMajor == 3 {
			c.maxPing = quicPing
		}
		r = asUpgrade(r)
	}
	ws, err := websocket.Accept(writer, r, c.acceptOptions(u.Subprotocols))
	if err != nil {
		u.Slot.Release()
		h.Refuse(BadRequest)
		return nil, fmt.Errorf("upgrading to WebSocket: %w", err)
	}
	settings := h.Settings()
	c.ws = ws
	c.subprotocol = ws.Subprotocol()
	c.lines = c.subprotocol == protocol.SubprotocolNDJSON
	c.limit = settings.MaxMessageSize
	c.nextPing = now.Add(c.pingInterval(settings))
	ws.SetReadLimit(c.limit)
	c.receiver = u.Receiver(c)
	if c.subprotocol != "" {
		c.pushReply(frame(protocol.AppendWelcome(nil, protocol.Welcome{
			ConnectionID: c.id, User: c.Identity().User, HeartbeatInterval: c.pingInterval(settings),
			HeartbeatTimeout: settings.HeartbeatTimeout, MaxMessageBytes: settings.MaxMessageSize, Position: h.Position(), Now: now,
		})))
	}
	h.stats.accepted.Add(1)
	h.mu.Lock()
	h.conns[c.id] = c
	draining := h.draining
	h.mu.Unlock()
	c.shard.post(letter{command: func() { c.shard.register(c) }})
	if draining {
		c.Close(protocol.CloseGoingAway, goingAway)
	}
	if u.Made != nil {
		u.Made(c)
	}
	if t, ok := c.socket.(*tunnel); ok {
		c.serve(t)
		return c, nil
	}
	go c.run()
	return c, nil
}

// forget takes an ended connection off the books.
func (h *Hub) forget(c *Conn, err error) {
	s := c.Stats()
	c.mu.Lock()
	code, reason, queued, queuedBytes := c.code, c.reason, c.leftMessages, c.leftBytes
	c.mu.Unlock()
	h.mu.Lock()
	delete(h.conns, c.id)
	h.gone.add(c)
	h.closes[closeLabel(code)]++
	c.slot.releaseLocked()
	h.mu.Unlock()
	level := zap.DebugLevel
	if code == protocol.CloseInternal || code == closeTooSlow {
		level = zap.WarnLevel
	}
	if entry, fields := h.line(level, "connection ended"); entry != nil {
		entry.Write(append(fields, zap.String("connection_id", c.id), zap.String("client_ip", c.meta.Address),
			zap.String("user", c.Identity().User), zap.Uint16("code", uint16(code)), zap.String("reason", reason),
			zap.Duration("duration", time.Since(c.connectedAt)), zap.Uint64("received", s.Received),
			zap.Uint64("received_bytes", s.ReceivedBytes), zap.Uint64("sent", s.Sent), zap.Uint64("sent_bytes", s.SentBytes),
			zap.Uint64("offered", s.Offered), zap.Uint64("dropped", s.Dropped), zap.Uint64("conflated", s.Conflated),
			zap.Int("queued", queued), zap.Int("queued_bytes", queuedBytes), zap.NamedError("cause", unlessUsual(err)))...)
	}
}

// unlessUsual leaves out errors that say no more than that the connection was closed in order.
func unlessUsual(err error) error {
	if websocket.CloseStatus(err) != -1 || errors.Is(err, context.Canceled) || errors.Is(err, errClosing) {
		return nil
	}
	return err
}
