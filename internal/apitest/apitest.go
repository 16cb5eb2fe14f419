// Package apitest stands in for a database's HTTP API in tests. It knows no SQL: it answers what it is told to answer, in the way that
// it is told to.
package apitest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Framing is how the end of a body is told.
type Framing int

// The framings.
const (
	Length  Framing = iota // by Content-Length
	Chunked                // by the last chunk
	Close                  // by the end of the connection: not at all
)

// Answer is what the API answers.
type Answer struct {
	Status  int           // default: 200
	Header  http.Header   // of the response
	Body    string        // whole
	Gzip    bool          // the body
	Framing Framing       // of the body
	Cut     int           // the connection is cut behind so many bytes of the body, as it is sent; 0: behind all of them
	Stall   int           // behind so many bytes no more comes, until the client is gone; 0: nothing stalls
	Delay   chan struct{} // the answer begins when it is closed; nil: at once
	Seen    chan struct{} // closed when the request is there, if not nil
}

// Request is what the API was asked.
type Request struct {
	Method, URI, Body string
	Header            http.Header
}

// Server is the stand-in.
type Server struct {
	URL string
	// Gone gets a value each time the client leaves an answer that stalls or is delayed.
	Gone chan struct{}

	mu       sync.Mutex
	answer   Answer
	requests []Request
}

// New starts a Server that ends with the test; address may be empty.
func New(t testing.TB, address string) *Server {
	t.Helper()
	s := &Server{Gone: make(chan struct{}, 100)}
	server := httptest.NewUnstartedServer(s)
	if address != "" {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server.Listener.Close()
		server.Listener = listener
	}
	server.Start()
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Answer sets what is answered from now on.
func (s *Server) Answer(a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = a
}

// Last is the newest request.
func (s *Server) Last() Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == 0 {
		return Request{}
	}
	return s.requests[len(s.requests)-1]
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	a := s.answer
	s.requests = append(s.requests, Request{Method: r.Method, URI: r.RequestURI, Body: string(asked), Header: r.Header})
	s.mu.Unlock()
	if a.Seen != nil {
		close(a.Seen)
	}
	if a.Delay != nil {
		select {
		case <-a.Delay:
		case <-r.Context().Done():
			s.Gone <- struct{}{}
			return
		}
	}
	body := []byte(a.Body)
	if a.Gzip {
		body = Gzipped(a.Body)
		w.Header().Set("Content-Encoding", "gzip")
	}
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	sent := len(body)
	if a.Cut > 0 {
		sent = min(sent, a.Cut)
	}
	switch a.Framing {
	case Close:
		s.bare(w, a, body[:sent])
		return
	case Length:
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(max(a.Status, http.StatusOK))
	if a.Stall > 0 {
		_, _ = w.Write(body[:min(a.Stall, sent)])
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		s.Gone <- struct{}{}
		return
	}
	if a.Framing == Chunked {
		http.NewResponseController(w).Flush()
	}
	_, _ = w.Write(body[:sent])
	if a.Cut > 0 {
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// bare answers without saying how long the body is.
func (s *Server) bare(w http.ResponseWriter, a Answer, body []byte) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	head := "HTTP/1.1 " + strconv.Itoa(max(a.Status, http.StatusOK)) + " OK\r\nConnection: close\r\n"
	if a.Gzip {
		head += "Content-Encoding: gzip\r\n"
	}
	_, _ = conn.Write(append([]byte(head+"\r\n"), body...))
}

// Gzipped is a text in gzip.
func Gzipped(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.Bytes()
}

// Envelope is a NeuroQuantumDB answer of rows whose values are JSON, with the members of each row in random order, and the columns
// behind the rows as the API writes them.
func Envelope(columns []string, rows [][]string) string {
	var b strings.Builder
	b.WriteString(`{"success":true,"data":{"success":true,"rows_affected":0,"rows":`)
	if len(rows) == 0 {
		b.WriteString(`null,"columns":null`)
	} else {
		b.WriteByte('[')
		for i, row := range rows {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('{')
			for n, at := range rand.Perm(len(columns)) {
				if n > 0 {
					b.WriteByte(',')
				}
				b.WriteString(quote(columns[at]) + ":" + row[at])
			}
			b.WriteByte('}')
		}
		names, _ := json.Marshal(columns)
		b.WriteString(`],"columns":` + string(names))
	}
	b.WriteString(`,"error":null,"execution_time_ms":1.2},"error":null,"metadata":{"response_time_ms":1.3,"request_id":"x"}}`)
	return b.String()
}

// Failure is a NeuroQuantumDB answer with an error, which is JSON.
func Failure(err string) string {
	return `{"success":false,"data":null,"error":` + err + `,"metadata":{"response_time_ms":1.3}}`
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}
