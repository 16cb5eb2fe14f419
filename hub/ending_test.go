package hub_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// TestSubscriptionsEndWithTheirConnection: those of others stay.
func TestSubscriptionsEndWithTheirConnection(t *testing.T) {
	h := newHub(t, unhurried(settings()))
	leaving, lc := tcp(t, h, &receiver{})
	staying, sc := tcp(t, h, &receiver{})
	subscribe(t, h, lc, nil, 0, "both", "own/1", "own/2", "own/*")
	subscribe(t, h, sc, nil, 0, "both", "other", "**")
	if got := h.Stats().Subscriptions; got != 7 {
		t.Errorf("%d subscriptions at first", got)
	}
	if got := h.Channels(func(string) bool { return true })["both"].Subscribers; got != 2 {
		t.Errorf("%d subscribers at first", got)
	}
	leaving.leave(lc)
	channels := h.Channels(func(string) bool { return true })
	if len(channels) != 2 || channels["both"].Subscribers != 1 || channels["other"].Subscribers != 1 {
		t.Errorf("channels %v are left", channels)
	}
	if got := h.Stats().Subscriptions; got != 3 {
		t.Errorf("%d subscriptions are left", got)
	}
	if got := lc.Stats().Subscriptions; got != 0 {
		t.Errorf("the connection that ended has %d subscriptions", got)
	}
	for range 3 {
		staying.expect("subscription_confirmed")
	}
	publish(t, h, "both", `1`)
	staying.messages(1)
	staying.leave(sc)
	if got := h.Channels(func(string) bool { return true }); len(got) != 0 {
		t.Errorf("channels %v are left", got)
	}
	ended(t, h)
}

// TestSlotsEndWithTheirConnection: whatever is full has room again once a connection has ended, and not before.
func TestSlotsEndWithTheirConnection(t *testing.T) {
	tests := []struct {
		name  string
		limit func(s *hub.Settings)
		who   client
		want  hub.Refusal
	}{
		{"hub", func(s *hub.Settings) { s.MaxConnections = 1 }, client{address: "a"}, hub.HubFull},
		{"address", func(s *hub.Settings) { s.MaxConnectionsPerIP = 1 }, client{address: "a"}, hub.AddressFull},
		{"user", func(s *hub.Settings) { s.MaxConnectionsPerUser = 1 }, client{address: "a", user: "u"}, hub.UserFull},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := settings()
			test.limit(s)
			h := newHub(t, s)
			for range 3 {
				p, c := tcpAs(t, h, &receiver{}, test.who)
				if _, refusal := h.Reserve(test.who.address, test.who.user); refusal != test.want {
					t.Fatalf("a second connection: %v, want %v", refusal, test.want)
				}
				p.leave(c)
			}
			// An upgrade that fails keeps nothing either.
			for range 2 {
				slot, refusal := h.Reserve(test.who.address, test.who.user)
				if refusal != hub.Admitted {
					t.Fatalf("refused: %v", refusal)
				}
				plain := httptest.NewRequest(http.MethodGet, "/ws", nil)
				if _, err := h.Upgrade(httptest.NewRecorder(), plain, hub.Upgrade{Slot: slot}); err == nil {
					t.Fatal("a plain request was upgraded")
				}
			}
			if got := h.Stats(); got.Accepted != 3 || got.Refused != 5 || got.Refusals["bad_request"] != 2 || got.Connections != 0 {
				t.Errorf("accepted %d, refused %d, open %d", got.Accepted, got.Refused, got.Connections)
			}
			ended(t, h)
		})
	}
}

// TestCloseAsksToComeBack: clients that know the protocol are told when to reconnect; an old one gets its close frame alone.
func TestCloseAsksToComeBack(t *testing.T) {
	tests := []struct {
		name string
		who  client
		told []string // the types of the messages
	}{
		{"subprotocol", client{address: "a", subprotocol: "neuroquantum.v1"}, []string{"welcome", "reconnect"}},
		{"none", client{address: "a"}, nil},
		{"one that the server does not speak", client{address: "a", subprotocol: "mqtt"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHub(t, settings())
			p, c := tcpAs(t, h, &receiver{}, test.who)
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				ended(t, h)
			}()
			for _, typ := range test.told {
				m := p.expect(typ)
				switch {
				case typ == "welcome" && (m["connection_id"] != c.ID() || m["max_message_bytes"] != float64(4096)):
					t.Error(m)
				case typ == "reconnect" && ((m["after_ms"].(float64) < 500 || m["after_ms"].(float64) > 600) || m["reason"] == ""):
					t.Error(m)
				}
			}
			op, payload, err := p.frame()
			if err != nil || op != opClose || string(payload[:2]) != "\x03\xe9" {
				t.Fatalf("opcode %d %q, %v; want a close with 1001", op, payload, err)
			}
			p.Close()
			<-closed
		})
	}
}

// TestUpgradeOfAClosedHub: a client that had its place before the hub closed is sent away like the others.
func TestUpgradeOfAClosedHub(t *testing.T) {
	h := newHub(t, settings())
	slot, refusal := h.Reserve(somebody.address, "")
	if refusal != hub.Admitted {
		t.Fatalf("refused: %v", refusal)
	}
	ended(t, h)
	near, far := tcpPair(t, 0)
	p := newPeer(t, near)
	c := upgradeIn(t, h, slot, far, &receiver{}, somebody)
	if code := p.closedWith(); code != 1001 {
		t.Errorf("closed with %d", code)
	}
	p.leave(c)
	if n := h.Stats().Connections; n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestRefusedClientMayFinish: what a client is still sending when it is closed is read to no purpose, for a reset would take from it
// the close frame that says why.
func TestRefusedClientMayFinish(t *testing.T) {
	h := newHub(t, unhurried(settings()))
	p, c := tcp(t, h, &receiver{})
	p.send(2, []byte("binary"))
	if op, payload, err := p.frame(); err != nil || op != opClose || string(payload[:2]) != "\x03\xeb" {
		t.Fatalf("opcode %d %q, %v; want a close with 1003", op, payload, err)
	}
	if _, _, err := p.frame(); !errors.Is(err, io.EOF) {
		t.Fatalf("%v behind the close frame", err)
	}
	for range 20 {
		p.text(strings.Repeat("x", 1000))
	}
	p.leave(c)
	ended(t, h)
}
