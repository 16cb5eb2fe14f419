package neuroquantumws_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/requestbody"
	_ "github.com/caddyserver/caddy/v2/modules/logging"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// certificate makes a certificate and gives the names of its file and its key's.
func certificate(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames: []string{"localhost"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	names := filepath.Join(t.TempDir(), "cert.pem") + " " + filepath.Join(t.TempDir(), "key.pem")
	for name, block := range map[string]*pem.Block{
		strings.Fields(names)[0]: {Type: "CERTIFICATE", Bytes: cert}, strings.Fields(names)[1]: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// versions are those of HTTP whose WebSockets are streams, each with a transport for its clients.
var versions = map[string]func(t testing.TB) http.RoundTripper{
	"HTTP2": wstest.HTTP2,
	"HTTP3": func(t testing.TB) http.RoundTripper { return wstest.HTTP3(t, nil) },
}

// overStreams runs a test over each of them, against a site with these directives.
func overStreams(t *testing.T, directives string, test func(t *testing.T, s *site, transport http.RoundTripper)) {
	t.Helper()
	overFreshStreams(t, directives, func(t *testing.T, s *site, fresh func(testing.TB) http.RoundTripper) { test(t, s, fresh(t)) })
}

// overFreshStreams is overStreams for a test that makes its transports itself: clients of one share a connection, and that of a server
// that is replaced takes no more of them.
func overFreshStreams(t *testing.T, directives string, test func(*testing.T, *site, func(testing.TB) http.RoundTripper)) {
	t.Helper()
	for name, transport := range versions {
		t.Run(name, func(t *testing.T) {
			s := &site{t: t, tls: true}
			s.start(directives)
			test(t, s, transport)
		})
	}
}

// over connects a client through a transport.
func (s *site) over(transport http.RoundTripper) *wstest.Client {
	s.t.Helper()
	return wstest.Dial(s.t, s.url(), wstest.Options{Transport: transport})
}

// stream opens a WebSocket without library through a transport.
func (s *site) stream(transport http.RoundTripper, header http.Header) *wstest.Stream {
	s.t.Helper()
	return wstest.DialStream(s.t, transport, "https://"+s.address+"/ws", header)
}

// behind are directives that wrap the response's writer, and a request body that is limited.
const behind = `
	log
	encode gzip {
		match {
			header Server *
		}
		minimum_length 1
	}
	header X-Late late
	header >X-Later later
	request_body {
		max_size 2KB
	}
`

func TestWebSocketAsAStream(t *testing.T) {
	overStreams(t, behind+ws(queries(t, "metadata agent {http.request.header.X-Agent}")), func(t *testing.T, s *site, transport http.RoundTripper) {
		dial := func(subprotocol string) (*wstest.Client, *http.Response) {
			c, response, err := wstest.TryDial(t, s.url(), wstest.Options{
				Transport: transport, Subprotocols: []string{"other", subprotocol, "bearer.secret"}, Header: http.Header{
					"X-Agent": {"tester"}, "User-Agent": {"test"}, "Accept-Encoding": {"gzip"}, "Origin": {"https://" + s.address},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			return c, response
		}
		c, response := dial("neuroquantum.v1")
		for name, want := range map[string]string{
			"X-Late": "late", "X-Later": "later", "Sec-Websocket-Protocol": "neuroquantum.v1", "Content-Encoding": "",
		} {
			if got := response.Header.Get(name); got != want {
				t.Errorf("%s is %q", name, got)
			}
		}
		conn := hubOf(t, "default").Connection(c.Welcome.Text("connection_id"))
		if m := conn.Meta(); m.Address != "127.0.0.1" || m.UserAgent != "test" || m.Custom["agent"] != "tester" {
			t.Errorf("meta: %+v", m)
		}
		lines, _ := dial("neuroquantum.v1.ndjson")
		c.Subscribe("a")
		lines.Subscribe("a")
		long := strings.Repeat("long ", 12_000)
		for _, text := range []string{"hello", long} { // more than max_size
			c.Publish("a", text)
			for _, c := range []*wstest.Client{c, lines} {
				if m := c.Expect("channel_message"); m["data"] != text {
					t.Errorf("got %.80v", m)
				}
			}
		}
		o := follow(c, start(c, M{"query": "readings", "batch_size": 100, "credits": 5}), func(batch M) {
			c.Send(M{"type": "credit", "stream_id": batch["stream_id"], "batches": 1})
		})
		o.completed(t, expected(t, demoDB(t), allReadings))
		endless := start(c, M{"query": "many", "credits": 1})
		c.Until("query_batch")
		c.Send(M{"type": "cancel_query", "stream_id": endless["stream_id"]})
		c.Until("query_cancelled")
		c.Ping()
		leave(t, c)
	})
}

// Without TLS, too, where the site says so and the client knows it.
func TestWebSocketOverPlainHTTP2(t *testing.T) {
	s := &site{t: t, global: "servers {\nprotocols h1 h2c\n}"}
	s.start(ws(""))
	c := s.over(wstest.PlainHTTP2(t))
	c.Subscribe("a")
	c.Publish("a", "hello")
	if m := c.Expect("channel_message"); m["data"] != "hello" {
		t.Errorf("got %v", m)
	}
	leave(t, c)
}

// A line of the access log tells of a whole connection when it has ended; one with a token has none.
func TestAccessLogOfStreams(t *testing.T) {
	for name, proto := range map[string]string{"HTTP2": "HTTP/2.0", "HTTP3": "websocket"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "access.log")
			s := &site{t: t, tls: true}
			s.start("log {\noutput file " + path + " {\nroll_disabled\n}\n}\n" + ws(""))
			transport := versions[name](t)
			secret := wstest.Options{Transport: transport, Subprotocols: []string{"neuroquantum.v1", "bearer.secret"}}
			leave(t, wstest.Dial(t, s.url(), secret))
			leave(t, s.over(transport))
			upgraded := s.dial() // it has a line of its own, at once
			var log []byte
			until(upgraded, "the access log is written", func() bool {
				log, _ = os.ReadFile(path)
				return bytes.Count(log, []byte("\n")) == 2
			})
			if log = bytes.TrimSpace(log); bytes.Contains(bytes.SplitAfter(log, []byte("\n"))[0], []byte(`"GET"`)) {
				_, log, _ = bytes.Cut(log, []byte("\n"))
			} else {
				log, _, _ = bytes.Cut(log, []byte("\n"))
			}
			var line struct {
				Status  int
				Request struct{ Method, Proto, URI string }
			}
			if err := json.Unmarshal(log, &line); err != nil {
				t.Errorf("%s: %v", log, err)
			}
			if r := line.Request; line.Status != 200 || r.Method != http.MethodConnect || r.Proto != proto || r.URI != "/ws" {
				t.Errorf("got %s", log)
			}
		})
	}
}

// Whatever the server closes a connection for, its client is told, though it goes on sending.
func TestCloseCodesOverStreams(t *testing.T) {
	overStreams(t, ws("max_message_size 1000"), func(t *testing.T, s *site, transport http.RoundTripper) {
		for name, test := range map[string]struct {
			bytes []byte
			code  int
		}{
			"binary":    {wstest.Frame(wstest.Fin|wstest.OpBinary, "x"), 1003},
			"unmasked":  {[]byte{wstest.Fin | wstest.OpText, 1, 'x'}, 1002},
			"not UTF-8": {wstest.Frame(wstest.Fin|wstest.OpText, "\xff"), 1007},
			"too large": {wstest.Frame(wstest.Fin|wstest.OpText, strings.Repeat("x", 2000)), 1009},
			"control":   {bytes.Repeat(wstest.Frame(wstest.Fin|wstest.OpPing, ""), 200), 1008},
			"its own":   {wstest.Frame(wstest.Fin|wstest.OpClose, "\x0f\xa1bye"), 4001},
		} {
			t.Run(name, func(t *testing.T) {
				s := s.in(t)
				stream := s.stream(transport, nil)
				stream.Bytes(test.bytes)
				if code := stream.CloseCode(); code != test.code {
					t.Errorf("closed with %d", code)
				}
				if test.bytes[0]&0xf != wstest.OpClose {
					stream.Bytes(wstest.Frame(wstest.Fin|wstest.OpText, "{}"))
					stream.Bytes(wstest.Frame(wstest.Fin|wstest.OpClose, "\x03\xe8"))
				}
				if op, payload, err := stream.ReadFrame(); !errors.Is(err, io.EOF) {
					t.Errorf("behind the close frame: %x %q %v", op, payload, err)
				}
			})
		}
		gone(t)
	})
}

// gone waits until the hub has no connections.
func gone(t *testing.T) {
	t.Helper()
	for _, c := range hubOf(t, "default").Connections() {
		ended(t, c)
	}
}

func TestRefusalsOfStreams(t *testing.T) {
	// The password is "secret".
	const login = "@login header X-Login *\nbasic_auth @login {\nalice $2a$04$n/24lJzLDQQvToLI8DN0lOGYPie4xgfEDYbpx2qTT2SIX5Zs3S58y\n}\n"
	overStreams(t, behind+login+ws("max_connections_per_ip 2"), func(t *testing.T, s *site, transport http.RoundTripper) {
		refused := func(status int, code string, header http.Header) {
			t.Helper()
			stream := s.stream(transport, header)
			body, err := io.ReadAll(stream.Response.Body)
			if err != nil {
				t.Error(err)
			}
			if code != "" {
				refusal(t, stream.Response, string(body), status, code)
			} else if stream.Response.StatusCode != status {
				t.Errorf("got %s %q", stream.Response.Status, body)
			}
			for _, name := range []string{"Connection", "Upgrade"} {
				if stream.Response.Header.Get(name) != "" {
					t.Errorf("%v", stream.Response.Header)
				}
			}
		}
		refused(403, "ORIGIN_NOT_ALLOWED", http.Header{"Origin": {"https://elsewhere.example"}})
		refused(400, "", http.Header{"Sec-Websocket-Version": {"8"}})
		refused(401, "", http.Header{"X-Login": {"yes"}})
		first, _ := s.over(transport), s.over(transport)
		refused(429, "TOO_MANY_CONNECTIONS", nil)
		leave(t, first)
		s.over(transport).Ping()

		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.address+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		refusal(t, response, string(body), http.StatusUpgradeRequired, "UPGRADE_REQUIRED")
	})
}

// A client that is silent is found out, and one that goes without a word has gone.
func TestStreamsThatEnd(t *testing.T) {
	overStreams(t, ws("heartbeat 50ms 1s"), func(t *testing.T, s *site, transport http.RoundTripper) {
		silent := s.stream(transport, nil)
		if code := silent.CloseCode(); code != 4000 {
			t.Errorf("who is silent is closed with %d", code)
		}
		silent.Reset()
		reset := s.stream(transport, nil)
		reset.Text("{}")
		if op, payload, err := reset.ReadFrame(); err != nil || op == wstest.OpClose {
			t.Fatalf("%x %q %v", op, payload, err)
		}
		reset.Reset()
		gone(t)
	})
}

// What a client does not read does not get lost while it is not too much, and is not waited for for ever.
func TestSlowReadersOfStreams(t *testing.T) {
	const options = "rate_limit 1000000\nwrite_timeout 3s\nqueue 100 256KiB drop_oldest\nhealth off"
	overStreams(t, ws(options), func(t *testing.T, s *site, transport http.RoundTripper) {
		slow := s.stream(transport, nil)
		slow.Text(`{"type":"subscribe","channel":"a"}`)
		if op, payload, err := slow.ReadFrame(); err != nil || op != wstest.OpText {
			t.Fatalf("%x %q %v", op, payload, err)
		}
		h := hubOf(t, "default")
		conn := h.Connections()[0]
		publisher := s.dial()
		check := wait.Check(t, "the client that does not read is closed")
		for ; h.Stats().TooSlow == 0; publisher.Publish("a", filler) {
			check()
		}
		publisher.Ping() // it was not this one
		if code := slow.CloseCode(); code != 4008 {
			t.Errorf("closed with %d", code)
		}
		slow.Reset()
		ended(t, conn)
	})
}

// What cannot be a WebSocket is refused, whatever else it might be.
func TestOtherConnects(t *testing.T) {
	s := &site{t: t, tls: true}
	s.start(ws(""))
	http2 := rawHTTP2(t, s.address)
	for name, test := range map[string]struct {
		header []string
		status int
		code   string
	}{
		"another protocol": {[]string{":protocol", "connect-udp"}, 501, "UNKNOWN_PROTOCOL"},
		"content":          {[]string{":protocol", "websocket", "content-length", "2"}, 400, "INVALID_REQUEST"},
	} {
		t.Run(name, func(t *testing.T) {
			response := http2.in(t).connect(s.address, test.header...)
			refusal(t, response, response.Status, test.status, test.code)
		})
	}
}

// Clients of one connection are many clients to the limits, and the place of each is given back.
func TestCrowdOnOneConnection(t *testing.T) {
	const limit, crowd = 50, 1000
	overStreams(t, ws("max_connections_per_ip "+strconv.Itoa(limit)), func(t *testing.T, s *site, transport http.RoundTripper) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var admitted []*wstest.Client
		for range crowd {
			wg.Go(func() {
				c, response, err := wstest.TryDial(t, s.url(), wstest.Options{Transport: transport})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					admitted = append(admitted, c)
				} else if response == nil || response.StatusCode != http.StatusTooManyRequests {
					t.Errorf("%v %v", response, err)
				}
			})
		}
		wg.Wait()
		if len(admitted) != limit {
			t.Errorf("%d admitted", len(admitted))
		}
		for _, c := range admitted {
			c.Ping()
		}
		for _, c := range admitted {
			c.Cut()
		}
		gone(t)
		for range limit {
			s.over(transport).Ping()
		}
	})
}

// QUIC gives up a connection that is idle, so that it is pinged more often than the site wants others to be.
func TestHeartbeatOfStreams(t *testing.T) {
	overStreams(t, ws("heartbeat 1m 3m"), func(t *testing.T, s *site, transport http.RoundTripper) {
		want := 60_000
		if strings.Contains(t.Name(), "HTTP3") {
			want = 10_000
		}
		if w := s.over(transport).Welcome; w.Int("heartbeat_interval_ms") != want || w.Int("heartbeat_timeout_ms") != 180_000 {
			t.Errorf("welcome: %v", w)
		}
	})
}
