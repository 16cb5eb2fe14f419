package hub

import "errors"

// Errors that callers test for.
var (
	// ErrNoHistory: the channel keeps no history.
	ErrNoHistory = errors.New("the channel keeps no history")
	// ErrClosed: the hub or the connection is closed.
	ErrClosed = errors.New("closed")
	// ErrNoConnection: there is no connection with this id.
	ErrNoConnection = errors.New("no such connection")
)
