package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// errNoSubprotocol says that a WebSocket answered, but not one of this protocol.
var errNoSubprotocol = fmt.Errorf("%w: the server speaks another subprotocol", ErrProtocol)

// dial makes a connection, up to the welcome.
func (c *Client) dial(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.DialTimeout)
	defer cancel()
	token, err := c.fetchToken(ctx)
	if err != nil {
		return nil, err
	}
	s := newSession(c)
	header := c.o.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	subprotocols := []string{protocol.SubprotocolNDJSON, protocol.Subprotocol}
	switch {
	case token == "":
	case c.o.TokenInSubprotocol:
		subprotocols = append(subprotocols, "bearer."+token)
	default:
		header.Set("Authorization", "Bearer "+token)
	}
	ws, response, err := websocket.Dial(ctx, c.url, &websocket.DialOptions{
		HTTPClient:     c.o.HTTPClient,
		HTTPHeader:     header,
		Subprotocols:   subprotocols,
		OnPingReceived: func(context.Context, []byte) bool { s.hear(); return true },
	})
	if err != nil {
		return nil, refusalOf(response, err)
	}
	s.ws = ws
	ws.SetReadLimit(c.o.MaxMessageBytes)
	if err := s.readWelcome(ctx); err != nil {
		s.cancel()
		_ = ws.CloseNow()
		return nil, err
	}
	return s, nil
}

// refusalOf is the error of a handshake: what the server answered, if it did.
func refusalOf(response *http.Response, err error) error {
	if response == nil || response.StatusCode == http.StatusSwitchingProtocols {
		return fmt.Errorf("client: connecting: %w", err)
	}
	refusal := &HandshakeError{Status: response.StatusCode, RetryAfter: retryAfter(response.Header.Get("Retry-After"))}
	if response.Body != nil {
		// The library leaves the first kilobyte; what is no such JSON has no code.
		text, _ := io.ReadAll(response.Body)
		var body struct{ Code string }
		if json.Unmarshal(text, &body) == nil {
			refusal.Code = body.Code
		}
	}
	return refusal
}

// maxRetryAfter bounds what a server, or whatever stands before it, may ask a client to wait.
const maxRetryAfter = time.Hour

// retryAfter reads the header: seconds, or a date.
func retryAfter(text string) time.Duration {
	if text = strings.TrimSpace(text); text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, min(time.Until(at), maxRetryAfter))
	}
	return 0
}

// readWelcome takes the server's first message.
func (s *session) readWelcome(ctx context.Context) error {
	if s.ws.Subprotocol() == "" {
		return errNoSubprotocol
	}
	s.ndjson = s.ws.Subprotocol() == protocol.SubprotocolNDJSON
	frame, err := s.readFrame(ctx)
	if err != nil {
		return s.readError(err)
	}
	err = lines(frame, func(line []byte) error {
		m, err := decode(line)
		switch {
		case err != nil:
			return err
		case s.welcome == nil && m.Type != "welcome":
			return fmt.Errorf("%w: the first message is a %s", ErrProtocol, m.Type)
		case s.welcome == nil:
			s.welcome, s.epoch = m, m.Epoch
		default:
			s.early = append(s.early, m)
		}
		return nil
	})
	if err == nil && s.welcome == nil {
		err = fmt.Errorf("%w: an empty frame", ErrProtocol)
	}
	return err
}

// readError says in this package's words why reading ended.
func (*session) readError(err error) error {
	if closed, ok := errors.AsType[websocket.CloseError](err); ok {
		return &CloseError{Code: protocol.CloseCode(closed.Code), Reason: closed.Reason}
	}
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return ErrTooLarge
	}
	return fmt.Errorf("client: the connection is lost: %w", err)
}
