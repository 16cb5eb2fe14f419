package neuroquantumws_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/quic-go/quic-go"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// remembered are options under which clients may do anything and find it again.
const remembered = "rate_limit 1000000\nchannel ** {\nhistory 1000\n" + anyone + "}"

// A reload that gives old requests all the time they want drops no stream.
func TestReloadKeepsStreams(t *testing.T) {
	overFreshStreams(t, ws(remembered), func(t *testing.T, s *site, fresh func(testing.TB) http.RoundTripper) {
		transport := fresh(t)
		c, streaming := s.over(transport), s.over(transport)
		c.Subscribe("a")
		h := hubOf(t, "default")
		for i := range 5 {
			s.reload(ws(remembered + "\nheartbeat " + strconv.Itoa(20+i) + "s 90s"))
			other := s.over(fresh(t))
			other.Publish("a", i)
			if m := c.Expect("channel_message"); m.Int("data") != i {
				t.Errorf("got %v", m)
			}
			streaming.Ping()
		}
		if n := h.Stats().Connections; n != 7 {
			t.Errorf("%d connections", n)
		}
	})
}

// Where old requests are given so much time, HTTP/3 cuts what goes on for longer, so that its clients are sent away before; HTTP/2
// lets it go on.
func TestReloadWithinGracePeriod(t *testing.T) {
	s := &site{t: t, tls: true, global: "grace_period 1s"}
	s.start(ws(remembered))
	over2, over3 := s.over(wstest.HTTP2(t)), s.over(wstest.HTTP3(t, nil))
	over2.Subscribe("a")
	over3.Subscribe("a")
	publisher := s.dial()
	tls := wstest.Trusting()
	tls.NextProtos = []string{"h3"}
	silent, err := quic.DialAddr(t.Context(), s.address, tls, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.reload(ws(remembered + "\nheartbeat 10s 90s"))
	sent, last := 0, 0
	for {
		publisher.Publish("a", sent)
		sent++
		m := over3.Next()
		if m.Type() == "reconnect" {
			break
		}
		last = m.Int("offset")
	}
	if rest, code := over3.Closed(); code != 1001 || len(rest) > 0 {
		t.Errorf("closed with %d after %v", code, rest)
	}
	again := s.over(wstest.HTTP3(t, nil))
	since := M{"epoch": over3.Welcome["epoch"], "offset": last}
	if m := again.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": "a", "since": since}); !m.Bool("recovered") {
		t.Errorf("got %v", m)
	}
	<-silent.Context().Done() // the grace period is over
	publisher.Publish("a", sent)
	for i := range sent + 1 {
		if m := over2.Expect("channel_message"); m.Int("data") != i {
			t.Fatalf("got %v instead of %d", m, i)
		}
	}
	for i := last; i <= sent; i++ { // the first has the offset 1
		if m := again.Expect("channel_message"); m.Int("data") != i {
			t.Fatalf("got %v instead of %d", m, i)
		}
	}
	over2.Ping()
	again.Ping()
}

// Clients of a hub that ends are sent away over streams, too, and what is on its way to them comes before.
func TestTheEndOfStreams(t *testing.T) {
	for name, end := range map[string]func(*site) error{
		"without the directive": func(s *site) error { return s.load("respond nothing") },
		"stop":                  func(*site) error { return caddy.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			overStreams(t, ws(remembered), func(t *testing.T, s *site, transport http.RoundTripper) {
				c, publisher := s.over(transport), s.over(transport)
				c.Subscribe("a")
				for i := range 10 {
					publisher.Publish("a", i)
				}
				hubOf(t, "default").Stats() // it waits for the shards: what is published has reached the queues
				ended := make(chan error)
				go func() { ended <- end(s) }()
				rest, code := c.Closed()
				if code != 1001 || len(rest) != 11 || rest[10].Type() != "reconnect" {
					t.Errorf("closed with %d after %v", code, rest)
				}
				if _, code := publisher.Closed(); code != 1001 {
					t.Errorf("closed with %d", code)
				}
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
