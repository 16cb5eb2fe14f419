package session

import (
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func (s *Session) streamQuery(req protocol.Request) {
	var resume *stream.Resume
	if req.Resume != nil {
		resume = &stream.Resume{StreamID: req.Resume.StreamID, Batch: req.Resume.Batch}
		if req.Query == "" {
			name, err := s.env.Streams.QueryOf(resume.StreamID, s.conn.Identity().User)
			if err != nil {
				s.fail(req, "", s.presentable(err))
				return
			}
			req.Query = name
		}
	}
	ask, err := s.ask(req)
	if err != nil {
		s.fail(req, "", s.presentable(err))
		return
	}
	ask.Resume = resume
	s.check(req, s.streams.Start(ask))
}

// ask makes a stream's request of the client's, as far as it may ask for it; the error is a *protocol.Error.
func (s *Session) ask(req protocol.Request) (stream.Request, error) {
	query, err := s.config.Catalog.Lookup(req.Query)
	if err != nil {
		return stream.Request{}, err
	}
	if !s.config.QueryAccess[req.Query].Allow(s.conn.Identity()) {
		return stream.Request{}, protocol.Errorf(protocol.Forbidden, "this query is not open to you")
	}
	ask := stream.Request{
		ID: req.ID, Query: query, QueryName: req.Query, Params: req.Params, Bound: s.bound[req.Query], Format: req.Format,
		Options: s.config.Streams,
	}
	switch {
	case req.BatchSize == 0:
		return ask, protocol.Errorf(protocol.InvalidParams, `"batch_size" must be at least 1`)
	case req.BatchSize > 0:
		ask.BatchSize = req.BatchSize
	}
	if req.Credits >= 0 {
		ask.Credits = &req.Credits
	}
	return ask, nil
}

// watch follows a query whose result is kept true.
func (s *Session) watch(req protocol.Request) {
	ask, err := s.ask(req)
	if err == nil && req.Format == stream.FormatArrays {
		err = protocol.Errorf(protocol.InvalidParams, "the rows of a watched query are objects")
	}
	var args []stream.Value
	if err == nil {
		args, err = stream.Bind(ask.Query.Params, req.Params, ask.Bound)
	}
	ask.Watch = &stream.Watch{Revision: -1}
	if err == nil {
		ask.Watch.Live, err = s.env.Live.Watch(req.Query, args, s.conn.Identity().User)
	}
	if err != nil {
		s.fail(req, "", s.presentable(err))
		return
	}
	if req.Resume != nil {
		ask.Watch.StreamID, ask.Watch.Revision = req.Resume.StreamID, req.Resume.Revision
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
