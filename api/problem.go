package api

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// The codes of problems that the protocol has no code for.
const (
	CodeNotFound             protocol.Code = "NOT_FOUND"
	CodeMethodNotAllowed     protocol.Code = "METHOD_NOT_ALLOWED"
	CodeUnsupportedMediaType protocol.Code = "UNSUPPORTED_MEDIA_TYPE"
	CodeGoingAway            protocol.Code = "GOING_AWAY"
	CodeUnavailable          protocol.Code = "UNAVAILABLE" // other nodes cannot be reached
)

// retryAfter is how long a caller should wait while the hub goes away.
const retryAfter = 5 * time.Second

// Problem is why a request fails, told as problem details (RFC 9457). Code says it to programs, Detail to people.
type Problem struct {
	Type   string        `json:"type"`
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail"`
	Code   protocol.Code `json:"code"`

	// RetryAfter is told in a header: when the request may be made again. Default for 503: retryAfter.
	RetryAfter time.Duration `json:"-"`
}

// Error implements error.
func (p *Problem) Error() string { return string(p.Code) + ": " + p.Detail }

// NotFound is the problem of what is not there.
func NotFound(detail string) *Problem {
	return &Problem{Status: http.StatusNotFound, Code: CodeNotFound, Detail: detail}
}

// Forbidden is the problem of who may not do something.
func Forbidden(detail string) *Problem {
	return &Problem{Status: http.StatusForbidden, Code: protocol.Forbidden, Detail: detail}
}

// nodesMissing is the problem of something that the nodes which answered do not have, while others did not answer.
func nodesMissing() *Problem {
	return &Problem{
		Status: http.StatusServiceUnavailable, Code: CodeUnavailable,
		Detail: "it is not on the nodes that answered, and others did not answer; try again", RetryAfter: nodePatience,
	}
}

func goingAway() *Problem {
	return &Problem{Status: http.StatusServiceUnavailable, Code: CodeGoingAway, Detail: "the hub is going away"}
}

// statuses are those of the protocol's error codes.
var statuses = map[protocol.Code]int{
	protocol.InvalidMessage:     http.StatusBadRequest,
	protocol.InvalidChannel:     http.StatusBadRequest,
	protocol.InvalidParams:      http.StatusBadRequest,
	protocol.Unauthenticated:    http.StatusUnauthorized,
	protocol.Forbidden:          http.StatusForbidden,
	protocol.InvalidStreamID:    http.StatusNotFound,
	protocol.HistoryUnavailable: http.StatusNotFound,
	protocol.LimitExceeded:      http.StatusRequestEntityTooLarge,
	protocol.RateLimited:        http.StatusTooManyRequests,
}

// problem makes an error fit for the caller; what it does not tell goes to the log.
func (a *Routes) problem(r *http.Request, err error) *Problem {
	var p *Problem
	var e *protocol.Error
	switch {
	case errors.As(err, &p):
		known := *p
		p = &known
	case errors.As(err, &e):
		p = &Problem{Status: statuses[e.Code], Code: e.Code, Detail: e.Message, RetryAfter: e.RetryAfter}
		if e.RetryAfter > 0 && e.Code != protocol.RateLimited { // what the hub stands on is out of reach for a while
			p.Status = http.StatusServiceUnavailable
		}
	case errors.Is(err, hub.ErrClosed):
		p = goingAway()
	}
	if p == nil || p.Status == 0 {
		reference := uuid.NewString()[:8]
		a.Log.Error("an API request failed", zap.String("hub", a.Hub.Name()), zap.String("method", r.Method),
			zap.String("path", r.URL.Path), zap.String("reference", reference), zap.Error(err))
		p = &Problem{
			Status: http.StatusInternalServerError, Code: protocol.Internal, Detail: "something went wrong (reference " + reference + ")",
		}
	}
	p.complete()
	return p
}

// complete fills in what follows from the status. The code says all that a type of our own could.
func (p *Problem) complete() {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
}

func (a *Routes) fail(w http.ResponseWriter, r *http.Request, err error) { Fail(w, a.problem(r, err)) }

// Fail answers a request with a problem.
func Fail(w http.ResponseWriter, p *Problem) {
	p.complete()
	w.Header().Set("Cache-Control", "no-store")
	retry := p.RetryAfter
	if retry == 0 && p.Status == http.StatusServiceUnavailable {
		retry = retryAfter
	}
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retry.Seconds()))))
	}
	reply(w, p.Status, "application/problem+json", p)
}

// reply writes an answer; without a value it has no body.
func reply(w http.ResponseWriter, status int, contentType string, value any) {
	if value == nil {
		w.WriteHeader(status)
		return
	}
	var text []byte
	if raw, ok := value.(json.RawMessage); ok {
		text = raw
	} else {
		var err error
		if text, err = json.Marshal(value); err != nil {
			// Nothing that is answered here can fail but for a fault of ours.
			panic("neuroquantum_ws: answering in JSON: " + err.Error())
		}
		text = append(text, '\n')
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
