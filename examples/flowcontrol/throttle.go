package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// throttle speaks the protocol without the client, which always grants credit and always reads. Streams without credit go as fast as the
// connection takes them: here as slowly as it is read.
func throttle(ctx context.Context, url string, pause time.Duration, out io.Writer) error {
	const streams = 8
	fmt.Fprintf(out, "-- a connection that is hardly read: %d queries without credit\n", streams)
	ws, err := dialNarrow(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = ws.CloseNow() }()
	for n := range streams {
		request := fmt.Sprintf(`{"type":"stream_query","query":"all_readings","batch_size":100,"id":%d}`, n)
		if err := ws.Write(ctx, websocket.MessageText, []byte(request)); err != nil {
			return err
		}
	}
	var stalled int64
	states := make(map[string]int)
	began, rows := time.Now(), 0
	for ended, read := 0, 0; ended < streams; read++ {
		if read%50 == 0 {
			if err := sleep(ctx, pause); err != nil {
				return err
			}
		}
		_, text, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		var m struct {
			Type, State, Message string
			Rows                 []json.RawMessage
			StalledMS            int64 `json:"stalled_ms"`
		}
		if err := json.Unmarshal(text, &m); err != nil {
			return err
		}
		switch m.Type {
		case "query_batch":
			rows += len(m.Rows)
		case "query_progress":
			states[m.State]++
			stalled = max(stalled, m.StalledMS)
		case "query_completed":
			ended++
		case "error":
			return fmt.Errorf("the server says: %s", m.Message)
		}
	}
	var told []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		told = append(told, fmt.Sprintf("%s %d times", state, states[state]))
	}
	fmt.Fprintf(out, "%d rows in %v; the progress said: %s; a stream was held up for %d ms at most\n",
		rows, time.Since(began).Round(time.Millisecond), strings.Join(told, ", "), stalled)
	return nil
}

// dialNarrow connects with a socket that takes little at once, so that what is not read soon stays with the server.
func dialNarrow(ctx context.Context, url string) (*websocket.Conn, error) {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(64 << 10)
		}
		return conn, err
	}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
		Subprotocols: []string{"neuroquantum.v1"},
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(32 << 20)
	return ws, nil
}
