package neuroquantumws_test

import (
	"testing"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/internal/wstest"
)

// old connects a client that was written for NeuroQuantumDB: it offers no subprotocol.
func (s *site) old() *wstest.Client {
	s.t.Helper()
	c := wstest.Dial(s.t, s.url(), wstest.Options{Subprotocols: []string{}})
	if c.WebSocket().Subprotocol() != "" {
		s.t.Fatalf("a subprotocol was chosen: %q", c.WebSocket().Subprotocol())
	}
	return c
}

func timestamp(t *testing.T, m M) {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, m.Text("timestamp"))
	if err != nil || at.Location() != time.UTC {
		t.Errorf("timestamp of %v: %v", m, err)
	}
}

// Each message that the old database knew, as its clients sent it: with neither ids nor options.
func TestOldClientsChannels(t *testing.T) {
	s := serve(t, "")
	c := s.old()

	c.Send(`{"type":"subscribe","channel":"sensor.temp"}`)
	m := c.Expect("subscription_confirmed") // the first message: there is no welcome
	if m.Text("channel") != "sensor.temp" || m.Has("id") {
		t.Errorf("got %v", m)
	}
	timestamp(t, m)

	c.Send(`{"type":"publish","channel":"sensor.temp","data":{"value":23.5,"list":[1,null,"x"]}}`)
	m = c.Expect("channel_message") // and no published, as no id asked for it
	if data, _ := m["data"].(map[string]any); m.Text("channel") != "sensor.temp" || data["value"] != 23.5 {
		t.Errorf("got %v", m)
	}
	timestamp(t, m)

	c.Send(`{"type":"ping","timestamp":"2026-01-01T00:00:00Z"}`)
	timestamp(t, c.Expect("pong"))
	c.Send(`{"type":"ping"}`)
	timestamp(t, c.Expect("pong"))

	c.Send(`{"type":"pong","timestamp":"2026-01-01T00:00:00Z"}`)
	c.Send(`{"type":"message","data":{"hello":"world"}}`)
	c.Send(`{"type":"message","data":"text","anything":"else"}`)

	c.Send(`{"type":"unsubscribe","channel":"sensor.temp"}`)
	m = c.Expect("unsubscription_confirmed") // neither pong nor message were answered
	if m.Text("channel") != "sensor.temp" {
		t.Errorf("got %v", m)
	}
	timestamp(t, m)
	c.Send(`{"type":"publish","channel":"sensor.temp","data":1}`)
	c.Send(`{"type":"publish","channel":"sensor.*","data":1}`)
	if m := c.ExpectError("INVALID_CHANNEL"); m.Has("id") || m.Text("channel") != "sensor.*" || m.Text("message") == "" {
		t.Errorf("got %v", m)
	}
}

func TestOldClientsQueries(t *testing.T) {
	s := serve(t, "source demo sqlite "+demoDB(t)+`
		query readings {
			source demo
			sql "select id, sensor, value from readings order by id"
			allow anyone
		}`)
	c := s.old()
	c.Send(`{"type":"stream_query","query":"readings","batch_size":5000}`)
	started := c.Expect("query_started")
	id := started.Text("stream_id")
	if id == "" || started.Text("query") != "readings" || started.Has("id") {
		t.Errorf("got %v", started)
	}
	rows := 0
	for range 3 {
		rows += len(c.Until("query_batch").List("rows"))
	}
	done := c.Until("query_completed")
	if rows != 11688 || done.Int("total_rows") != rows || done.Text("stream_id") != id {
		t.Errorf("%d rows and %v", rows, done)
	}

	for _, field := range []string{"query_id", "stream_id"} {
		c.Send(`{"type":"query_status","` + field + `":"` + id + `"}`)
		status := c.Expect("query_status")
		if status.Text("query_id") != id || status.Text("stream_id") != id || status.Text("status") != "completed" ||
			status.Int("rows_sent") != rows {
			t.Errorf("got %v", status)
		}
	}

	c.Send(`{"type":"stream_query","query":"readings","batch_size":1,"credits":1}`)
	id = c.Expect("query_started").Text("stream_id")
	c.Until("query_batch")
	c.Send(`{"type":"cancel_query","stream_id":"` + id + `"}`)
	if m := c.Until("query_cancelled"); m.Text("stream_id") != id || m.Text("reason") == "" || m.Int("rows_sent") != 1 {
		t.Errorf("got %v", m)
	}
	c.Ping()
	if c.Backlog() > 0 {
		t.Errorf("after the cancel: %v", c.Next())
	}
}
