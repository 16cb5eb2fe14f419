package session

import (
	"github.com/neuroquantumdb/neuroquantum-ws/live"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

func (s *Session) streamQuery(req protocol.Request) {
	var resume *stream.Resume
	if req.Resume != nil {
		resume = &stream.Resume{StreamID: req.Resume.StreamID, Batch: req.Resume.Batch}
		name, params, err := s.env.Streams.Resumable(resume.StreamID, s.conn.Identity().User)
		if err != nil {
			s.fail(req, "", s.presentable(err))
			return
		}
		if req.Query == "" {
			req.Query = name
		}
		if req.Params == nil {
			req.Params = params
		}
	}
	query, err := s.findQuery(req)
	if err != nil {
		s.fail(req, "", s.presentable(err))
		return
	}
	ask, err := s.ask(req, query)
	if err != nil {
		s.fail(req, "", s.presentable(err))
		return
	}
	ask.Resume = resume
	s.start(req, ask, "neuroquantum_ws query")
}

// start starts a stream, with a span of this name that lasts as long.
func (s *Session) start(req protocol.Request, ask stream.Request, name string) {
	span := s.trace(name, "query", ask.Query.Name)
	traced(span, &ask)
	err := s.streams.Start(ask)
	if err != nil {
		span.End(err)
	}
	s.check(req, err)
}

// ask makes a stream's request of the client's; the error is a *protocol.Error.
func (s *Session) ask(req protocol.Request, query *stream.Query) (stream.Request, error) {
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
	ask, err := s.askToWatch(req)
	if err != nil {
		s.fail(req, "", s.presentable(err))
		return
	}
	if req.Resume != nil {
		ask.Watch.StreamID, ask.Watch.Revision = req.Resume.StreamID, req.Resume.Revision
	}
	s.start(req, ask, "neuroquantum_ws watch")
}

// askToWatch is ask for a query that is configured to be watched.
func (s *Session) askToWatch(req protocol.Request) (ask stream.Request, err error) {
	query, err := s.config.Catalog.Lookup(req.Query)
	if err != nil {
		return ask, err
	}
	if !s.config.QueryAccess[req.Query].Allow(s.conn.Identity()) {
		return ask, forbiddenQuery()
	}
	if ask, err = s.ask(req, query); err != nil {
		return ask, err
	}
	if req.Format == stream.FormatArrays {
		return ask, protocol.Errorf(protocol.InvalidParams, "the rows of a watched query are objects")
	}
	args, err := stream.Bind(query.Params, req.Params, ask.Bound)
	if err != nil {
		return ask, err
	}
	ask.Watch = &stream.Watch{Revision: -1}
	ask.Watch.Live, err = s.env.Live.Watch(req.Query, args, s.conn.Identity().User, live.Owner{Client: s.conn.Sender(), Connection: s.conn.ID()})
	return ask, err
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
