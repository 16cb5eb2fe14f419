package session

import (
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
	ask := stream.Request{
		ID: req.ID, Query: query, QueryName: req.Query, Params: req.Params, Bound: s.bound[req.Query], Format: req.Format,
		Resume: resume, Options: s.config.Streams,
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
