package client_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/client"
	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

func TestOptions(t *testing.T) {
	for name, o := range map[string]client.Options{
		"both tokens":     {Token: "a", TokenFunc: func(context.Context) (string, error) { return "", nil }},
		"both transports": {TLS: &tls.Config{}, HTTPClient: http.DefaultClient},
		"negative":        {Heartbeat: -1},
		"crossed":         {MinBackoff: time.Second, MaxBackoff: time.Millisecond},
	} {
		if c, err := client.New("ws://server", o); err == nil {
			c.Close()
			t.Errorf("%s: no error", name)
		}
	}
	for _, url := range []string{"ftp://server", "ws://", "://", "server/ws"} {
		if c, err := client.New(url, client.Options{}); err == nil {
			c.Close()
			t.Errorf("%q: no error", url)
		}
	}
}

// The waits grow, are random up to a limit, and come behind what the server asks for.
func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{MinBackoff: time.Second, MaxBackoff: 10 * time.Second})
		defer c.Close()
		last := f.next()
		last.refuse(http.StatusServiceUnavailable)
		limits := []time.Duration{1, 2, 4, 8, 10, 10, 10}
		longest := time.Duration(0)
		for i, limit := range limits {
			y := f.next()
			wait := y.at.Sub(last.at)
			if wait > limit*time.Second {
				t.Errorf("wait %d is %v", i, wait)
			}
			longest = max(longest, wait)
			last = y
			y.refuse(http.StatusTooManyRequests)
		}
		y := f.next()
		y.refuse(http.StatusServiceUnavailable, "Retry-After", "60")
		if next := f.next(); next.at.Sub(y.at) < time.Minute || next.at.Sub(y.at) > 70*time.Second {
			t.Errorf("asked for a minute, the client came after %v", next.at.Sub(y.at))
		} else {
			y = next
		}
		if longest < time.Second {
			t.Errorf("the longest of %d waits is %v", len(limits), longest)
		}
		// A connection that holds begins anew.
		l := f.accept(y)
		time.Sleep(time.Minute)
		cut := time.Now()
		l.cut()
		if y := f.next(); y.at.Sub(cut) > time.Second {
			t.Errorf("came after %v", y.at.Sub(cut))
		} else {
			y.refuse(http.StatusForbidden)
		}
		<-c.Done()
	})
}

// Which HTTP answers and close codes end the client.
func TestComeBack(t *testing.T) {
	const reconnect = `{"type":"reconnect","after_ms":7000,"reason":"the server is going away"}`
	for _, c := range []struct {
		name  string
		end   func(l *line)
		fatal bool
		after time.Duration
	}{
		{"1000", func(l *line) { l.close(1000, "") }, false, 0},
		{"1001", func(l *line) { l.close(1001, "") }, false, 0},
		{"1001 with reconnect", func(l *line) { l.send(reconnect); l.close(1001, "") }, false, 7 * time.Second},
		{"1003", func(l *line) { l.close(1003, "") }, true, 0},
		{"1007", func(l *line) { l.close(1007, "") }, true, 0},
		{"1008", func(l *line) { l.close(1008, "") }, true, 0},
		{"1009", func(l *line) { l.close(1009, "") }, true, 0},
		{"1011", func(l *line) { l.close(1011, "") }, false, 0},
		{"4000", func(l *line) { l.close(4000, "") }, false, 0},
		{"4001", func(l *line) { l.close(4001, "") }, true, 0},
		{"4003", func(l *line) { l.close(4003, "") }, true, 0},
		{"4008", func(l *line) { l.close(4008, "") }, false, 0},
		{"4029", func(l *line) { l.close(4029, "") }, false, 0},
		{"4100", func(l *line) { l.close(4100, "") }, true, 0},
		{"4100 with reconnect", func(l *line) { l.send(reconnect); l.close(4100, "") }, false, 7 * time.Second},
		{"cut", func(l *line) { l.cut() }, false, 0},
		{"no JSON", func(l *line) { l.send("nonsense") }, false, 0},
		{"null", func(l *line) { l.send("null") }, false, 0},
		{"a gap without channel", func(l *line) { l.send(`{"type":"gap","reason":"drop_oldest"}`) }, false, 0},
		{"a row that is null", func(l *line) { l.send(`{"type":"query_batch","stream_id":"s","batch_number":0,"rows":[null]}`) }, false, 0},
		{"a change without row", func(l *line) { l.send(`{"type":"query_change","stream_id":"s","op":"insert","key":1,"revision":2}`) }, false, 0},
		{"too large", func(l *line) { l.send(string(make([]byte, 5000))) }, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				cl := f.client(client.Options{MaxMessageBytes: 4096})
				defer cl.Close()
				l := f.welcome()
				ended := time.Now()
				later(func() { c.end(l) })
				if c.fatal {
					<-cl.Done()
					fatal, ok := errors.AsType[*client.FatalError](cl.Err())
					if !ok || cl.State().Status != client.Closed || !errors.Is(cl.State().Err, cl.Err()) {
						t.Errorf("got %v, %+v", cl.Err(), cl.State())
					}
					if closed, ok := errors.AsType[*client.CloseError](fatal); ok && fmt.Sprint(closed.Code) != c.name {
						t.Errorf("got %v", closed)
					}
					f.none()
					return
				}
				y := f.next()
				if wait := y.at.Sub(ended); wait < c.after || wait > c.after+2*time.Second {
					t.Errorf("the client comes after %v", wait)
				}
				f.accept(y)
			})
		})
	}
	for status, fatal := range map[int]bool{
		400: true, 401: true, 403: true, 404: true, 405: true, 408: false, 425: false, 426: true, 429: false, 500: false, 501: true, 502: false,
		503: false,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fake) {
				c := f.client(client.Options{})
				defer c.Close()
				f.next().refuse(status)
				if !fatal {
					f.welcome()
					return
				}
				<-c.Done()
				refusal, ok := errors.AsType[*client.HandshakeError](c.Err())
				if !ok || refusal.Status != status || refusal.Code != fmt.Sprintf("CODE_%d", status) {
					t.Errorf("got %v", c.Err())
				}
			})
		})
	}
}

func TestDial(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		o := client.Options{HTTPClient: &http.Client{Transport: &http.Transport{DialContext: f.dial}}}
		wait := later(func() { f.next().refuse(http.StatusForbidden) })
		_, err := client.Dial(t.Context(), "ws://server", o)
		if _, ok := errors.AsType[*client.FatalError](err); !ok {
			t.Errorf("got %v", err)
		}
		wait()
		// It goes on trying, and says in the end why it was in vain.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wait = later(func() {
			for ctx.Err() == nil {
				select {
				case y := <-f.tries:
					y.refuse(http.StatusBadGateway)
				case <-ctx.Done():
				}
			}
		})
		_, err = client.Dial(ctx, "ws://server", o)
		if refusal, ok := errors.AsType[*client.HandshakeError](err); !ok || refusal.Status != 502 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		wait()
	})
}

func TestStates(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		var mu sync.Mutex
		var states []client.State
		c := f.client(client.Options{OnState: func(s client.State) {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, s)
		}})
		l := f.welcome(`"user":"ann"`)
		l.close(4008, "too slow")
		f.welcome()
		time.Sleep(time.Second)
		if s := c.State(); s.Status != client.Connected || s.Err != nil {
			t.Errorf("got %+v", s)
		}
		c.Close()
		mu.Lock()
		defer mu.Unlock()
		var got []string
		for _, s := range states {
			got = append(got, s.Status.String())
		}
		if fmt.Sprint(got) != "[connecting connected waiting connecting connected closed]" || states[1].User != "ann" || states[1].ConnectionID != "c" {
			t.Errorf("got %+v", states)
		}
		closed, ok := errors.AsType[*client.CloseError](states[2].Err)
		if !ok || closed.Code != protocol.CloseTooSlow || closed.Reason != "too slow" || states[2].RetryIn <= 0 || !errors.Is(states[5].Err, client.ErrClosed) {
			t.Errorf("got %+v", states)
		}
	})
}

// A server that is silent gets a ping, and is given up when it does not answer.
func TestHeartbeat(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		defer c.Close()
		l := f.welcome(`"heartbeat_interval_ms":30000`)
		began := time.Now()
		_, text, err := l.ws.Read(t.Context())
		if err != nil || string(text) != `{"type":"ping"}` || time.Since(began) != 30*time.Second {
			t.Fatalf("got %q after %v, %v", text, time.Since(began), err)
		}
		l.send(`{"type":"pong","timestamp":"2026-01-01T00:00:00Z"}`)
		answered := time.Now()
		y := f.next()
		if wait := y.at.Sub(answered); wait < time.Minute || wait > 63*time.Second {
			t.Errorf("it was given up after %v", wait)
		}
		if s := c.State(); !errors.Is(s.Err, client.ErrSilent) {
			t.Errorf("got %+v", s)
		}
		l = f.accept(y, `"heartbeat_interval_ms":30000`)
		// Pings of the server are signs of life.
		reading := l.ws.CloseRead(t.Context())
		for range 10 {
			time.Sleep(25 * time.Second)
			if err := l.ws.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if reading.Err() != nil || c.State().Status != client.Connected {
			t.Errorf("got %+v", c.State())
		}
	})
}

// jwt is a token that says when it ends.
func jwt(name string, expires time.Time) string {
	claims := fmt.Sprintf(`{"sub":%q,"exp":%d}`, name, expires.Unix())
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
}

func TestToken(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		issued := 0
		c := f.client(client.Options{TokenFunc: func(context.Context) (string, error) {
			if issued++; issued == 3 {
				return "", errors.New("the issuer is down")
			}
			return fmt.Sprint("token-", issued), nil
		}})
		defer c.Close()
		shown := func(y *try, want string) {
			t.Helper()
			if got := y.request.Header.Get("Authorization"); got != "Bearer "+want {
				t.Fatalf("got %q, want %s", got, want)
			}
		}
		y := f.next()
		shown(y, "token-1")
		y.refuse(http.StatusUnauthorized)
		y = f.next()
		shown(y, "token-2")
		f.accept(y).close(1011, "") // which says nothing of the token
		y = f.next()
		shown(y, "token-2")
		f.accept(y).close(4001, "")
		y = f.next()
		shown(y, "token-4")
		for n := range 10 { // it is not taken, nor is any other for a while, such as after a change of keys
			y.refuse(http.StatusUnauthorized)
			y = f.next()
			shown(y, fmt.Sprint("token-", 5+n))
		}
		l := f.accept(y)
		l.send(`{"type":"reconnect","after_ms":1000,"reason":"disconnected by an operator"}`)
		l.close(4100, "") // which may have made it void
		y = f.next()
		shown(y, "token-15")
		y.refuse(http.StatusServiceUnavailable)
	})
}

// TestBadTokens: what no header can carry is refused where it comes from, and never sent.
func TestBadTokens(t *testing.T) {
	for _, token := range []string{"a\n", " a", "a b", "a\x00", "ü", "a\xff"} {
		if _, err := client.New("ws://x/ws", client.Options{Token: token}); err == nil {
			t.Errorf("%q is accepted", token)
		}
	}
	bubble(t, func(t *testing.T, f *fake) {
		n := 0
		c := f.client(client.Options{TokenFunc: func(context.Context) (string, error) {
			if n++; n == 1 {
				return "a\n", nil
			}
			return "a", nil
		}})
		defer c.Close()
		y := f.next()
		if got := y.request.Header.Get("Authorization"); got != "Bearer a" || n != 2 {
			t.Errorf("got %q after %d", got, n)
		}
		y.refuse(http.StatusServiceUnavailable)
	})
}

func TestTokenInSubprotocol(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{Token: "abc", TokenInSubprotocol: true, Header: http.Header{"X-App": {"1"}}})
		defer c.Close()
		y := f.next()
		if h := y.request.Header; h.Get("Sec-Websocket-Protocol") != "neuroquantum.v1.ndjson,neuroquantum.v1,bearer.abc" || h.Get("Authorization") != "" || h.Get("X-App") != "1" {
			t.Errorf("got %v", h)
		}
		y.refuse(http.StatusUnauthorized)
		<-c.Done()
	})
}

// A token is renewed on the open connection before it expires.
func TestRenew(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		issued := 0
		c := f.client(client.Options{TokenFunc: func(context.Context) (string, error) {
			issued++
			return jwt(fmt.Sprint("u", issued), time.Now().Add(10*time.Minute)), nil
		}})
		defer c.Close()
		l := f.welcome()
		began := time.Now()
		m := l.expect("authenticate")
		if after := time.Since(began); after < 8*time.Minute || after > 10*time.Minute-30*time.Second || issued != 2 {
			t.Errorf("renewed after %v", after)
		}
		l.answer(m, `"type":"authenticated","user":"u","expires_at":%q`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		began = time.Now()
		m = l.expect("authenticate")
		if after := time.Since(began); after != 59*time.Minute {
			t.Errorf("renewed after %v", after)
		}
		l.answer(m, `"type":"error","code":"UNAUTHENTICATED","message":"not now"`)
		refused := time.Now()
		m = l.expect("authenticate")
		if after := time.Since(refused); after < 5*time.Second || after > time.Minute {
			t.Errorf("tried again after %v", after)
		}
		l.answer(m, `"type":"authenticated","user":"u"`) // without an end
	})
}

// A token that is about to expire is not shown any more.
func TestTokenAboutToExpire(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		var issued []string
		c := f.client(client.Options{TokenFunc: func(context.Context) (string, error) {
			issued = append(issued, jwt(fmt.Sprint(len(issued)), time.Now().Add(12*time.Second)))
			return issued[len(issued)-1], nil
		}})
		defer c.Close()
		l := f.welcome()
		time.Sleep(5 * time.Second)
		l.cut()
		y := f.next()
		if got := y.request.Header.Get("Authorization"); len(issued) != 2 || got != "Bearer "+issued[1] {
			t.Errorf("got %s, %d were issued", got, len(issued))
		}
		f.accept(y).close(1008, "")
		<-c.Done()
	})
}

func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client(client.Options{})
		waits := []func(){}
		for name, call := range map[string]func() error{
			"publish":   func() error { _, err := c.Publish(t.Context(), "a", 1, nil); return err },
			"history":   func() error { _, err := c.History(t.Context(), "a", nil); return err },
			"ping":      func() error { _, err := c.Ping(t.Context()); return err },
			"subscribe": func() error { _, err := c.Subscribe(t.Context(), []string{"a"}, nil); return err },
			"query":     func() error { _, err := c.Query(t.Context(), "q", nil, nil); return err },
			"watch": func() error {
				_, err := c.Watch(t.Context(), "q", nil, client.WatchOptions{Key: []string{"id"}})
				return err
			},
		} {
			waits = append(waits, later(func() {
				if err := call(); !errors.Is(err, client.ErrClosed) {
					t.Errorf("%s: %v", name, err)
				}
				if err := call(); !errors.Is(err, client.ErrClosed) {
					t.Errorf("%s after the end: %v", name, err)
				}
			}))
		}
		l := f.welcome()
		gone := later(func() {
			for {
				if _, _, err := l.ws.Read(t.Context()); err != nil {
					return
				}
			}
		})
		time.Sleep(time.Second)
		c.Close()
		c.Close()
		for _, wait := range append(waits, gone) {
			wait()
		}
		if s := c.State(); s.Status != client.Closed || !errors.Is(c.Err(), client.ErrClosed) {
			t.Errorf("got %+v", s)
		}
	})
	bubble(t, func(t *testing.T, f *fake) { // the server does not answer
		c := f.client(client.Options{})
		f.welcome()
		time.Sleep(time.Second)
		began := time.Now()
		c.Close()
		if time.Since(began) > 2*time.Second {
			t.Errorf("closing took %v", time.Since(began))
		}
	})
}
