package protocol

import (
	"errors"
	"fmt"
	"time"
)

// Code is an error code of the wire protocol, as sent in an error message's `code`.
type Code string

// The error codes. Their meaning for a client is in docs/protocol.md.
const (
	InvalidMessage     Code = "INVALID_MESSAGE"
	UnknownType        Code = "UNKNOWN_TYPE"
	InvalidChannel     Code = "INVALID_CHANNEL"
	Unauthenticated    Code = "UNAUTHENTICATED"
	Forbidden          Code = "FORBIDDEN"
	LimitExceeded      Code = "LIMIT_EXCEEDED"
	RateLimited        Code = "RATE_LIMITED"
	QueryNotFound      Code = "QUERY_NOT_FOUND"
	InvalidParams      Code = "INVALID_PARAMS"
	QueryFailed        Code = "QUERY_FAILED"
	QueryTimeout       Code = "QUERY_TIMEOUT"
	StreamError        Code = "STREAM_ERROR"
	InvalidStreamID    Code = "INVALID_STREAM_ID"
	CancelFailed       Code = "CANCEL_FAILED"
	HistoryUnavailable Code = "HISTORY_UNAVAILABLE"
	Internal           Code = "INTERNAL"
)

// Error is a refusal that may be shown to a client: a code and a sentence without inner detail (no SQL, path, address, stack or
// secret). Whatever caused it belongs in the log, not here.
type Error struct {
	Code    Code
	Message string
	// RetryAfter is how long the client should wait before it tries again; zero where waiting does not help.
	RetryAfter time.Duration
}

// Errorf makes an Error of the given code; format and args must hold nothing that a client may not see.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// AsError gives the Error inside err, if there is one.
func AsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// CloseCode is a WebSocket close code (RFC 6455, section 7.4) that the server may send.
type CloseCode uint16

// The close codes. Whether a client should come back after each is in docs/protocol.md.
const (
	CloseGoingAway       CloseCode = 1001 // the server stops or the hub is gone
	CloseProtocolError   CloseCode = 1002 // a frame against RFC 6455
	CloseUnsupportedData CloseCode = 1003 // a binary frame
	CloseInvalidPayload  CloseCode = 1007 // text that is not UTF-8
	ClosePolicy          CloseCode = 1008 // a flood of control frames
	CloseTooBig          CloseCode = 1009 // a message over max_message_size
	CloseInternal        CloseCode = 1011 // a fault in the server
	CloseHeartbeat       CloseCode = 4000 // no heartbeat in time
	CloseUnauthenticated CloseCode = 4001 // not authenticated in time, or the token expired
	CloseForbidden       CloseCode = 4003 // not allowed here
	CloseTooSlow         CloseCode = 4008 // its queue could not be drained
	CloseTooMany         CloseCode = 4029 // too many connections or too many bad requests
	CloseByOperator      CloseCode = 4100 // disconnected by an operator
)
