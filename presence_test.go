package neuroquantumws_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

const attended = `
	rate_limit 1000000
	user {http.request.header.X-User}
	channel room/vip {
		presence
		allow subscribe anyone
		allow presence user:chief
	}
	channel room/** {
		presence
		allow subscribe anyone
		allow publish anyone
		allow presence anyone
	}
	channel staff/** {
		presence
		allow subscribe anyone
		allow presence user:chief
	}
	channel secret/** {
		presence
		allow subscribe user:chief
		allow presence anyone
	}
	channel ** {
		allow subscribe anyone
		allow presence anyone
	}`

func (s *site) dialAs(user string) *wstest.Client {
	s.t.Helper()
	return wstest.Dial(s.t, s.url(), wstest.Options{Header: http.Header{"X-User": {user}}})
}

func connectionID(c *wstest.Client) string { return c.Welcome.Text("connection_id") }

func watch(c *wstest.Client, channel string) {
	c.T().Helper()
	c.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": channel, "presence": true})
}

// members gives the connections in a channel.
func members(c *wstest.Client, channel string) map[string]string {
	c.T().Helper()
	m := c.AskFor("presence", M{"type": "presence", "channel": channel})
	got := make(map[string]string)
	for _, one := range m.List("members") {
		member := M(one.(map[string]any))
		got[member.Text("connection_id")] = member.Text("user")
		if member.Text("since") == "" {
			c.T().Errorf("no since in %v", member)
		}
	}
	if m.Int("count") != len(got) || m.Text("channel") != channel {
		c.T().Errorf("got %v", m)
	}
	return got
}

func expectEvent(c *wstest.Client, typ, channel string, member *wstest.Client) {
	c.T().Helper()
	m := c.Expect(typ)
	if got, _ := m["member"].(map[string]any); m.Text("channel") != channel || M(got).Text("connection_id") != connectionID(member) {
		c.T().Fatalf("got %v, want %s of %s", m, channel, connectionID(member))
	}
}

func TestPresence(t *testing.T) {
	s := serve(t, attended)
	ann, bob, quiet := s.dialAs("ann"), s.dialAs("bob"), s.dialAs("")
	watch(ann, "room/1")
	quiet.Subscribe("room/1")
	expectEvent(ann, "presence_join", "room/1", quiet)
	watch(bob, "room/1")
	expectEvent(ann, "presence_join", "room/1", bob)
	want := map[string]string{connectionID(ann): "ann", connectionID(bob): "bob", connectionID(quiet): ""}
	if got := members(ann, "room/1"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// Who asks need not be a member.
	if got := members(s.dialAs("eve"), "room/1"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	quiet.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": "room/1"})
	expectEvent(ann, "presence_leave", "room/1", quiet)
	expectEvent(bob, "presence_leave", "room/1", quiet)
	// Without `presence` in the last subscribe there are no more events.
	bob.Subscribe("room/1")
	quiet.Subscribe("room/1")
	expectEvent(ann, "presence_join", "room/1", quiet)
	bob.Ping()
	if bob.Backlog() != 0 {
		t.Errorf("bob got %v", bob.Next())
	}
	if len(members(ann, "room/2")) != 0 {
		t.Error("there is somebody in room/2")
	}
}

func TestPresenceIsRefused(t *testing.T) {
	s := serve(t, attended)
	c, chief := s.dialAs("ann"), s.dialAs("chief")
	for _, channel := range []string{"other", "staff/1"} {
		c.Refused("FORBIDDEN", M{"type": "presence", "channel": channel})
		c.Refused("FORBIDDEN", M{"type": "subscribe", "channel": channel, "presence": true})
	}
	c.Refused("INVALID_CHANNEL", M{"type": "presence", "channel": "room/*"})
	c.Refused("FORBIDDEN", M{"type": "subscribe", "channel": "**", "presence": true})
	watch(chief, "staff/1")
	// One who is not let into a channel is not in it, whatever pattern it has subscribed to.
	c.Subscribe("**", "staff/1")
	expectEvent(chief, "presence_join", "staff/1", c)
	if got := members(chief, "secret/1"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if got := members(chief, "staff/1"); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

// A subscription by pattern counts in each channel that it matches, once, and hears of all of them.
func TestPresenceOfPatterns(t *testing.T) {
	s := serve(t, attended)
	named, wide, other := s.dialAs(""), s.dialAs(""), s.dialAs("")
	watch(named, "room/1")
	watch(wide, "room/*")
	expectEvent(named, "presence_join", "room/1", wide)
	wide.Subscribe("room/1", "room/**")
	other.Subscribe("room/vip", "room/2", "room/1") // of the first wide must not know
	expectEvent(wide, "presence_join", "room/2", other)
	expectEvent(wide, "presence_join", "room/1", other)
	expectEvent(named, "presence_join", "room/1", other)
	if got := members(named, "room/1"); len(got) != 3 {
		t.Errorf("got %v", got)
	}
	if got := members(named, "room/9"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	for _, channel := range []string{"room/*", "room/1", "room/**"} {
		wide.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": channel})
	}
	expectEvent(named, "presence_leave", "room/1", wide) // only with the last of them
	if got := members(named, "room/1"); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

// TestPresenceHoldsLeavesBack: a user who comes back at once neither left nor joined; who does not is told to have left.
func TestPresenceHoldsLeavesBack(t *testing.T) {
	s := serve(t, attended)
	watcher, ann, stranger := s.dialAs(""), s.dialAs("ann"), s.dialAs("")
	watch(watcher, "room/1")
	ann.Subscribe("room/1")
	expectEvent(watcher, "presence_join", "room/1", ann)
	stranger.Subscribe("room/1")
	expectEvent(watcher, "presence_join", "room/1", stranger)
	ann.Cut()
	stranger.Cut()
	until(watcher, "both have gone", func() bool { return hubOf(t, "default").Stats().Connections == 1 })
	again, anew := s.dialAs("ann"), s.dialAs("")
	again.Subscribe("room/1")
	anew.Subscribe("room/1")
	expectEvent(watcher, "presence_join", "room/1", anew)
	expectEvent(watcher, "presence_leave", "room/1", stranger)
	// She goes on under the name that the others know.
	want := map[string]string{connectionID(watcher): "", connectionID(ann): "ann", connectionID(anew): ""}
	if got := members(watcher, "room/1"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if watcher.Backlog() != 0 {
		t.Errorf("got %v", watcher.Next())
	}
	again.AskFor("unsubscription_confirmed", M{"type": "unsubscribe", "channel": "room/1"})
	expectEvent(watcher, "presence_leave", "room/1", ann)
}

// Presence follows a reload, for subscriptions that stand as well.
func TestPresenceAcrossReload(t *testing.T) {
	const plain = `
	channel room/** {
		%s
		allow subscribe anyone
		allow presence anyone
	}`
	s := serve(t, fmt.Sprintf(plain, "history 5"))
	c := s.dial()
	c.Subscribe("room/1")
	c.Refused("FORBIDDEN", M{"type": "presence", "channel": "room/1"})
	s.reload(ws(fmt.Sprintf(plain, "presence")))
	if got := members(c, "room/1"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	s.reload(ws(fmt.Sprintf(plain, "history 5")))
	c.Refused("FORBIDDEN", M{"type": "presence", "channel": "room/1"})
	if n := hubOf(t, "default").Stats().Members; n != 0 {
		t.Errorf("%d members are kept", n)
	}
}
