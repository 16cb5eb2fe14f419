package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// Where a hub has several nodes, each answers for all: it asks the others the same, and makes one answer of theirs and its own. One that
// does not answer in time is named in a header, and what it has is not in the answer.

// PeerTopic is the topic under which nodes ask each other; see hub.PeerTopic.
const PeerTopic = "api"

// MissingNodesHeader names, with commas between, the nodes of which nothing is in the answer.
const MissingNodesHeader = "Neuroquantum-Missing-Nodes"

// nodePatience is how long other nodes are waited for.
const nodePatience = 2 * time.Second

// errand is a request that one node makes of another.
type errand struct {
	Method string    `json:"method"`
	Path   []string  `json:"path"`
	Query  string    `json:"query"`
	At     time.Time `json:"at"` // when the caller's request came, by the clock of the node that it came to
}

// part is what one node answers.
type part struct {
	Node   string          `json:"-"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// merge makes one answer of those of several nodes, each of which has succeeded; the own is the first.
type merge func(a *Routes, r *request, parts []part) (any, error)

// merges are the operations that all nodes have a part in, as METHOD path. What is not here a node answers alone, as it knows it for all.
var merges = map[string]merge{
	"GET channels":            mergeChannels,
	"GET channels/{name}":     mergeChannel,
	"GET connections":         mergeConnections,
	"GET connections/{id}":    onlyOne,
	"DELETE connections/{id}": onlyOne,
	"DELETE users/{user}":     mergeDisconnected,
	"GET streams":             mergeStreams,
	"DELETE streams/{id}":     onlyOne,
	"GET stats":               mergeStats,
}

// everywhere has a request answered by all nodes.
func (a *Routes) everywhere(w http.ResponseWriter, r *request, op operation, segments []string, merge merge) (int, any, error) {
	status, body, failure := op.answer(a, r)
	text, err := json.Marshal(errand{r.method, segments, r.URL.RawQuery, r.at})
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithTimeout(r.ctx(), nodePatience)
	defer cancel()
	answers, missing := a.Hub.AskPeers(ctx, "", PeerTopic, text)
	if len(missing) > 0 {
		w.Header().Set(MissingNodesHeader, strings.Join(missing, ","))
		a.Log.Warn("other nodes did not answer", zap.String("hub", a.Hub.Name()), zap.String("path", r.URL.Path), zap.Strings("nodes", missing))
	}
	var parts []part
	if failure == nil {
		own, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		parts = append(parts, part{a.Hub.Node(), status, own})
	}
	slices.SortFunc(answers, func(a, b hub.PeerAnswer) int { return cmp.Compare(a.Node, b.Node) })
	for _, answer := range answers {
		p := part{Node: answer.Node}
		if err := json.Unmarshal(answer.Data, &p); err == nil && p.Status/100 == 2 {
			parts = append(parts, p)
			status = p.Status
		}
	}
	if len(parts) == 0 {
		var p *Problem
		var e *protocol.Error
		notFound := errors.As(failure, &p) && p.Status == http.StatusNotFound || errors.As(failure, &e) && statuses[e.Code] == http.StatusNotFound
		if notFound && len(missing) > 0 {
			failure = nodesMissing()
		}
		return 0, nil, failure
	}
	merged, err := merge(a, r, parts)
	return status, merged, err
}

// AnswerPeer answers what another node asks under PeerTopic.
func (a *Routes) AnswerPeer(node string, data []byte) []byte {
	var e errand
	if err := json.Unmarshal(data, &e); err != nil {
		return nil
	}
	p := part{Status: http.StatusNotFound}
	if route, name := find(e.Path); route != nil {
		if op, ok := route.methods[e.Method]; ok && merges[e.Method+" "+route.path] != nil {
			r := &request{Request: &http.Request{Method: e.Method, RemoteAddr: "node " + node}, name: name, method: e.Method, at: e.At}
			r.Request = r.WithContext(context.Background())
			p = a.answerPart(r, op, e.Query)
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil
	}
	return text
}

func (a *Routes) answerPart(r *request, op operation, query string) part {
	var err error
	if r.query, err = parameters(query, op.parameters); err != nil {
		return part{Status: http.StatusBadRequest}
	}
	status, body, err := op.answer(a, r)
	if err != nil {
		return part{Status: http.StatusNotFound}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return part{Status: http.StatusInternalServerError}
	}
	return part{Status: status, Body: text}
}

// decode reads the parts as values of a type.
func decode[T any](parts []part) ([]T, error) {
	out := make([]T, len(parts))
	for i, p := range parts {
		if err := json.Unmarshal(p.Body, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// onlyOne is the merge of what only one node has.
func onlyOne(_ *Routes, _ *request, parts []part) (any, error) {
	if len(parts[0].Body) == 0 || string(parts[0].Body) == "null" {
		return nil, nil
	}
	return parts[0].Body, nil
}

// page puts the pages of several nodes in one order and cuts them to the limit. As each node gives its first rows, the first of all are
// among them.
func page[T any](r *request, rows []T, more bool, key func(T) string) (out []T, next string, err error) {
	limit, _, err := r.page()
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(rows, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	if len(rows) > limit {
		rows, more = rows[:limit], true
	}
	if more && len(rows) > 0 {
		next = cursor(key(rows[len(rows)-1]))
	}
	return rows, next, nil
}

func mergeConnections(_ *Routes, r *request, parts []part) (any, error) {
	all, err := decode[connectionsAnswer](parts)
	if err != nil {
		return nil, err
	}
	var rows []connectionRow
	more := false
	for _, one := range all {
		rows = append(rows, one.Connections...)
		more = more || one.Cursor != ""
	}
	var out connectionsAnswer
	out.Connections, out.Cursor, err = page(r, rows, more, func(c connectionRow) string { return c.ID })
	return out, err
}

func mergeStreams(_ *Routes, r *request, parts []part) (any, error) {
	all, err := decode[streamsAnswer](parts)
	if err != nil {
		return nil, err
	}
	rows := []streamRow{}
	more := false
	for _, one := range all {
		rows = append(rows, one.Streams...)
		more = more || one.Cursor != ""
	}
	var out streamsAnswer
	out.Streams, out.Cursor, err = page(r, rows, more, func(s streamRow) string { return streamKey(s.Info) })
	return out, err
}

func mergeChannels(_ *Routes, r *request, parts []part) (any, error) {
	all, err := decode[channelsAnswer](parts)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]channelAnswer)
	more := false
	for _, one := range all {
		for _, cs := range one.Channels {
			byName[cs.Channel] = joinChannel(byName[cs.Channel], cs)
		}
		more = more || one.Cursor != ""
	}
	var out channelsAnswer
	out.Channels, out.Cursor, err = page(r, slices.AppendSeq([]channelAnswer{}, maps.Values(byName)), more,
		func(c channelAnswer) string { return c.Channel })
	return out, err
}

// joinChannel adds what another node knows of a channel. The history is the same on all of them.
func joinChannel(to, cs channelAnswer) channelAnswer {
	to.Channel, to.Queue = cs.Channel, cs.Queue
	to.Subscribers += cs.Subscribers
	to.Published, to.History, to.HistoryB = max(to.Published, cs.Published), max(to.History, cs.History), max(to.HistoryB, cs.HistoryB)
	to.Offset = max(to.Offset, cs.Offset)
	if cs.PublishedAt.After(to.PublishedAt) {
		to.PublishedAt = cs.PublishedAt
	}
	return to
}

func mergeChannel(_ *Routes, _ *request, parts []part) (any, error) {
	all, err := decode[channelAnswer](parts)
	if err != nil {
		return nil, err
	}
	var joined channelAnswer
	for _, cs := range all {
		joined = joinChannel(joined, cs)
	}
	return joined, nil
}

// mergeDisconnected adds up how many connections were closed. The nodes that could not be asked are told as soon as they can be.
func mergeDisconnected(a *Routes, r *request, parts []part) (any, error) {
	if err := a.RememberRevocation(r.ctx(), r.name, r.at); err != nil {
		a.Log.Error("a revocation cannot be told to nodes that are away", zap.String("hub", a.Hub.Name()), zap.String("user", r.name),
			zap.Error(err))
		return nil, &Problem{
			Status: http.StatusServiceUnavailable, Code: CodeUnavailable,
			Detail: "the user's connections on this node are closed, but other nodes may not know of it; try again",
		}
	}
	all, err := decode[disconnectedAnswer](parts)
	if err != nil {
		return nil, err
	}
	var sum disconnectedAnswer
	for _, one := range all {
		sum.Disconnected += one.Disconnected
	}
	return sum, nil
}

// shared are the stats of what all nodes have in common, the order and the history: the largest is what the node that knows best says.
var shared = []string{"offset", "history_channels", "bytes_history"}

// mergeStats adds up what nodes count, and lists each.
func mergeStats(_ *Routes, _ *request, parts []part) (any, error) {
	sum := map[string]any{}
	nodes := make([]json.RawMessage, len(parts))
	for i, p := range parts {
		var one map[string]any
		if err := json.Unmarshal(p.Body, &one); err != nil {
			return nil, err
		}
		nodes[i] = p.Body
		for _, name := range shared {
			before, _ := sum[name].(float64)
			mine, _ := one[name].(float64)
			sum[name] = max(before, mine)
			delete(one, name)
		}
		add(sum, one)
	}
	delete(sum, "node")
	sum["nodes"] = nodes
	return sum, nil
}

// add adds numbers, objects within objects, and the counts of losses; of all else the first stays.
func add(sum, one map[string]any) {
	for name, value := range one {
		before, known := sum[name]
		switch value := value.(type) {
		case float64:
			n, _ := before.(float64)
			sum[name] = n + value
		case map[string]any:
			within, ok := before.(map[string]any)
			if !ok {
				within = map[string]any{}
				sum[name] = within
			}
			add(within, value)
		case []any:
			list, _ := before.([]any)
			sum[name] = addLosses(list, value)
		default:
			if !known {
				sum[name] = value
			}
		}
	}
}

// addLosses adds up rows {policy, reason, count}.
func addLosses(sum, more []any) []any {
	if sum == nil {
		sum = []any{}
	}
	for _, row := range more {
		loss, ok := row.(map[string]any)
		if !ok {
			continue
		}
		i := slices.IndexFunc(sum, func(s any) bool {
			other := s.(map[string]any)
			return other["policy"] == loss["policy"] && other["reason"] == loss["reason"]
		})
		if i < 0 {
			sum = append(sum, maps.Clone(loss))
			continue
		}
		into := sum[i].(map[string]any)
		before, _ := into["count"].(float64)
		count, _ := loss["count"].(float64)
		into["count"] = before + count
	}
	return sum
}
