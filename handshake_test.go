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
	f.Fuzz(func(t *testing.T, header string) {
		opening := strings.TrimSuffix(wstest.Handshake(s.address, "/ws"), "\r\n") + header + "\r\n\r\n"
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(wstest.Patience))
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
				t.Errorf("let in without a token: %q", header)
			}
			if chosen := response.Header.Get("Sec-Websocket-Protocol"); chosen != "" && !slices.Contains([]string{"neuroquantum.v1", "neuroquantum.v1.ndjson"}, chosen) {
				t.Errorf("the subprotocol is %q", chosen)
			}
			return
		}
		if response.StatusCode >= 500 && response.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s after %q", response.Status, header)
		}
		body, _ := io.ReadAll(response.Body)
		if strings.Contains(string(body), good) {
			t.Errorf("the token comes back: %s", body)
		}
	})
}
