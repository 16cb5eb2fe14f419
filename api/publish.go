package api

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// maxBatch is how many messages one request may publish.
const maxBatch = 1000

// published tells where a message stands in the order. Epoch and offset are there where the channel keeps history.
type published struct {
	Channel   string `json:"channel"`
	Offset    uint64 `json:"offset,omitempty"`
	Epoch     string `json:"epoch,omitempty"`
	Duplicate bool   `json:"duplicate,omitempty"` // the key was seen before; the offset is that of the first
}

// result is what became of one message of a batch: either of both.
type result struct {
	*published
	Error *Problem `json:"error,omitempty"`
}

type batchAnswer struct {
	Results []result `json:"results"` // in the order of the batch
	Failed  int      `json:"failed"`
}

// publish puts messages into their channels. The rules for clients do not bind it: who may call it is decided before.
func publish(a *Routes, r *request) (int, any, error) {
	list, batch, bad := protocol.DecodePublications(r.body, maxBatch)
	if bad != nil {
		return 0, nil, bad
	}
	if err := idempotencyKey(r.Header, list, batch); err != nil {
		return 0, nil, err
	}
	if !batch {
		done, err := a.publish(r, list[0])
		if err != nil {
			return 0, nil, err
		}
		return http.StatusOK, done, nil
	}
	answer := batchAnswer{Results: make([]result, len(list))}
	for i, p := range list {
		done, err := a.publish(r, p)
		if err != nil {
			answer.Results[i].Error = a.problem(r.Request, err)
			answer.Failed++
			continue
		}
		answer.Results[i].published = done
	}
	return http.StatusOK, answer, nil
}

func (a *Routes) publish(r *request, p protocol.Publication) (*published, error) {
	if p.Err != nil {
		return nil, p.Err
	}
	if err := protocol.CheckName(p.Channel); err != nil {
		return nil, protocol.Errorf(protocol.InvalidChannel, "%v", err)
	}
	if protocol.IsReserved(p.Channel) {
		return nil, protocol.Errorf(protocol.Forbidden, "channels that begin with $ belong to the server")
	}
	if a.Hub.Settings().RuleFor(p.Channel) == nil {
		return nil, protocol.Errorf(protocol.Forbidden, "no channel block of the site holds this channel")
	}
	receipt, err := a.Hub.Publish(r.ctx(), hub.Publication{
		Channel: p.Channel, Data: p.Data, Key: p.Key, Sender: "api", Trace: a.trace(r.Request),
	})
	if err != nil {
		return nil, err
	}
	done := &published{Channel: p.Channel, Duplicate: receipt.Duplicate}
	if receipt.Position.Offset > 0 {
		done.Offset, done.Epoch = receipt.Position.Offset, receipt.Position.Epoch
	}
	return done, nil
}

// idempotencyKey takes the key of a single message from the header of that name, where it may stand in quotes.
func idempotencyKey(header http.Header, list []protocol.Publication, batch bool) error {
	values := header.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil
	}
	wrong := func(format string, args ...any) error {
		return protocol.Errorf(protocol.InvalidMessage, format, args...)
	}
	key := values[0]
	if inner, ok := strings.CutPrefix(key, `"`); ok {
		if inner, ok = strings.CutSuffix(inner, `"`); !ok || strings.ContainsAny(inner, `"\`) {
			return wrong("Idempotency-Key: the quotes are wrong")
		}
		key = inner
	}
	switch n := utf8.RuneCountInString(key); {
	case batch:
		return wrong("Idempotency-Key is for a single message; in a batch each has its own key")
	case len(values) > 1:
		return wrong("Idempotency-Key stands more than once")
	case n < 1 || n > protocol.MaxKeyCharacters || !utf8.ValidString(key):
		return wrong("Idempotency-Key must have 1 to %d characters", protocol.MaxKeyCharacters)
	case list[0].Key != "" && list[0].Key != key:
		return wrong(`Idempotency-Key and "key" differ`)
	}
	list[0].Key = key
	return nil
}
