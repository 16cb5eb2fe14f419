package hub_test

import (
	"net"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/access"
	"github.com/neuroquantumdb/neuroquantum-ws/flow"
	"github.com/neuroquantumdb/neuroquantum-ws/hub"
)

// admit makes a connection of a client that is who id says.
func admit(t *testing.T, h *hub.Hub, id *access.Identity, within time.Duration) (*peer, *hub.Conn) {
	t.Helper()
	slot, refusal := h.Reserve("192.0.2.1", id.User)
	if refusal != hub.Admitted {
		t.Fatalf("refused: %v", refusal)
	}
	near, far := net.Pipe()
	r := &receiver{closed: make(chan struct{})}
	c, err := h.Upgrade(hijack{httptest.NewRecorder(), far, 0}, upgradeRequest(""), hub.Upgrade{
		Slot: slot, Identity: id, AuthTimeout: within, Receiver: func(*hub.Conn) hub.Receiver { return r },
	})
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, near), c
}

// TestExpiry: a connection outlives its client's token by the grace, to the second of the sweep, unless another token comes.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, patient(settings()))
		start := time.Now()
		id := &access.Identity{User: "ann", Expires: start.Add(10 * time.Second)}
		p, c := admit(t, h, id, 0)
		q, saved := admit(t, h, id, 0)
		time.Sleep(10*time.Second + hub.ExpiryGrace - time.Second)
		if len(h.Connections()) != 2 {
			t.Fatal("closed within the grace")
		}
		if refusal := saved.Identify(&access.Identity{User: "ann", Expires: time.Now().Add(time.Minute)}); refusal != hub.Admitted {
			t.Fatal(refusal)
		}
		if code := p.closedWith(); code != 4001 {
			t.Errorf("closed with %d", code)
		}
		if late := time.Since(start) - 10*time.Second - hub.ExpiryGrace; late < 0 || late > 2*time.Second {
			t.Errorf("closed %s after the grace", late)
		}
		p.leave(c)
		again := time.Now()
		if code := q.closedWith(); code != 4001 || time.Since(again) < 80*time.Second {
			t.Errorf("closed with %d after %s", code, time.Since(again))
		}
		q.leave(saved)
		ended(t, h)
	})
}

// TestAuthTimeout: a client that must show who it is has so long, and until then gets nothing that it did not ask for.
func TestAuthTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, patient(settings()))
		p, c := admit(t, h, access.Anonymous, 5*time.Second)
		q, good := admit(t, h, access.Anonymous, 5*time.Second)
		if refusal := good.Identify(&access.Identity{User: "ann"}); refusal != hub.Admitted {
			t.Fatal(refusal)
		}
		start := time.Now()
		if err := h.Broadcast([]byte(`{"type":"message"}`)); err != nil {
			t.Fatal(err)
		}
		q.expect("message")
		if code := p.closedWith(); code != 4001 {
			t.Errorf("closed with %d", code)
		}
		if took := time.Since(start); took < 5*time.Second || took > 7*time.Second {
			t.Errorf("closed after %s", took)
		}
		p.leave(c)
		time.Sleep(time.Minute)
		if len(h.Connections()) != 1 {
			t.Error("a client that has authenticated was closed")
		}
		q.leave(good)
		ended(t, h)
	})
}

// TestIdentify: what the new identity may not have is ended in the order of everything else, and counted with its user.
func TestIdentify(t *testing.T) {
	class := flow.Class{MaxMessages: 100, MaxBytes: 1 << 20}
	staff, own, rest := rule(t, "staff/**", 10, class), rule(t, "users/*/**", 0, class), rule(t, "**", 0, class)
	staff.Allow.Subscribe = access.Terms{"role:staff"}
	var err error
	if _, own.Own, err = access.ParsePattern("users/{user}/**"); err != nil {
		t.Fatal(err)
	}
	s := settings(staff, own, rest)
	s.MaxConnectionsPerUser = 1
	h := newHub(t, unhurried(s))
	p, c := tcp(t, h, &receiver{})
	if refusal := c.Identify(&access.Identity{User: "ann", Roles: []string{"staff"}}); refusal != hub.Admitted {
		t.Fatal(refusal)
	}
	subscribe(t, h, c, nil, 0, "staff/*", "users/ann/*", "**")
	for range 3 {
		p.expect("subscription_confirmed")
	}
	publish(t, h, "staff/a", "1")
	if refusal := c.Identify(&access.Identity{User: "ann"}); refusal != hub.Admitted {
		t.Fatal(refusal)
	}
	publish(t, h, "staff/a", "2")
	publish(t, h, "users/ann/x", "3")
	publish(t, h, "users/bob/x", "4")
	publish(t, h, "free", "5")
	if m := p.expect("channel_message"); str(m["data"]) != "1" {
		t.Fatal(m)
	}
	if m := p.expect("error"); m["code"] != "FORBIDDEN" || m["channel"] != "staff/*" {
		t.Fatal(m)
	}
	for _, want := range []string{"3", "5"} {
		if m := p.expect("channel_message"); str(m["data"]) != want {
			t.Fatalf("got %v, want %s", m, want)
		}
	}
	if n := c.Stats().Subscriptions; n != 2 {
		t.Errorf("%d subscriptions", n)
	}
	// Another connection of hers is one too many, as is another that becomes hers.
	if _, refusal := h.Reserve("192.0.2.9", "ann"); refusal != hub.UserFull {
		t.Errorf("got %v", refusal)
	}
	q, other := tcp(t, h, &receiver{})
	if refusal := other.Identify(&access.Identity{User: "ann"}); refusal != hub.UserFull || other.Identity().User != "" {
		t.Errorf("got %v", refusal)
	}
	p.leave(c)
	if refusal := other.Identify(&access.Identity{User: "ann"}); refusal != hub.Admitted {
		t.Errorf("got %v", refusal)
	}
	q.leave(other)
	if slot, refusal := h.Reserve("192.0.2.9", "ann"); refusal != hub.Admitted {
		t.Errorf("her place was not given back: %v", refusal)
	} else {
		slot.Release()
	}
	ended(t, h)
}

// TestMessageTimeout: a client has 30 seconds for a message or a control frame, however it is cut; not for the time that it is handled.
func TestMessageTimeout(t *testing.T) {
	whole := masked(opText, []byte(`{"x":"`+string(make([]byte, 100))+`"}`))
	first, last := masked(opText, []byte(`{"a":`)), masked(0, []byte(`1}`))
	first[0] &^= 0x80
	middle := masked(0, []byte(` `))
	middle[0] &^= 0x80
	for name, drip := range map[string]struct {
		parts  [][]byte
		every  time.Duration
		closed bool
	}{
		"in time":                          {[][]byte{whole[:1], whole[1:7], whole[7:]}, 14 * time.Second, false},
		"a byte now and then":              {[][]byte{whole[:1], whole[1:2], whole[2:3], whole[3:4], whole[4:5]}, 10 * time.Second, true},
		"fragments in time":                {[][]byte{first, middle, last}, 14 * time.Second, false},
		"fragments":                        {[][]byte{first, middle, middle, middle, middle}, 10 * time.Second, true},
		"pings between fragments":          {[][]byte{first, masked(opPong, nil), masked(opPong, nil), masked(opPong, nil), masked(opPong, nil)}, 10 * time.Second, true},
		"half a pong":                      {[][]byte{masked(opPong, []byte("x"))[:3], nil, nil, nil, nil}, 10 * time.Second, true},
		"a message every 20 s":             {[][]byte{whole, whole, whole, whole, whole}, 20 * time.Second, false},
		"each with part of the next":       {[][]byte{append(whole[:len(whole):len(whole)], whole[:9]...), append(whole[9:len(whole):len(whole)], whole[:9]...), append(whole[9:len(whole):len(whole)], whole[:9]...), whole[9:]}, 20 * time.Second, false},
		"pongs with part of the next":      {[][]byte{append(masked(opPong, nil), 0x8a), append(masked(opPong, nil)[1:], 0x8a), append(masked(opPong, nil)[1:], 0x8a), masked(opPong, nil)[1:]}, 20 * time.Second, false},
		"a part of the next, then nothing": {[][]byte{append(whole[:len(whole):len(whole)], whole[:1]...), nil, nil, nil, nil, nil}, 10 * time.Second, true},
		"a fragment, then nothing":         {[][]byte{first, nil, nil, nil, nil}, 10 * time.Second, true},
		"nothing":                          {[][]byte{nil, nil, nil}, 20 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHub(t, patient(settings()))
				p, c := pipe(t, h, &receiver{receive: func(*hub.Conn, []byte) { time.Sleep(5 * time.Second) }})
				code := make(chan int, 1)
				go func() {
					for {
						op, payload, err := p.frame()
						switch {
						case err != nil:
							code <- 0
							return
						case op == opClose:
							code <- int(payload[0])<<8 | int(payload[1])
							return
						}
					}
				}()
				for _, part := range drip.parts {
					if len(part) > 0 {
						_, _ = p.Write(part) // it may be closed by now
					}
					time.Sleep(drip.every)
				}
				p.leave(c)
				got := <-code
				closed := got != 0
				if closed && got != 1008 {
					t.Errorf("closed with %d", got)
				}
				if closed != drip.closed {
					t.Errorf("closed: %v", closed)
				}
				ended(t, h)
			})
		})
	}
}

// TestSlowHandlingIsNotTheClientsFault: what a client has sent of its next message waits while the one before is handled.
func TestSlowHandlingIsNotTheClientsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, patient(settings()))
		received := 0
		p, c := pipe(t, h, &receiver{receive: func(*hub.Conn, []byte) { received++; time.Sleep(time.Minute) }})
		message := masked(opText, []byte(`{}`))
		if _, err := p.Write(append(message[:len(message):len(message)], message[:3]...)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(70 * time.Second)
		if _, err := p.Write(message[3:]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if received != 2 || len(h.Connections()) != 1 {
			t.Errorf("%d messages were received on %d connections", received, len(h.Connections()))
		}
		p.leave(c)
		ended(t, h)
	})
}

func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, patient(settings()))
		p, c := admit(t, h, &access.Identity{User: "ann"}, 0)
		q, d := admit(t, h, &access.Identity{User: "ann"}, 0)
		r, e := admit(t, h, access.Anonymous, 0)
		if n := h.DisconnectUser("", "x", -1); n != 0 {
			t.Errorf("%d anonymous clients were disconnected", n)
		}
		if n := h.DisconnectUser("ann", "enough", -1); n != 2 {
			t.Errorf("%d were disconnected", n)
		}
		for _, p := range []*peer{p, q} {
			if code := p.closedWith(); code != 4100 {
				t.Errorf("closed with %d", code)
			}
		}
		if !h.Disconnect(e.ID(), "enough", 0) || h.Disconnect("none", "enough", 0) {
			t.Error("it tells wrongly whether there is such a connection")
		}
		if code := r.closedWith(); code != 4100 {
			t.Errorf("closed with %d", code)
		}
		p.leave(c)
		q.leave(d)
		r.leave(e)
		if n := h.Stats().Disconnected; n != 3 {
			t.Errorf("%d are counted", n)
		}
		ended(t, h)
	})
}
