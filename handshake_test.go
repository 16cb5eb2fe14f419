package neuroquantumws_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	"pgregory.net/rapid"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// FuzzHandshake sends handshakes with any header to a site that requires a token. Whatever comes, only who shows the token gets in, nothing
// of the header comes back, and the server lives.
func FuzzHandshake(f *testing.F) {
	s := serve(f, withJWT("required"))
	good := tokenOf(f, "ann", nil)
	for _, seed := range []string{
		"", "Authorization: Bearer " + good, "Sec-WebSocket-Protocol: neuroquantum.v1, bearer." + good,
		"Cookie: session=" + good + "\r\nOrigin: http://" + s.address, "Cookie: session=" + good, "Origin: null", "Authorization: Bearer x",
		"Sec-WebSocket-Protocol: bearer.x", "Transfer-Encoding: chunked", "Content-Length: 5", "Connection: close", "Upgrade: h2c",
		"Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Extensions: permessage-deflate", "X-Forwarded-For: 1.2.3.4",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) { checkHandshake(t, s, good, header) })
}

// TestHandshakes is the same with headers that are put together from what matters.
func TestHandshakes(t *testing.T) {
	s := serve(t, withJWT("required"))
	good := tokenOf(t, "ann", nil)
	values := []string{
		good, "Bearer " + good, "bearer." + good, "session=" + good, "neuroquantum.v1", "neuroquantum.v1, bearer." + good, "Bearer", "x", "", "\x00",
		"null", "http://" + s.address, "http://elsewhere.example", "chunked", "5", "0", "-1", "close", "upgrade", "websocket", "13", "8", "\xff",
		"AAAAAAAAAAAAAAAAAAAAAA==", "permessage-deflate", "100-continue", strings.Repeat("y", 9000),
	}
	names := []string{
		"Authorization", "Sec-WebSocket-Protocol", "Cookie", "Origin", "Transfer-Encoding", "Content-Length", "Connection", "Upgrade",
		"Sec-WebSocket-Version", "Sec-WebSocket-Key", "Sec-WebSocket-Extensions", "Expect", "Host", "X-Forwarded-Proto", " ", "a b",
	}
	rapid.Check(t, func(t *rapid.T) {
		var lines []string
		for range rapid.IntRange(0, 4).Draw(t, "lines") {
			separator := rapid.SampledFrom([]string{": ", ":", " : ", "\t:", ""}).Draw(t, "separator")
			lines = append(lines, rapid.SampledFrom(names).Draw(t, "name")+separator+rapid.SampledFrom(values).Draw(t, "value"))
		}
		checkHandshake(t, s, good, strings.Join(lines, "\r\n"))
	})
}

// checkHandshake sends one handshake with more header lines.
func checkHandshake(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, s *site, good, header string) {
	opening := strings.TrimSuffix(wstest.Handshake(s.address, "/ws"), "\r\n") + header + "\r\n\r\n"
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(wait.Limit))
	_, _ = conn.Write([]byte(opening)) // it may be refused before all is sent
	_ = conn.(*net.TCPConn).CloseWrite()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatal("no answer")
		}
		return // closed without a word
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		if !strings.Contains(header, good) {
			t.Fatalf("let in without a token: %q", header)
		}
		if chosen := response.Header.Get("Sec-Websocket-Protocol"); chosen != "" && !slices.Contains([]string{"neuroquantum.v1", "neuroquantum.v1.ndjson"}, chosen) {
			t.Fatalf("the subprotocol is %q", chosen)
		}
		return
	}
	if response.StatusCode >= 500 && response.StatusCode != http.StatusNotImplemented {
		t.Fatalf("%s after %q", response.Status, header)
	}
	body, _ := io.ReadAll(response.Body)
	if strings.Contains(string(body), good) {
		t.Fatalf("the token comes back: %s", body)
	}
}
