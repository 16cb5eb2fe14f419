// Package api is the HTTP interface of a hub: publishing without a connection, and the showing and closing of what is there. It knows
// nothing of Caddy, of where its routes hang, or of who may use them: that is for those who put it behind a path.
//
// docs/openapi.json describes it; a test holds both against each other.
package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
	"github.com/neuroquantumdb/neuroquantum-ws/stream"
)

// DefaultMaxBody is how many bytes a request's body may have unless said otherwise.
const DefaultMaxBody = 1 << 20

// Routes serves the routes of one hub. It holds nothing of its own and may be made for each request.
type Routes struct {
	Hub     *hub.Hub
	Streams *stream.Registry
	Log     *zap.Logger
	// Ready tells whether new clients are welcome.
	Ready func() bool
	// Disconnect closes a connection. Its client may come back with what it has; where after is not negative it is asked to, after that
	// time.
	Disconnect func(connectionID string, after time.Duration) bool
	// RevokeUser closes all connections of a user, and makes void what tokens and tickets the user has been issued so far. Where after is
	// not negative the clients are asked to come back after that time. It gives the number of connections.
	RevokeUser func(user string, at time.Time, after time.Duration) int
	// RememberRevocation has the hub's other nodes do so too, those that are away now included; nil where there are none.
	RememberRevocation func(ctx context.Context, user string, at time.Time) error
	// IssueTicket makes a ticket that lets one client in; see access.Tickets.
	IssueTicket func(grant access.Grant, ttl time.Duration) (ticket string, until time.Time, err error)
	// Queries lists the queries that clients may run, by their names.
	Queries func() []Query
	// Trace gives the traceparent of a request that publishes, empty where it is not traced; nil where none is.
	Trace func(*http.Request) string
	// Document is docs/openapi.json.
	Document []byte
	// MaxBody is how many bytes a request's body may have. Default: DefaultMaxBody.
	MaxBody int64
}

// request is one request on its way to its route.
type request struct {
	*http.Request
	method string     // GET for HEAD
	at     time.Time  // when it came
	name   string     // what stands in the path in the place of {…}, decoded
	query  url.Values // each parameter once
	body   []byte     // of a POST
}

func (r *request) ctx() context.Context { return r.Context() }

// answer gives what a request is answered with: a status and a value to be told as JSON, nil for no body.
type answer func(a *Routes, r *request) (status int, body any, err error)

// route is a path below the API's root, and what may be done there. In path {name} stands for one segment.
type route struct {
	path    string
	methods map[string]operation
}

// operation is what one method of a route does, and the query parameters that it knows.
type operation struct {
	answer     answer
	parameters []string
}

var routes = []route{
	{"publish", map[string]operation{http.MethodPost: {publish, nil}}},
	{"channels", map[string]operation{http.MethodGet: {listChannels, []string{"pattern", "limit", "cursor"}}}},
	{"channels/{name}", map[string]operation{http.MethodGet: {showChannel, nil}}},
	{"channels/{name}/history", map[string]operation{http.MethodGet: {showHistory, []string{"limit", "epoch", "offset"}}}},
	{"channels/{name}/presence", map[string]operation{http.MethodGet: {showPresence, nil}}},
	{"connections", map[string]operation{http.MethodGet: {listConnections, []string{"user", "id", "limit", "cursor"}}}},
	{"connections/{id}", map[string]operation{
		http.MethodGet:    {showConnection, nil},
		http.MethodDelete: {closeConnection, []string{"reconnect_after_ms"}},
	}},
	{"users/{user}", map[string]operation{http.MethodDelete: {disconnectUser, []string{"reconnect_after_ms"}}}},
	{"streams", map[string]operation{http.MethodGet: {listStreams, []string{"user", "limit", "cursor"}}}},
	{"streams/{id}", map[string]operation{http.MethodDelete: {cancelStream, nil}}},
	{"queries", map[string]operation{http.MethodGet: {listQueries, []string{"limit", "cursor"}}}},
	{"tickets", map[string]operation{http.MethodPost: {issueTicket, nil}}},
	{"stats", map[string]operation{http.MethodGet: {showStats, nil}}},
	{"health", map[string]operation{http.MethodGet: {showHealth, nil}}},
	{"openapi.json", map[string]operation{http.MethodGet: {showDocument, nil}}},
}

func (a *Routes) trace(r *http.Request) string {
	if a.Trace == nil {
		return ""
	}
	return a.Trace(r)
}

// Operations lists what there is, as METHOD path.
func Operations() []string {
	var all []string
	for _, route := range routes {
		for method := range route.methods {
			all = append(all, method+" /"+route.path)
		}
	}
	slices.Sort(all)
	return all
}

// IsRoot tells whether a segment begins the path of a route.
func IsRoot(segment string) bool {
	return slices.ContainsFunc(routes, func(r route) bool {
		first, _, _ := strings.Cut(r.path, "/")
		return first == segment
	})
}

// Segments splits a path as it stands in a URL and decodes its segments, so that a name with an encoded slash is one. ok is false where
// it is wrongly encoded.
func Segments(escapedPath string) (segments []string, ok bool) {
	segments = strings.Split(strings.TrimPrefix(escapedPath, "/"), "/")
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		segments[i] = decoded
	}
	return segments, true
}

// find is the route that the segments lead to, and what stands in the place of its {…}; nil where there is none.
func find(segments []string) (*route, string) {
	for i := range routes {
		name := ""
		parts := strings.Split(routes[i].path, "/")
		matches := len(parts) == len(segments)
		for j := 0; matches && j < len(parts); j++ {
			if strings.HasPrefix(parts[j], "{") {
				name = segments[j]
				matches = name != ""
			} else {
				matches = parts[j] == segments[j]
			}
		}
		if matches {
			return &routes[i], name
		}
	}
	return nil, ""
}

// Serve answers a request for what the segments lead to, which are those of the path below the API's root.
func (a *Routes) Serve(w http.ResponseWriter, r *http.Request, segments []string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	status, body, err := a.serve(w, r, segments)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	reply(w, status, "application/json", body)
}

func (a *Routes) serve(w http.ResponseWriter, r *http.Request, segments []string) (int, any, error) {
	route, name := find(segments)
	if route == nil {
		return 0, nil, NotFound("there is nothing at this path; names in paths are percent-encoded, slashes too")
	}
	method := r.Method
	if method == http.MethodHead { // net/http leaves the body out
		method = http.MethodGet
	}
	op, ok := route.methods[method]
	if !ok {
		w.Header().Set("Allow", route.allow())
		return 0, nil, &Problem{Status: http.StatusMethodNotAllowed, Code: CodeMethodNotAllowed, Detail: "allowed here: " + route.allow()}
	}
	req := &request{Request: r, name: name, method: method, at: time.Now()}
	var err error
	if req.query, err = parameters(r.URL.RawQuery, op.parameters); err != nil {
		return 0, nil, err
	}
	if method != http.MethodPost && (r.ContentLength != 0 || len(r.TransferEncoding) > 0) {
		return 0, nil, protocol.Errorf(protocol.InvalidMessage, "a %s has no body", method)
	}
	if method == http.MethodPost {
		if req.body, err = a.read(w, r); err != nil {
			return 0, nil, err
		}
	}
	if merge := merges[method+" "+route.path]; merge != nil && a.Hub.Peers() != nil {
		return a.everywhere(w, req, op, segments, merge)
	}
	return op.answer(a, req)
}

// allow is the value of the header Allow.
func (r *route) allow() string {
	var methods []string
	for method := range r.methods {
		methods = append(methods, method)
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}
