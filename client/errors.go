package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/neuroquantumdb/neuroquantum-ws/protocol"
)

// Errors that are tested for with errors.Is.
var (
	// ErrClosed is what everything ends with after Close, of the Client or of the subscription, query or watch itself.
	ErrClosed = errors.New("client: closed")
	// ErrUncertain says that the connection was lost before a publish was answered, and that it cannot be sent again without the danger
	// of delivering it twice: too much time has passed, or the server has forgotten its keys.
	ErrUncertain = errors.New("client: it is not known whether this was published")
	// ErrTooLarge says that a message is larger than the server takes, or than MaxMessageBytes where the server sent it.
	ErrTooLarge = errors.New("client: the message is too large")
	// ErrSilent says that nothing was heard of the server for too long: see Options.Heartbeat. The client comes back.
	ErrSilent = errors.New("client: the server is silent")
	// ErrProtocol says that the server said what the protocol does not allow.
	ErrProtocol = errors.New("client: not the neuroquantum.v1 protocol")
)

// protocolError says what the server did against the protocol.
func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// errWrongKey says that what the server calls a row by is not what the Key of a watch says.
var errWrongKey = errors.New("client: the Key of the watch is not that of the query")

// Error is a refusal or failure as the server tells it.
type Error struct {
	Code       protocol.Code // one of the error codes of docs/protocol.md
	Message    string        // for people; it may change
	RetryAfter time.Duration // 0 where waiting does not help
	Channel    string        // the channel that is meant, if one is
	StreamID   string        // the query or watch that is meant, if one is
}

func (e *Error) Error() string {
	if e.Channel != "" {
		return fmt.Sprintf("%s: %s: %s", e.Code, e.Channel, e.Message)
	}
	return string(e.Code) + ": " + e.Message
}

// HandshakeError is an HTTP answer in the place of a WebSocket.
type HandshakeError struct {
	Status     int           // of HTTP
	Code       string        // of the server's answer, such as TOO_MANY_CONNECTIONS; empty where there is none
	RetryAfter time.Duration // 0 where the answer has none
}

func (e *HandshakeError) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("the handshake was answered with HTTP %d (%s)", e.Status, e.Code)
	}
	return fmt.Sprintf("the handshake was answered with HTTP %d", e.Status)
}

// CloseError is a close frame of the server.
type CloseError struct {
	Code   protocol.CloseCode
	Reason string
}

func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("the server closed the connection with %d", e.Code)
	}
	return fmt.Sprintf("the server closed the connection with %d: %s", e.Code, e.Reason)
}

// CancelledError says that a query or watch was cancelled, and not by this client.
type CancelledError struct {
	Reason string // the server's word, such as "operator"
}

func (e *CancelledError) Error() string { return "cancelled: " + e.Reason }

// FatalError is what a Client ends with that will not try again. Err says why: an *HandshakeError, a *CloseError, ErrTooLarge or
// ErrProtocol.
type FatalError struct{ Err error }

func (e *FatalError) Error() string { return "client: giving up: " + e.Err.Error() }

// Unwrap gives Err.
func (e *FatalError) Unwrap() error { return e.Err }
