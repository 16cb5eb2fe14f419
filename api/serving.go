package api

import (
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/docs"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/instance"
)

// Serving serves the routes of the hub for one request.
func Serving(p *instance.Instance, log *zap.Logger) *Routes {
	return &Routes{
		Hub: p.Hub, Streams: p.Env.Streams, Log: log, Ready: p.Ready, Disconnect: p.Disconnect, RevokeUser: p.RevokeUser, IssueTicket: p.IssueTicket, Trace: p.TraceParent,
		Document: docs.OpenAPI, Queries: func() []Query { return queries(p) }, RememberRevocation: p.PersistRevocation(),
	}
}

// queries lists the queries that the hub's clients may run.
func queries(p *instance.Instance) []Query {
	config := p.Env.Config.Load()
	names := config.Catalog.Names()
	list := make([]Query, 0, len(names))
	for _, name := range names {
		q, err := config.Catalog.Lookup(name)
		if err != nil {
			continue // cannot be: a catalog does not change
		}
		told := Query{Query: q, Allow: config.QueryAccess[name]}
		if watch, ok := p.Env.Live.Lookup(name); ok {
			told.Watch = &QueryWatch{Key: watch.Key, MaxRows: watch.MaxRows}
		}
		list = append(list, told)
	}
	return list
}

// PeerHandler answers the requests of other nodes for what this one holds.
func PeerHandler(p *instance.Instance) hub.PeerTopic {
	return hub.PeerTopic{Asked: func(node string, data []byte) []byte { return Serving(p, p.Env.Log).AnswerPeer(node, data) }}
}
