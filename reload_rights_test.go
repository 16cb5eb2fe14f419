package neuroquantumws_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wait"
	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// revoked reads the errors for subscriptions that have ended, and returns their channels in order.
func revoked(c *wstest.Client, n int) (channels []string) {
	c.T().Helper()
	for range n {
		m := c.ExpectError("FORBIDDEN")
		if m.Has("id") {
			c.T().Errorf("got %v", m)
		}
		channels = append(channels, m.Text("channel"))
	}
	slices.Sort(channels)
	return channels
}

const (
	openChannels = `
		channel users/{user}/** {
			presence
			allow subscribe authenticated
			allow presence authenticated
			allow publish anyone
		}
		channel news/** {
			presence
			allow subscribe anyone
			allow publish anyone
			allow presence anyone
		}
		channel ** {
			` + anyone + `
		}`
	narrowChannels = `
		channel users/{user}/** {
			allow subscribe role:staff
			allow publish anyone
		}
		channel news/** {
			presence
			allow subscribe anyone
			allow publish anyone
			allow presence authenticated
		}
		channel ** {
			` + anyone + `
		}`
)

// TestReloadEndsWhatIsNoLongerAllowed: a subscription that a reload does not allow ends with an error, and does not come back with the rule.
func TestReloadEndsWhatIsNoLongerAllowed(t *testing.T) {
	s := serve(t, withJWT("")+openChannels)
	ann, staff, anonymous := s.dialWith(bearerHeader(tokenOf(t, "ann", nil))),
		s.dialWith(bearerHeader(tokenOf(t, "eve", M{"roles": []string{"staff"}}))), s.dial()
	ann.Subscribe("users/ann/x", "users/ann/**", "news/a", "other")
	staff.Subscribe("users/eve/x")
	anonymous.AskFor("subscription_confirmed", M{"type": "subscribe", "channel": "news/a", "presence": true})
	anonymous.Subscribe("news/b", "**")

	s.reload(ws(withJWT("") + narrowChannels))
	if got := revoked(ann, 2); !slices.Equal(got, []string{"users/ann/**", "users/ann/x"}) {
		t.Errorf("ann lost %v", got)
	}
	// Whoever may no longer be told of who is there loses the whole subscription, as at authenticate.
	if got := revoked(anonymous, 1); !slices.Equal(got, []string{"news/a"}) {
		t.Errorf("an anonymous client lost %v", got)
	}
	check := wait.Check(t, "the subscriptions that ended are counted")
	for hubOf(t, "default").Stats().Revoked != 3 {
		check()
	}
	if n := hubOf(t, "default").Stats().Subscriptions; n != 5 {
		t.Errorf("%d subscriptions are left", n)
	}
	s.reload(ws(withJWT("") + openChannels))
	for _, user := range []string{"ann", "eve"} {
		s.dialWith(bearerHeader(tokenOf(t, user, nil))).Publish("users/"+user+"/x", "users/"+user+"/x")
	}
	publisher := s.dial()
	publisher.Publish("news/a", "news/a")
	publisher.Publish("other", "other")
	for _, channel := range []string{"news/a", "other"} {
		if m := ann.Expect("channel_message"); m["data"] != channel {
			t.Errorf("ann got %v", m)
		}
	}
	if m := staff.Expect("channel_message"); m["data"] != "users/eve/x" {
		t.Errorf("staff got %v", m)
	}
	ann.Subscribe("users/ann/x")
}

// reloadedQueries are a site's queries, each with who may run it, and what is sent by clients themselves.
func reloadedQueries(t *testing.T, streamed, watched, raw string, others string) string {
	return "source demo sqlite " + demoDB(t) + `
		query streamed {
			source demo
			sql "select id from readings"
			allow ` + streamed + `
		}
		query watched {
			source demo
			sql "select id, value from readings where id < 5"
			allow ` + watched + `
			watch {
				key id
				every 1h
			}
		}
		query kept {
			source demo
			sql "select id from readings where id < 3 order by id"
			allow anyone
		}
		allow_raw_sql demo ` + raw + "\n" + others
}

// TestReloadEndsStreams: at a reload each running stream and watch is held against the new configuration as if it began.
func TestReloadEndsStreams(t *testing.T) {
	s := serve(t, reloadedQueries(t, "anyone", "anyone", "anyone", `
		query gone {
			source demo
			sql "select id from readings"
			allow anyone
		}`))
	open := func(request M) (*wstest.Client, M) {
		c := s.dial()
		return c, start(c, request)
	}
	streamed, one := open(M{"query": "streamed", "credits": 0})
	raw, two := open(M{"query": "select id from readings", "source": "demo", "credits": 0})
	gone, three := open(M{"query": "gone", "credits": 0})
	kept, four := open(M{"query": "kept", "credits": 0})
	watched := s.dial()
	five := watched.AskFor("query_started", M{"type": "watch", "query": "watched"})
	watched.Until("query_batch")

	s.reload(ws(reloadedQueries(t, "role:staff", "role:staff", "role:staff", "")))
	for _, test := range []struct {
		c       *wstest.Client
		started M
		code    string
	}{
		{streamed, one, "FORBIDDEN"}, {raw, two, "FORBIDDEN"}, {gone, three, "QUERY_NOT_FOUND"}, {watched, five, "FORBIDDEN"},
	} {
		if m := test.c.Until("error"); m.Text("code") != test.code || m["stream_id"] != test.started["stream_id"] {
			t.Errorf("got %v, want %s", m, test.code)
		}
	}
	kept.Send(M{"type": "credit", "stream_id": four["stream_id"], "batches": 1})
	kept.Until("query_completed")
}

// boundQueries are two queries, each with a value that the site binds.
func boundQueries(t *testing.T, one, other string) string {
	text := "source demo sqlite " + demoDB(t) + "\n"
	for name, bind := range map[string]string{"one": one, "other": other} {
		text += "query " + name + ` {
			source demo
			sql "select id, @who as who from readings where id < 4 order by id"
			bind who ` + bind + `
			allow anyone
		}
		`
	}
	return text
}

// TestReloadedBinds: a stream whose value is bound otherwise by a new configuration ends, and the client may begin it again at once, with
// the new value. What was read of the upgrade request stays; what was not is an empty value.
func TestReloadedBinds(t *testing.T) {
	s := serve(t, boundQueries(t, "{http.request.header.X-Team}", "{http.request.header.X-Team}/x"))
	c := s.dialWith(http.Header{"X-Team": {"blue"}})
	open := func(query string) M { return start(c, M{"query": query, "credits": 0}) }
	kept, changed := open("one"), open("other")
	s.reload(ws(boundQueries(t, "{http.request.header.X-Team}", "fixed")))
	if m := c.Until("error"); m.Text("code") != "FORBIDDEN" || m["stream_id"] != changed["stream_id"] {
		t.Errorf("got %v", m)
	}
	for started, who := range map[string]string{kept.Text("stream_id"): "blue", open("other").Text("stream_id"): "fixed"} {
		c.Send(M{"type": "credit", "stream_id": started, "batches": 1})
		if row := asMap(c.Until("query_batch").List("rows")[0]); row["who"] != who {
			t.Errorf("got %v, want %s", row, who)
		}
		c.Until("query_completed")
	}
	s.reload(ws(boundQueries(t, "{http.request.header.X-Other}", "fixed")))
	c.Refused("FORBIDDEN", M{"type": "stream_query", "query": "one"})
	open("other")
}

func asMap(row any) M {
	m, _ := row.(map[string]any)
	return m
}
