package api

import (
	"cmp"
	"net/http"
	"slices"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

type connectionsAnswer struct {
	Connections []connectionRow `json:"connections"` // in the order of their ids
	Cursor      string          `json:"cursor,omitempty"`
}

// connectionRow is a connection with the node that has it, where there are several.
type connectionRow struct {
	Node string `json:"node,omitempty"`
	hub.ConnStats
}

// connectionAnswer is a connection with what a list leaves out.
type connectionAnswer struct {
	connectionRow
	Channels []string `json:"channels"` // names and patterns that it is subscribed to
	Streams  []string `json:"streams"`  // ids of its running query streams
}

func (a *Routes) connectionRow(c *hub.Conn) connectionRow {
	s := c.Stats()
	s.ConnectedAt, s.LastActivity = stamp(s.ConnectedAt), stamp(s.LastActivity)
	return connectionRow{a.Hub.Node(), s}
}

func listConnections(a *Routes, r *request) (int, any, error) {
	limit, after, err := r.page()
	if err != nil {
		return 0, nil, err
	}
	conns := a.Hub.Connections()
	user, byUser := r.query.Get("user"), r.query.Has("user")
	id, byID := r.query.Get("id"), r.query.Has("id")
	conns = slices.DeleteFunc(conns, func(c *hub.Conn) bool {
		return c.ID() <= after || byUser && c.Identity().User != user || byID && c.ID() != id
	})
	slices.SortFunc(conns, func(a, b *hub.Conn) int { return cmp.Compare(a.ID(), b.ID()) })
	answer := connectionsAnswer{Connections: make([]connectionRow, 0, min(len(conns), limit))}
	for _, c := range conns[:min(len(conns), limit)] {
		answer.Connections = append(answer.Connections, a.connectionRow(c))
	}
	if len(conns) > limit {
		answer.Cursor = cursor(conns[limit-1].ID())
	}
	return http.StatusOK, answer, nil
}

// connection is the one in the path.
func (a *Routes) connection(r *request) (*hub.Conn, error) {
	if c := a.Hub.Connection(r.name); c != nil {
		return c, nil
	}
	return nil, NotFound("there is no such connection")
}

func showConnection(a *Routes, r *request) (int, any, error) {
	c, err := a.connection(r)
	if err != nil {
		return 0, nil, err
	}
	answer := connectionAnswer{connectionRow: a.connectionRow(c), Channels: c.Subscriptions(), Streams: []string{}}
	for _, s := range a.Streams.List() {
		if s.ConnectionID == c.ID() {
			answer.Streams = append(answer.Streams, s.StreamID)
		}
	}
	return http.StatusOK, answer, nil
}

func closeConnection(a *Routes, r *request) (int, any, error) {
	after, err := r.reconnectAfter()
	if err != nil {
		return 0, nil, err
	}
	c, err := a.connection(r)
	if err != nil {
		return 0, nil, err
	}
	a.Disconnect(c.ID(), after)
	a.Log.Info("an operator closed a connection", zap.String("hub", a.Hub.Name()), zap.String("connection_id", c.ID()),
		zap.String("user", c.Identity().User), zap.String("by", r.RemoteAddr))
	return http.StatusNoContent, nil, nil
}

type disconnectedAnswer struct {
	Disconnected int `json:"disconnected"`
}

func disconnectUser(a *Routes, r *request) (int, any, error) {
	after, err := r.reconnectAfter()
	if err != nil {
		return 0, nil, err
	}
	n := a.RevokeUser(r.name, r.at, after)
	a.Log.Info("an operator closed the connections of a user", zap.String("hub", a.Hub.Name()), zap.String("user", r.name),
		zap.Int("connections", n), zap.String("by", r.RemoteAddr))
	return http.StatusOK, disconnectedAnswer{n}, nil
}
