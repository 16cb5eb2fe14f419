package neuroquantumws_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestAPIQueries: what clients may run is told with what it takes, without what runs and without what the server binds.
func TestAPIQueries(t *testing.T) {
	s := serveSite(t, apiSite+ws("source demo sqlite "+demoDB(t)+`
		query readings {
			source demo
			sql `+"`select id from readings where sensor = @sensor and id > @after and unit <> @who`"+`
			param sensor text {
				max_length 64
				enum seattle/wind seattle/temp_max
			}
			param after integer {
				min 0
				max 20000
				default 5
			}
			bind who {user}
			total estimate
			allow authenticated role:analyst
		}
		query all {
			source demo
			sql "select id from readings"
			allow anyone
			watch {
				key id
				every 1h
			}
		}
		query closed {
			source demo
			sql "select 1"
		}`))
	api := s.api("/rt")
	want := `{"queries":[` +
		`{"name":"all","source":"demo","params":[],"total":"none","watch":{"key":["id"],"max_rows":10000},"allow":["anyone"]},` +
		`{"name":"closed","source":"demo","params":[],"total":"none","allow":[]},` +
		`{"name":"readings","source":"demo","params":[` +
		`{"name":"sensor","type":"text","required":true,"enum":["seattle/wind","seattle/temp_max"],"max_length":64},` +
		`{"name":"after","type":"integer","required":false,"default":"5","min":"0","max":"20000"}` +
		`],"total":"estimate","allow":["authenticated","role:analyst"]}]}` + "\n"
	if a := api.get("/queries").want(200); a.text != want {
		t.Errorf("got %s\nwant %s", a.text, want)
	}
	for limit := 1; limit <= 4; limit++ {
		if got := api.pages("/queries?limit="+strconv.Itoa(limit), "queries", "name"); !slices.Equal(got, []string{"all", "closed", "readings"}) {
			t.Errorf("in pages of %d: %v", limit, got)
		}
	}
	for _, query := range []string{"limit=0", "cursor=%21", "user=ann"} {
		api.get("/queries?"+query).fails(400, "INVALID_PARAMS")
	}
	// A reload tells of the new ones.
	s.reload(apiSite + ws(""))
	until(s.dial(), "the queries are gone", func() bool { return api.get("/queries").want(200).text == "{\"queries\":[]}\n" })
}

// TestAPIChannelQueue: a channel tells of the queue that its messages wait in.
func TestAPIChannelQueue(t *testing.T) {
	s := serveSite(t, apiSite+ws("queue 7 64KiB drop_newest\nchannel kept/** {\nhistory 5\nqueue 3 4KiB conflate\n"+anyone+"\n}\nchannel ** {\n"+anyone+"\n}\n"))
	api := s.api("/rt")
	c := s.dial()
	c.Subscribe("kept/a", "plain/b")
	for path, want := range map[string]string{
		"/channels/kept%2Fa":  `"queue":{"messages":3,"bytes":4096,"policy":"conflate"}`,
		"/channels/plain%2Fb": `"queue":{"messages":7,"bytes":65536,"policy":"drop_newest"}`,
	} {
		if a := api.get(path).want(200); !strings.Contains(a.text, want) {
			t.Errorf("%s: got %s", path, a.text)
		}
	}
	if a := api.get("/channels").want(200); !strings.Contains(a.text, `"policy":"conflate"`) || !strings.Contains(a.text, `"policy":"drop_newest"`) {
		t.Errorf("got %s", a.text)
	}
}
