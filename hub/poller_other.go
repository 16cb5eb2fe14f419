//go:build !linux

package hub

import "errors"

// poller exists on Linux only: elsewhere every connection has a goroutine that waits for it.
type poller struct{}

func newPoller() (*poller, error) { return nil, errors.ErrUnsupported }

func (*poller) watch(*Conn) error { return errors.ErrUnsupported }
func (*poller) forget(*Conn)      {}
func (*poller) close()            {}
