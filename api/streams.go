package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

type streamsAnswer struct {
	Streams []streamRow `json:"streams"` // the oldest first
	Cursor  string      `json:"cursor,omitempty"`
}

// streamRow is a stream with the node that runs it, where there are several.
type streamRow struct {
	Node string `json:"node,omitempty"`
	stream.Info
}

// streamKey sorts as the list of streams does.
func streamKey(s stream.Info) string {
	return stamp(s.Started).Format("20060102150405.000") + s.StreamID
}

func listStreams(a *Routes, r *request) (int, any, error) {
	limit, after, err := r.page()
	if err != nil {
		return 0, nil, err
	}
	user, byUser := r.query.Get("user"), r.query.Has("user")
	list := slices.DeleteFunc(a.Streams.List(), func(s stream.Info) bool {
		return strings.Compare(streamKey(s), after) <= 0 || byUser && s.User != user
	})
	slices.SortFunc(list, func(a, b stream.Info) int { return strings.Compare(streamKey(a), streamKey(b)) })
	var answer streamsAnswer
	if len(list) > limit {
		list = list[:limit]
		answer.Cursor = cursor(streamKey(list[limit-1]))
	}
	answer.Streams = make([]streamRow, len(list))
	for i, info := range list {
		info.Started = stamp(info.Started)
		answer.Streams[i] = streamRow{a.Hub.Node(), info}
	}
	return http.StatusOK, answer, nil
}

func cancelStream(a *Routes, r *request) (int, any, error) {
	if !a.Streams.Cancel(r.name) {
		return 0, nil, protocol.Errorf(protocol.InvalidStreamID, "no such stream runs")
	}
	a.Log.Info("an operator cancelled a stream", zap.String("hub", a.Hub.Name()), zap.String("stream_id", r.name),
		zap.String("by", r.RemoteAddr))
	return http.StatusNoContent, nil, nil
}

type statsAnswer struct {
	Node       string    `json:"node,omitempty"`
	Hub        string    `json:"hub"`
	ServerTime time.Time `json:"server_time"`
	Epoch      string    `json:"epoch"`
	Offset     uint64    `json:"offset"`
	hub.Stats
	Streams streamStats `json:"streams"`
}

type streamStats struct {
	Active int `json:"active"`
	stream.Totals
}

func showStats(a *Routes, _ *request) (int, any, error) {
	position := a.Hub.Position()
	return http.StatusOK, statsAnswer{
		Node: a.Hub.Node(), Hub: a.Hub.Name(), ServerTime: stamp(time.Now()), Epoch: position.Epoch, Offset: position.Offset, Stats: a.Hub.Stats(),
		Streams: streamStats{a.Streams.Active(), a.Streams.Totals()},
	}, nil
}

type healthAnswer struct {
	Status string `json:"status"`
}

func showHealth(a *Routes, _ *request) (int, any, error) {
	if !a.Ready() {
		return 0, nil, goingAway()
	}
	return http.StatusOK, healthAnswer{"ready"}, nil
}

func showDocument(a *Routes, _ *request) (int, any, error) {
	return http.StatusOK, json.RawMessage(a.Document), nil
}
