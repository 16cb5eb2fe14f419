package session

import (
	"errors"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// mayGoFirst tells whether a request may be made by a client that must authenticate and has not.
func mayGoFirst(request string) bool {
	return request == protocol.TypeAuthenticate || request == protocol.TypePing || request == protocol.TypePong
}

// keysRetry is how long a client should wait whose token cannot be verified for want of the issuer's keys.
const keysRetry = 5 * time.Second

// authenticate makes the client whom its token names, or prolongs what it has.
func (s *Session) authenticate(req protocol.Request) {
	if s.config.Tokens == nil {
		s.fail(req, "", protocol.Errorf(protocol.Unauthenticated, "this site takes no tokens"))
		return
	}
	id, err := s.config.Tokens.Verify(s.ctx, req.Token)
	if err == nil && s.env.Revocations.Revoked(id) {
		err = access.Revoked
	}
	if err != nil {
		s.env.Hub.CountUnidentified()
		s.env.Log.Debug("not authenticated", zap.String("hub", s.env.Hub.Name()), zap.String("connection_id", s.conn.ID()), zap.Error(err))
		s.fail(req, "", unauthenticated(err))
		return
	}
	now := s.conn.Identity()
	if now.User != "" && now.User != id.User {
		s.fail(req, "", protocol.Errorf(protocol.Unauthenticated, "the token is of another user: open another connection for it"))
		return
	}
	if s.conn.Identify(id) != hub.Admitted {
		s.fail(req, "", protocol.Errorf(protocol.LimitExceeded, "too many connections of this user"))
		return
	}
	s.awaited = false
	if !now.SameRights(id) {
		s.reviewStreams(id)
	}
	if s.env.Revocations.Revoked(id) { // just now, before the connection could be found as this user's
		s.env.Hub.Disconnect(s.conn.ID(), "disconnected by an operator", -1)
		return
	}
	s.reply(protocol.AppendAuthenticated(s.out[:0], req.ID, id.User, id.Expires))
}

// unauthenticated puts the refusal of a token into words for the client.
func unauthenticated(err error) *protocol.Error {
	switch {
	case errors.Is(err, access.Unavailable):
		e := protocol.Errorf(protocol.Unauthenticated, "tokens cannot be verified at the moment")
		e.RetryAfter = keysRetry
		return e
	case errors.Is(err, access.Expired):
		return protocol.Errorf(protocol.Unauthenticated, "the token has expired")
	}
	return protocol.Errorf(protocol.Unauthenticated, "the token is not valid")
}

// bind takes over the values that the configuration binds for whoever the client is now.
func (s *Session) bind() {
	s.bound = nil
	if s.config.Bind != nil {
		s.bound = s.config.Bind(s.client.Read, s.conn.Identity())
	}
}

// reviewStreams ends the streams of queries that the client may no longer run, or that would now run with other bound values. Streams
// that it begins from now on run for the new identity.
func (s *Session) reviewStreams(id *access.Identity) {
	before := s.bound
	s.bind()
	s.streams.Reown(id.User, func(name string, query *stream.Query) *protocol.Error {
		refused := s.refusal(name, query, id)
		if refused == nil && !maps.Equal(before[name], s.bound[name]) {
			refused = protocol.Errorf(protocol.Forbidden, "this query is no longer open to you")
		}
		return refused
	})
}

// Reconfigure implements hub.Reconfigurer.
func (s *Session) Reconfigure() { s.refresh() }
