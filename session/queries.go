package session

import (
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func (s *Session) streamQuery(req protocol.Request) {
	query, err := s.findQuery(req)
	if err != nil {
		s.fail(req, "", s.presentable(err))
		return
	}
	if req.Resume != nil {
		s.fail(req, "", protocol.Errorf(protocol.InvalidParams, `this server cannot resume a query: leave out "resume"`))
		return
	}
	ask := stream.Request{
		ID: req.ID, Query: query, QueryName: req.Query, Params: req.Params, Bound: s.bound[req.Query], Format: req.Format,
		Options: s.config.Streams,
	}
	switch {
	case req.BatchSize == 0:
		s.fail(req, "", protocol.Errorf(protocol.InvalidParams, `"batch_size" must be at least 1`))
		return
	case req.BatchSize > 0:
		ask.BatchSize = req.BatchSize
	}
	if req.Credits >= 0 {
		ask.Credits = &req.Credits
	}
	s.check(req, s.streams.Start(ask))
}

func (s *Session) queryStatus(req protocol.Request) {
	status, err := s.streams.Status(req.StreamID)
	if err != nil {
		s.fail(req, "", s.presentable(err))
		return
	}
	status.ID = req.ID
	s.reply(protocol.AppendQueryStatus(s.out[:0], status))
}
