package wstest

import (
	"bufio"
	"encoding/binary"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
)

// Stream is a WebSocket over HTTP/2 or HTTP/3 without any library for its frames: it sends what it is told to and answers nothing by
// itself, and what it does not read stays with the server but for the HTTP client's window.
type Stream struct {
	Response *http.Response

	t    testing.TB
	conn io.ReadWriteCloser // nil where the server refused
	r    *bufio.Reader
}

// DialStream opens a stream through a transport; header may be nil. It is reset at the end of the test.
func DialStream(t testing.TB, transport http.RoundTripper, url string, header http.Header) *Stream {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	request.Header.Set("Upgrade", "websocket")
	if request.Header.Get("Sec-WebSocket-Version") == "" {
		request.Header.Set("Sec-WebSocket-Version", "13")
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatalf("opening a stream: %v", err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	s := &Stream{Response: response, t: t}
	if response.StatusCode == http.StatusSwitchingProtocols {
		s.conn = response.Body.(io.ReadWriteCloser)
		s.r = bufio.NewReader(s.conn)
	}
	return s
}

// Bytes sends just these.
func (s *Stream) Bytes(b []byte) {
	s.t.Helper()
	if _, err := s.conn.Write(b); err != nil {
		s.t.Fatalf("sending: %v", err)
	}
}

// Text sends a text message in one frame.
func (s *Stream) Text(msg string) { s.t.Helper(); s.Bytes(Frame(Fin|OpText, msg)) }

// ReadFrame takes one frame.
func (s *Stream) ReadFrame() (op byte, payload []byte, err error) {
	late := time.AfterFunc(wait.Limit, func() { _ = s.conn.Close() })
	defer late.Stop()
	return readFrame(s.r)
}

// CloseCode takes frames until the server's close frame, which it does not answer, and gives its code.
func (s *Stream) CloseCode() int {
	s.t.Helper()
	for {
		op, payload, err := s.ReadFrame()
		if err != nil {
			s.t.Fatalf("reading up to the close frame: %v", err)
		}
		if op == OpClose && len(payload) >= 2 {
			return int(binary.BigEndian.Uint16(payload))
		}
	}
}

// Reset ends the stream without a word.
func (s *Stream) Reset() { _ = s.conn.Close() }
